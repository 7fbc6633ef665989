package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func namespaceChecks() []probe {
	var all []probe
	for _, n := range [][3]string{
		{"user", "ids and capabilities count as they do outside", "user"},
		{"mnt", "mounts are the machine's", "mount"},
		{"pid", "other processes can be seen and signalled", "pid"},
		{"ipc", "memory shared between programs can be attached", "ipc"},
		{"uts", "the machine's name can be seen", "uts"},
		{"net", "the loopback's services and all networks are in reach", "network"},
		{"cgroup", "the place among the machine's control groups can be seen", "cgroup"},
	} {
		all = append(all, probe{check.Check{ID: n[0], What: "be in the machine's " + n[2] + " namespace", Why: n[1], Source: "namespaces(7)", Grant: []string{"ns:" + n[2]}},
			func(b *check.Bait) verdict {
				ns, err := os.Readlink("/proc/self/ns/" + n[0])
				switch {
				case err != nil:
					return cannot("%s", errorWord(err))
				case ns == b.Namespaces[n[0]]:
					return open("%s", ns)
				}
				return held("one of its own")
			}})
	}
	newNamespace := func(id, what string, flags uintptr, why, source string) probe {
		c := call{nr: unix.SYS_UNSHARE, args: [6]uintptr{flags}}
		return probe{check.Check{ID: id, What: what, Why: why, Source: source, Grant: c.grant("unshare", abiNative)}, func(*check.Bait) verdict {
			o := try(abiNative, noPrelude, c)
			if o.errno == unix.ENOSPC { // the limit in /proc/sys/user, which no process inside can raise
				return held("ENOSPC")
			}
			return byOutcome(o)
		}}
	}
	cloneUser := call{nr: unix.SYS_CLONE, args: [6]uintptr{unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}}
	const why = "it gives all capabilities over much more of the kernel, where most of its holes are"
	return append(all,
		newNamespace("new-user", "make a user namespace", unix.CLONE_NEWUSER, why, "user_namespaces(7); CVE-2022-0185"),
		newNamespace("new-user-net", "make a user and a network namespace", unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "network rules of the kernel can be set in it", "CVE-2023-32233, CVE-2024-1086"),
		newNamespace("new-user-mount", "make a user and a mount namespace", unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "file systems can be mounted in it", "CVE-2022-0185, CVE-2023-0386"),
		newNamespace("new-user-high", "make a user namespace with high bits set in the flags", unix.CLONE_NEWUSER|1<<62, "a filter that compares more bits than the kernel reads lets it through", "CVE-2019-10063's class"),
		newNamespace("new-mount", "make a mount namespace", unix.CLONE_NEWNS, "mounts can be changed in it", "mount_namespaces(7)"),
		newNamespace("new-time", "make a time namespace", unix.CLONE_NEWTIME, "clocks can be moved in it", "time_namespaces(7)"),
		probe{check.Check{ID: "clone-user", What: "clone into a user namespace", Why: why, Source: "clone(2)", Grant: cloneUser.grant("clone", abiNative)}, func(*check.Bait) verdict {
			o := try(abiNative, noPrelude, cloneUser)
			if o.errno == unix.ENOSPC {
				return held("ENOSPC")
			}
			return byOutcome(o)
		}},
		probe{check.Check{ID: "setns-keeper", What: "join a namespace of a process outside", Why: "it leaves the sandbox", Source: "setns(2); CVE-2022-31214", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			f, err := os.Open("/proc/" + strconv.Itoa(b.PID) + "/ns/user")
			if err != nil {
				return byError(err)
			}
			defer f.Close()
			if own, _ := os.Readlink("/proc/self/ns/user"); own != b.Namespaces["user"] {
				return open("opened it")
			}
			return open("opened its own")
		}},
		probe{check.Check{ID: "hostname", What: "learn the machine's name", Why: "tells the machine from others", Source: "uts_namespaces(7)", Grant: []string{"ns:uts"}}, func(b *check.Bait) verdict {
			name, err := os.Hostname()
			if err != nil {
				return byError(err)
			}
			if name == b.Hostname {
				return open("%q", name)
			}
			return held("%q", name)
		}},
		probe{check.Check{ID: "uid-map", What: "have a number for the machine's root", Why: "a file that leaks out is root's", Source: "user_namespaces(7)", Grant: []string{"root"}}, func(b *check.Bait) verdict {
			// Files of /proc belong to the machine's root; where that has no number, they show the overflow uid.
			var st unix.Stat_t
			if err := unix.Stat("/proc/sys/kernel/ostype", &st); err != nil {
				return cannot("%s", errorWord(err))
			}
			if st.Uid == 0 {
				return open("root's files belong to uid 0")
			}
			return held("no uid is the machine's root")
		}},
	)
}
