package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func kernelChecks() []probe {
	var all []probe
	for _, f := range [][3]string{
		{"/proc/sysrq-trigger", "one byte restarts the machine", "Documentation/admin-guide/sysrq.rst"},
		{"/proc/sys/kernel/core_pattern", "names a program that root runs outside when something crashes", "core(5); the classic container escape"},
		{"/proc/sys/kernel/modprobe", "names a program that root runs outside", "Documentation/admin-guide/sysctl/kernel.rst"},
		{"/proc/sys/kernel/hotplug", "names a program that root runs outside", "Documentation/admin-guide/sysctl/kernel.rst"},
		{"/proc/sys/vm/panic_on_oom", "settings of the machine", "CVE-2019-19921's class: what masks are for"},
		{"/proc/sys/fs/binfmt_misc/register", "names programs that run for others", "Documentation/admin-guide/binfmt-misc.rst"},
		{"/proc/sys/net/ipv4/ip_forward", "settings of a network namespace that may be the machine's", "Documentation/networking/ip-sysctl.rst"},
		{"/proc/1/oom_score_adj", "decides who is killed for want of memory", "proc_pid_oom_score_adj(5)"},
		{"/sys/kernel/uevent_helper", "names a program that root runs outside", "CVE-2022-0492's class"},
		{"/sys/power/state", "puts the machine to sleep", "Documentation/power"},
		{"/sys/class/leds", "devices of the machine", "sysfs(5)"},
		{"/sys/module/kernel/parameters/panic", "settings of the kernel", "sysfs(5)"},
	} {
		all = append(all, probe{check.Check{ID: "write-" + f[0], What: "open " + f[0] + " for writing", Why: f[1], Source: f[2], Grant: []string{"write:" + f[0]}}, func(*check.Bait) verdict {
			if st, err := os.Stat(f[0]); err == nil && st.IsDir() {
				return byError(unix.Access(f[0], unix.W_OK))
			}
			fd, err := unix.Open(f[0], unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				_ = unix.Close(fd) // nothing is written
			}
			return byError(err)
		}})
	}
	for _, f := range [][3]string{
		{"/proc/kcore", "the machine's memory", "proc_kcore(5)"},
		{"/proc/kmsg", "messages of the kernel, with its addresses", "proc_kmsg(5)"},
		{"/proc/kallsyms", "addresses of the kernel, for exploits", "proc_kallsyms(5)"},
		{"/proc/keys", "names of the user's keys", "proc_keys(5); OCI maskedPaths"},
		{"/proc/key-users", "who has keys", "proc_key-users(5)"},
		{"/proc/timer_list", "what the machine does, to the nanosecond", "OCI maskedPaths"},
		{"/proc/sched_debug", "what the machine does", "OCI maskedPaths"},
		{"/proc/interrupts", "when keys are typed: a side channel", "proc_interrupts(5); OCI maskedPaths"},
		{"/proc/latency_stats", "what the machine does", "OCI maskedPaths"},
		{"/proc/acpi/wakeup", "devices of the machine", "OCI maskedPaths"},
		{"/proc/scsi/scsi", "disks of the machine", "OCI maskedPaths; CVE-2017-16539"},
		{"/proc/bus/pci/devices", "devices of the machine", "OCI readonlyPaths"},
		{"/proc/modules", "which modules are loaded, and where", "proc_modules(5)"},
		{"/sys/kernel/vmcoreinfo", "where the kernel's memory lies", "sysfs(5)"},
		{"/sys/kernel/notes", "where the kernel's memory lies", "CVE-2024-26816"},
		{"/sys/class/net/lo/address", "devices of the machine", "sysfs(5)"},
		{"/sys/class/dmi/id/product_name", "which machine this is", "OCI maskedPaths: /sys/devices/virtual/dmi, /sys/firmware"},
		{"/sys/devices/system/cpu/online", "what the machine is made of", "sysfs(5)"},
	} {
		all = append(all, probe{check.Check{ID: "read-" + f[0], What: "read " + f[0], Why: f[1], Source: f[2], Grant: []string{"read:" + f[0]}}, func(*check.Bait) verdict { return reads(f[0]) }})
	}
	return append(all,
		probe{check.Check{ID: "sys-firmware", What: "list /sys/firmware", Why: "tables of the machine, keys among them", Source: "OCI maskedPaths", Grant: []string{"read:/sys/firmware"}}, func(*check.Bait) verdict { return lists("/sys/firmware") }},
		probe{check.Check{ID: "sys-security", What: "list /sys/kernel/security", Why: "how the machine is guarded", Source: "securityfs", Grant: []string{"read:/sys/kernel"}}, func(*check.Bait) verdict { return lists("/sys/kernel/security") }},
		probe{check.Check{ID: "sys-block", What: "list the machine's disks in /sys", Why: "names what to attack", Source: "sysfs(5)", Grant: []string{"read:/sys/block"}}, func(*check.Bait) verdict { return lists("/sys/block") }},
		probe{check.Check{ID: "pid-list", What: "see the machine's processes in /proc", Why: "command lines hold names and passwords", Source: "proc(5), hidepid", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(b.PID), "cmdline"))
			if err != nil {
				return byError(err)
			}
			if strings.Contains(string(text), "\x00keep\x00") {
				return open("the command line of process %d", b.PID)
			}
			return held("another process")
		}},
		probe{check.Check{ID: "pid1-environ", What: "read the environment of process 1", Why: "what the sandbox was started with", Source: "proc_pid_environ(5); CVE-2019-5736's class"}, func(*check.Bait) verdict { return reads("/proc/1/environ") }},
		probe{check.Check{ID: "pid1-maps", What: "read where process 1 has its memory", Why: "for exploits", Source: "proc_pid_maps(5)"}, func(*check.Bait) verdict { return reads("/proc/1/maps") }},
		probe{check.Check{ID: "pid1-exe", What: "open the program of process 1", Why: "the sandbox's own program could be overwritten", Source: "CVE-2019-5736"}, func(*check.Bait) verdict {
			fd, err := unix.Open("/proc/1/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				_ = unix.Close(fd)
			}
			return byError(err)
		}},
		probe{check.Check{ID: "pid1-root", What: "go through the root of process 1", Why: "it may lie outside", Source: "proc_pid_root(5)"}, func(b *check.Bait) verdict {
			_, err := os.Stat("/proc/1/root/.")
			return byError(err)
		}},
		probe{check.Check{ID: "pid1-fd", What: "list the descriptors of process 1", Why: "they may lead outside", Source: "CVE-2024-21626"}, func(*check.Bait) verdict {
			d, err := os.Open("/proc/1/fd")
			if err == nil {
				defer d.Close()
				_, err = d.Readdirnames(-1)
			}
			return byError(err)
		}},
		probe{check.Check{ID: "pid1-mem", What: "open the memory of process 1 for writing", Why: "the sandbox's own program could be made to do anything", Source: "proc_pid_mem(5)"}, func(*check.Bait) verdict {
			fd, err := unix.Open("/proc/1/mem", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				_ = unix.Close(fd)
			}
			return byError(err)
		}},
		probe{check.Check{ID: "keeper-root", What: "go through the root of a process outside", Why: "all of the machine's files", Source: "proc_pid_root(5)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			return readsSecret(b, filepath.Join("/proc", strconv.Itoa(b.PID), "root", b.Home, ".netrc"))
		}},
		probe{check.Check{ID: "keeper-environ", What: "read the environment of a process outside", Why: "secrets in variables", Source: "proc_pid_environ(5)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			return readsSecret(b, filepath.Join("/proc", strconv.Itoa(b.PID), "environ"))
		}},
		probe{check.Check{ID: "keeper-fd", What: "open a file through a descriptor of a process outside", Why: "files that have no path inside", Source: "proc_pid_fd(5)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			return readsSecret(b, filepath.Join("/proc", strconv.Itoa(b.PID), "fd", strconv.Itoa(b.FD)))
		}},
		probe{check.Check{ID: "keeper-mem", What: "open the memory of a process outside", Why: "its secrets", Source: "proc_pid_mem(5)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			f, err := os.Open(filepath.Join("/proc", strconv.Itoa(b.PID), "mem"))
			if err != nil {
				return byError(err)
			}
			defer f.Close()
			text := make([]byte, b.Length)
			if _, err := f.ReadAt(text, int64(b.Address)); err != nil || string(text) != b.Secret {
				return held("another process")
			}
			return open("read the secret")
		}},
		probe{check.Check{ID: "fake-proc", What: "find a /proc or /sys that is no such file system", Why: "masks would cover a fake, and security settings go nowhere", Source: "CVE-2019-19921, CVE-2023-28642, CVE-2025-52881"}, func(*check.Bait) verdict {
			var st unix.Statfs_t
			if err := unix.Statfs("/proc", &st); err != nil {
				return held("no /proc: %s", errorWord(err))
			}
			if st.Type != unix.PROC_SUPER_MAGIC {
				return open("/proc has type %#x", st.Type)
			}
			if err := unix.Statfs("/sys", &st); err == nil && st.Type != unix.SYSFS_MAGIC {
				if entries, _ := os.ReadDir("/sys/kernel"); len(entries) > 0 {
					return open("/sys has type %#x", st.Type)
				}
			}
			return held("both are what they seem")
		}},
	)
}
