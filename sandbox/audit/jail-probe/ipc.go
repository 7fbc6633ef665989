package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func ipcChecks() []probe {
	planted := func(id, what string, key func(b *check.Bait) int, nr uintptr, args ...uintptr) probe {
		return probe{check.Check{ID: id, What: "find " + what + " of another program's", Why: "what programs share can be read and changed", Source: "sysvipc(7)", Grant: []string{"ns:ipc"}}, func(b *check.Bait) verdict {
			if key(b) == 0 {
				return cannot("none could be made outside")
			}
			a := [6]uintptr{uintptr(uint32(key(b)))}
			copy(a[1:], args)
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: nr, args: a}))
		}}
	}
	listed := func(id, file string, key func(b *check.Bait) int) probe {
		return probe{check.Check{ID: "list-" + id, What: "see " + file, Why: "tells what programs share", Source: "proc_sysvipc(5)", Grant: []string{"ns:ipc"}}, func(b *check.Bait) verdict {
			text, err := os.ReadFile(file)
			if err != nil {
				return byError(err)
			}
			scan := bufio.NewScanner(bytes.NewReader(text))
			for scan.Scan() {
				if f := strings.Fields(scan.Text()); len(f) > 0 && f[0] == strconv.Itoa(key(b)) && key(b) != 0 {
					return open("key %s", f[0])
				}
			}
			return held("it is not there")
		}}
	}
	keyring := func(id, what string, ring int) probe {
		return probe{check.Check{ID: id, What: what, Why: "keys of file systems and of network logins lie there", Source: "keyrings(7)", Grant: call{}.grant("keyctl", abiNative)}, func(b *check.Bait) verdict {
			if b.Key == "" {
				return cannot("no key could be made outside")
			}
			_, err := unix.KeyctlSearch(ring, "user", b.Key, 0)
			if b.Outside && ring == unix.KEY_SPEC_SESSION_KEYRING && err != nil {
				return cannot("the session has no keyring that leads there")
			}
			return byError(err)
		}}
	}
	return []probe{
		planted("shm", "shared memory", func(b *check.Bait) int { return b.Shm }, unix.SYS_SHMGET, 0, 0),
		planted("sem", "semaphores", func(b *check.Bait) int { return b.Sem }, unix.SYS_SEMGET, 0, 0),
		planted("msg", "a message queue", func(b *check.Bait) int { return b.Msg }, unix.SYS_MSGGET, 0),
		{check.Check{ID: "shm-attach", What: "attach shared memory of another program's by its id", Why: "what programs share can be read and changed", Source: "shmop(2)", Grant: []string{"ns:ipc"}}, func(b *check.Bait) verdict {
			if b.Shm == 0 {
				return cannot("none could be made outside")
			}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_SHMAT, args: [6]uintptr{uintptr(b.ShmID), 0, 0o10000}}))
		}},
		listed("shm", "/proc/sysvipc/shm", func(b *check.Bait) int { return b.Shm }),
		listed("sem", "/proc/sysvipc/sem", func(b *check.Bait) int { return b.Sem }),
		listed("msg", "/proc/sysvipc/msg", func(b *check.Bait) int { return b.Msg }),
		{check.Check{ID: "mq", What: "open a POSIX message queue of another program's", Why: "messages can be read and forged", Source: "mq_overview(7)", Grant: []string{"ns:ipc"}}, func(b *check.Bait) verdict {
			if b.Queue == "" {
				return cannot("none could be made outside")
			}
			name, err := unix.BytePtrFromString(b.Queue)
			if err != nil {
				return cannot("%v", err)
			}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_MQ_OPEN, args: [6]uintptr{address(name), unix.O_RDONLY}}))
		}},
		{check.Check{ID: "mq-list", What: "list the POSIX message queues in /dev/mqueue", Why: "tells what programs share", Source: "mq_overview(7)", Grant: []string{"ns:ipc"}}, func(b *check.Bait) verdict {
			entries, err := os.ReadDir("/dev/mqueue")
			if errors.Is(err, os.ErrNotExist) {
				return cannotOrHeld(b, "ENOENT")
			} else if err != nil {
				return byError(err)
			}
			for _, e := range entries {
				if "/"+e.Name() == "/"+b.Queue {
					return open("%s", e.Name())
				}
			}
			return cannotOrHeld(b, "it is not there")
		}},
		keyring("user-keyring", "find a key in the user's keyring", unix.KEY_SPEC_USER_KEYRING),
		keyring("session-keyring", "find a key by the session's keyring", unix.KEY_SPEC_SESSION_KEYRING),
		{check.Check{ID: "key-add", What: "add a key to its session's keyring", Why: "fills the user's quota of keys; the keyring has had holes", Source: "add_key(2); CVE-2016-0728", Grant: call{}.grant("add_key", abiNative)}, func(*check.Bait) verdict {
			_, err := unix.AddKey("user", "jail-audit-probe", []byte("x"), unix.KEY_SPEC_THREAD_KEYRING)
			return byError(err)
		}},
		{check.Check{ID: "sysctl-ipc", What: "change the limits of shared memory", Why: "they may be the machine's", Source: "proc_sys_kernel(5)", Grant: []string{"root"}}, func(b *check.Bait) verdict {
			if own, _ := os.Readlink("/proc/self/ns/ipc"); own != "" && own != b.Namespaces["ipc"] {
				return held("limits of its own")
			}
			fd, err := unix.Open("/proc/sys/kernel/shmmax", unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				_ = unix.Close(fd)
			}
			return byError(err)
		}},
	}
}
