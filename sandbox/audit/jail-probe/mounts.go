package main

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func mountChecks() []probe {
	return []probe{
		{check.Check{ID: "root", What: "see the machine's own root", Why: "everything that is not hidden one by one is in sight", Source: "pivot_root(2)", Grant: []string{"read:/"}}, func(b *check.Bait) verdict {
			var st unix.Stat_t
			if err := unix.Stat("/", &st); err != nil {
				return byError(err)
			}
			if (check.FileID{Dev: st.Dev, Ino: st.Ino}) == b.Root {
				return open("/ is the machine's")
			}
			return held("/ is another directory")
		}},
		{check.Check{ID: "dotdot", What: "leave the root by ..", Why: "the machine's files lie above a root that was only changed, not moved away", Source: "chroot(2); pivot_root(2)"}, func(b *check.Bait) verdict {
			var root, above unix.Stat_t
			if err := errors.Join(unix.Stat("/", &root), unix.Stat("/../../../..", &above)); err != nil {
				return byError(err)
			}
			if root.Dev != above.Dev || root.Ino != above.Ino {
				return open("came to another directory")
			}
			return held("stays below the sandbox's root")
		}},
		anyMount("shared", "send mounts back to the machine", "a mount made inside would appear outside", "mount_namespaces(7)", func(f []string, fstype string) bool {
			for _, opt := range f[6:] {
				if strings.HasPrefix(opt, "shared:") {
					return true
				}
			}
			return false
		}),
		anyMount("suid", "find a mount where set-uid files count", "no_new_privs is then the only thing that holds them", "mount(8)", func(f []string, fstype string) bool {
			return !option(f[5], "nosuid") && !kernelsOwn(fstype)
		}),
		anyMount("dev", "find a mount where device files count", "a device file leads past every other file system", "mount(8)", func(f []string, fstype string) bool {
			// A mount of a single device, as masks are, leads to no other.
			st, err := os.Stat(f[4])
			return !option(f[5], "nodev") && fstype != "devpts" && !strings.HasPrefix(f[4], "/dev") && !kernelsOwn(fstype) && err == nil && st.IsDir()
		}),
		anyMount("rw-usr", "find the system's programs on a writable mount", "replaced programs run outside", "mount(8)", func(f []string, fstype string) bool {
			return (f[4] == "/" || f[4] == "/usr" || f[4] == "/bin" || f[4] == "/lib") && option(f[5], "rw") && fstype != "tmpfs" && fstype != "rootfs"
		}),
		anyMount("debugfs", "find debugfs, tracefs, securityfs, pstore or efivarfs mounted", "files of the kernel's own that were never meant for programs", "Documentation/filesystems/debugfs", func(f []string, fstype string) bool {
			switch fstype {
			case "debugfs", "tracefs", "securityfs", "pstore", "efivarfs", "bpf", "configfs", "fusectl":
				entries, _ := os.ReadDir(f[4]) // one that is masked is empty
				return len(entries) > 0
			}
			return false
		}),
		{check.Check{ID: "mount-inside", What: "mount a file system", Why: "it covers what is hidden or read-only, and reaches the kernel's file system parsers", Source: "mount(2); CVE-2022-0185", Grant: []string{"cap:SYS_ADMIN"}}, func(*check.Bait) verdict {
			root, _ := unix.BytePtrFromString("/")
			none, _ := unix.BytePtrFromString("jail-audit-none") // no file system: ENODEV for who may mount
			return byOutcome(try(abiNative, noPrelude, call{nr: unix.SYS_MOUNT, args: [6]uintptr{address(none), address(root), address(none)}}))
		}},
		{check.Check{ID: "mountinfo", What: "see the machine's mounts", Why: "tells of disks, users and folders", Source: "proc_pid_mountinfo(5)", Grant: []string{"ns:mount"}}, func(b *check.Bait) verdict {
			ns, err := os.Readlink("/proc/self/ns/mnt")
			if err != nil {
				return byError(err)
			}
			if ns == b.Namespaces["mnt"] {
				return open("the machine's mount namespace")
			}
			return held("mounts of the sandbox's own")
		}},
	}
}

// anyMount looks for a mount that has a flaw.
func anyMount(id, what, why, source string, flawed func(fields []string, fstype string) bool) probe {
	return probe{check.Check{ID: id, What: what, Why: why, Source: source}, func(*check.Bait) verdict {
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return cannot("/proc/self/mountinfo: %s", errorWord(err))
		}
		for line := range strings.Lines(string(text)) {
			left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
			f, r := strings.Fields(left), strings.Fields(right)
			if ok && len(f) >= 6 && len(r) > 0 && flawed(f, r[0]) {
				return open("%s (%s)", f[4], r[0])
			}
		}
		return held("none")
	}}
}

func option(list, name string) bool { return strings.Contains(","+list+",", ","+name+",") }

// kernelsOwn file systems hold no files of anybody's making.
func kernelsOwn(fstype string) bool {
	switch fstype {
	case "proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts":
		return true
	}
	return false
}
