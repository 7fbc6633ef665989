package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func privilegeChecks() []probe {
	var all []probe
	for _, s := range [][2]string{
		{"CapInh", "capabilities of files come to life by it: CVE-2022-24769"}, {"CapPrm", "rights over the kernel"}, {"CapEff", "rights over the kernel"},
		{"CapBnd", "the most that an exec can ever give"}, {"CapAmb", "rights that go on to every program that is started"},
	} {
		all = append(all, probe{check.Check{ID: s[0], What: "have capabilities in its set " + s[0], Why: s[1], Source: "capabilities(7)", Grant: []string{"caps"}}, func(*check.Bait) verdict {
			v, err := statusField(s[0])
			if err != nil {
				return cannot("%s", errorWord(err))
			}
			if n, err := strconv.ParseUint(v, 16, 64); err == nil && n == 0 {
				return held("none")
			}
			return open("%s", v)
		}})
	}
	status := func(id, what, why, source, field, want string, grant ...string) probe {
		return probe{check.Check{ID: id, What: what, Why: why, Source: source, Grant: grant}, func(*check.Bait) verdict {
			v, err := statusField(field)
			if err != nil {
				return cannot("%s", errorWord(err))
			}
			if v == want {
				return held("%s", v)
			}
			return open("%s", v)
		}}
	}
	become := func(id, what string, nr uintptr, source string) probe {
		return probe{check.Check{ID: id, What: what, Why: "root of whatever namespace this is", Source: source, Grant: []string{"caps", "root"}}, func(b *check.Bait) verdict {
			if os.Getuid() == 0 && !b.Outside {
				return held("is uid 0 of its own namespace already")
			}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: nr}))
		}}
	}
	return append(all,
		status("no-new-privs", "gain privileges by an exec", "set-uid programs are the usual way to root", "prctl(2), PR_SET_NO_NEW_PRIVS", "NoNewPrivs", "1", "nnp"),
		status("seccomp", "make every system call there is", "the whole kernel is in reach", "seccomp(2)", "Seccomp", "2", "seccomp"),
		status("strict-groups", "act for groups that the caller is in besides its own", "files that a group may write", "credentials(7)", "Groups", "", "groups"),
		probe{check.Check{ID: "securebits", What: "have its uid 0, should it get it, count as root", Why: "an exec by uid 0 would give all of the bounding set", Source: "capabilities(7), securebits", Grant: []string{"caps"}}, func(*check.Bait) verdict {
			bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
			if err != nil {
				return cannot("%s", errorWord(err))
			}
			const noRootLocked, noFixupLocked, noAmbientLocked = 3, 3 << 2, 3 << 6
			if want := noRootLocked | noFixupLocked | noAmbientLocked; bits&want != want {
				return open("%#x", bits)
			}
			return held("%#x, locked", bits)
		}},
		probe{check.Check{ID: "set-id", What: "gain another id from a set-id program", Why: "set-uid programs are the usual way to root", Source: "execve(2)", Grant: []string{"nnp"}}, func(b *check.Bait) verdict {
			if b.SetID == "" {
				return cannot("this user has no second group to make such a program with")
			}
			out, err := exec.Command(b.SetID, "ids").Output()
			if err != nil {
				return held("%v", err)
			}
			if got := strings.TrimSpace(string(out)); got != fmt.Sprint(os.Geteuid(), os.Getegid()) {
				return open("runs as %s", got)
			}
			return held("runs with the ids of who starts it")
		}},
		become("setuid-0", "become uid 0", unix.SYS_SETUID, "setuid(2)"),
		become("setgid-0", "become gid 0", unix.SYS_SETGID, "setgid(2)"),
		become("setresuid-0", "become uid 0 by setresuid", unix.SYS_SETRESUID, "setresuid(2)"),
		probe{check.Check{ID: "setgroups", What: "choose its own groups", Why: "leaving a group can give rights as well as take them", Source: "CVE-2014-8989", Grant: []string{"caps"}}, func(*check.Bait) verdict {
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_SETGROUPS}))
		}},
		probe{check.Check{ID: "capset", What: "raise a capability", Why: "rights over the kernel", Source: "capset(2)", Grant: []string{"caps"}}, func(*check.Bait) verdict {
			header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			sets := &[2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_CAPSET, args: [6]uintptr{address(header), address(sets)}}))
		}},
		probe{check.Check{ID: "ambient", What: "raise an ambient capability", Why: "rights that go on to every program that is started", Source: "prctl(2), PR_CAP_AMBIENT", Grant: []string{"caps"}}, func(*check.Bait) verdict {
			const raise = 2
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_PRCTL, args: [6]uintptr{unix.PR_CAP_AMBIENT, raise, unix.CAP_NET_RAW}}))
		}},
		probe{check.Check{ID: "securebits-set", What: "change its securebits", Why: "they decide what uid 0 counts for", Source: "prctl(2), PR_SET_SECUREBITS", Grant: []string{"caps"}}, func(*check.Bait) verdict {
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_PRCTL, args: [6]uintptr{unix.PR_SET_SECUREBITS, 0}}))
		}},
		probe{check.Check{ID: "landlock", What: "open for more a file that it was given to read", Why: "a descriptor that leaked leads to all that its file system holds", Source: "landlock(7); CVE-2024-21626", Grant: []string{"landlock", "read:stderr", "below:stderr"}}, func(b *check.Bait) verdict {
			// The probe's own standard error is a file that was opened for writing only, below a folder outside.
			fd, err := unix.Open("/proc/self/fd/2", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return byError(err)
			}
			_ = unix.Close(fd)
			return open("opened it")
		}},
	)
}

// statusField is a line of this thread's status: proc_pid_status(5).
func statusField(name string) (string, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("no %s in /proc/self/status", name)
}
