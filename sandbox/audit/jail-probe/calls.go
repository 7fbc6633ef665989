package main

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// bad is no descriptor, and 1 no address: the kernel gets as far as looking at it.
const bad = ^uintptr(0)

// A dangerous call and what it is dangerous for.
type dangerous struct {
	name   string
	nr     uintptr // 0: there is none on this processor but for i386
	i386   uintptr
	args   [6]uintptr
	why    string
	source string
}

// x32Numbers are the calls that x32 has under a number of its own: arch/x86/entry/syscalls/syscall_64.tbl.
var x32Numbers = map[string]uintptr{"ptrace": 521, "kexec_load": 528, "move_pages": 533, "process_vm_readv": 539, "process_vm_writev": 540}

// callChecks tries every dangerous call by one of the ways into the kernel.
func callChecks(by abi) []probe {
	var all []probe
	for _, d := range append(callTable, callsOfThisProcessor...) {
		c := call{nr: d.nr, args: d.args}
		switch by {
		case abiI386:
			c.nr = d.i386
		case abiX32:
			if nr := x32Numbers[d.name]; nr != 0 {
				c.nr = nr
			}
			c.nr |= x32Bit
		}
		if c.nr&^x32Bit == 0 {
			continue // it does not exist by this way
		}
		prelude := noPrelude
		if d.name == "vhangup" {
			prelude = newSession // with no terminal to hang up
		}
		id := d.name
		if by != abiNative {
			id += "-" + by.String()
		}
		p := probe{Check: check.Check{ID: id, What: "reach " + d.name + "(2) in the kernel", Why: d.why, Source: d.source, Grant: c.grant(d.name, by)}}
		p.try = func(b *check.Bait) verdict {
			if missing := by.missing(b.Outside); missing != "" {
				return cannot("%s", missing)
			}
			return byOutcome(try(by, prelude, c))
		}
		all = append(all, p)
	}
	return all
}

// missing tells why a way into the kernel does not exist here. Only outside can that be told from a filter's answer.
func (a abi) missing(outside bool) string {
	switch {
	case !outside || a == abiNative:
		return ""
	case a == abiI386:
		return noI386()
	}
	return noX32()
}

var (
	noI386 = sync.OnceValue(func() string { return abiI386.look() })
	noX32  = sync.OnceValue(func() string { return abiX32.look() })
)

func (a abi) look() string {
	if runtime.GOARCH != "amd64" {
		return "this processor has one interface only"
	}
	const getpidI386 = 20
	c := call{nr: unix.SYS_GETPID | x32Bit}
	if a == abiI386 {
		c.nr = getpidI386
	}
	// Without the 32-bit interface the trap is a fault: arch/x86/entry. Without x32 the number is one too high.
	if o := try(a, noPrelude, c); o.signal == unix.SIGSEGV || o.errno == unix.ENOSYS || o.failed != nil {
		return "this kernel has no such interface"
	}
	return ""
}

// callTable has every call that an ordinary program has no use for and an attacker has. Where nothing holds it, each gets
// as far as the kernel's own look at its arguments, which are wrong on purpose.
var callTable = []dangerous{
	{"mount", unix.SYS_MOUNT, 21, [6]uintptr{1, 1, 1}, "mounts cover what is read-only or hidden", "mount(2); CVE-2019-5736's relatives"},
	{"umount2", unix.SYS_UMOUNT2, 52, [6]uintptr{1}, "what is mounted over a secret could be taken away", "umount(2)"},
	{"pivot_root", unix.SYS_PIVOT_ROOT, 217, [6]uintptr{1, 1}, "the root could be changed for another one", "pivot_root(2)"},
	{"chroot", unix.SYS_CHROOT, 61, [6]uintptr{1}, "a second chroot is the classic way out of the first", "chroot(2); path_resolution(7)"},
	{"open_tree", unix.SYS_OPEN_TREE, 428, [6]uintptr{bad, 1}, "the new mount calls go around rules for mount(2)", "CVE-2021-41133"},
	{"move_mount", unix.SYS_MOVE_MOUNT, 429, [6]uintptr{bad, 1, bad, 1}, "the new mount calls go around rules for mount(2)", "CVE-2021-41133"},
	{"fsopen", unix.SYS_FSOPEN, 430, [6]uintptr{1}, "parsers of file system options have had bugs that an unprivileged caller reached", "CVE-2022-0185"},
	{"fsconfig", unix.SYS_FSCONFIG, 431, [6]uintptr{bad}, "parsers of file system options have had bugs that an unprivileged caller reached", "CVE-2022-0185"},
	{"fsmount", unix.SYS_FSMOUNT, 432, [6]uintptr{bad}, "the new mount calls go around rules for mount(2)", "CVE-2021-41133"},
	{"fspick", unix.SYS_FSPICK, 433, [6]uintptr{bad, 1}, "the new mount calls go around rules for mount(2)", "CVE-2021-41133"},
	{"mount_setattr", unix.SYS_MOUNT_SETATTR, 442, [6]uintptr{bad, 1, 0, 1, 32}, "read-only mounts could be made writable", "CVE-2021-41133"},
	{"statmount", unix.SYS_STATMOUNT, 457, [6]uintptr{1, 1, 64}, "tells of mounts that /proc does not show", "statmount(2)"},
	{"listmount", unix.SYS_LISTMOUNT, 458, [6]uintptr{1, 1, 1}, "tells of mounts that /proc does not show", "listmount(2)"},
	{"unshare", unix.SYS_UNSHARE, 310, [6]uintptr{unix.CLONE_NEWUSER}, "a user namespace gives all capabilities over much more of the kernel", "user_namespaces(7); CVE-2022-0185, CVE-2023-32233"},
	{"setns", unix.SYS_SETNS, 346, [6]uintptr{bad}, "joining another namespace leaves this one", "setns(2)"},
	{"clone3", unix.SYS_CLONE3, 435, [6]uintptr{0}, "makes namespaces by flags that no filter can read", "CVE-2021-41133"},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, 425, [6]uintptr{1, 1}, "does calls behind the filter's back, and has had many bugs", "CVE-2022-29582, CVE-2023-2598"},
	{"io_uring_enter", unix.SYS_IO_URING_ENTER, 426, [6]uintptr{bad}, "does calls behind the filter's back, and has had many bugs", "CVE-2022-29582, CVE-2023-2598"},
	{"io_uring_register", unix.SYS_IO_URING_REGISTER, 427, [6]uintptr{bad, 99}, "does calls behind the filter's back, and has had many bugs", "CVE-2022-29582, CVE-2023-2598"},
	{"bpf", unix.SYS_BPF, 357, [6]uintptr{99, 1, 1}, "programs for the kernel, whose verifier has had holes", "CVE-2020-8835, CVE-2021-3490"},
	{"userfaultfd", unix.SYS_USERFAULTFD, 374, [6]uintptr{0xffff}, "stops the kernel in the middle of a copy, which makes races easy to win", "userfaultfd(2); CVE-2016-6187's exploit"},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, 336, [6]uintptr{1, 0, bad, bad}, "a large interface with a long list of bugs", "CVE-2013-2094, CVE-2023-6931"},
	{"keyctl", unix.SYS_KEYCTL, 288, [6]uintptr{99}, "the keyring is shared by all that a user runs", "keyrings(7); CVE-2016-0728"},
	{"add_key", unix.SYS_ADD_KEY, 286, [6]uintptr{1, 1}, "the keyring is shared by all that a user runs", "keyrings(7); CVE-2016-0728"},
	{"request_key", unix.SYS_REQUEST_KEY, 287, [6]uintptr{1, 1}, "starts a program of root's outside of every namespace", "request_key(2)"},
	{"ptrace", unix.SYS_PTRACE, 26, [6]uintptr{unix.PTRACE_PEEKTEXT, 1}, "a debugger's power over other processes", "ptrace(2); CVE-2019-13272"},
	{"process_vm_readv", unix.SYS_PROCESS_VM_READV, 347, [6]uintptr{1, 1, 1, 1, 1, 99}, "reads the memory of other processes", "process_vm_readv(2)"},
	{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, 348, [6]uintptr{1, 1, 1, 1, 1, 99}, "writes the memory of other processes", "process_vm_writev(2)"},
	{"pidfd_getfd", unix.SYS_PIDFD_GETFD, 438, [6]uintptr{bad}, "takes open files out of other processes", "pidfd_getfd(2)"},
	{"kcmp", unix.SYS_KCMP, 349, [6]uintptr{1, 1, 99}, "tells what processes share, and so addresses in the kernel", "kcmp(2)"},
	{"kexec_load", unix.SYS_KEXEC_LOAD, 283, [6]uintptr{0, 0, 0, 0xffff}, "starts another kernel", "kexec_load(2)"},
	{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, 0, [6]uintptr{bad, bad, 0, 0, 0xffff}, "starts another kernel", "kexec_file_load(2)"},
	{"init_module", unix.SYS_INIT_MODULE, 128, [6]uintptr{1, 0, 1}, "puts code into the kernel", "init_module(2)"},
	{"finit_module", unix.SYS_FINIT_MODULE, 350, [6]uintptr{bad, 1, 0xffff}, "puts code into the kernel", "init_module(2)"},
	{"delete_module", unix.SYS_DELETE_MODULE, 129, [6]uintptr{1}, "takes code out of the kernel", "delete_module(2)"},
	{"reboot", unix.SYS_REBOOT, 88, [6]uintptr{0, 0, 0}, "stops the machine", "reboot(2)"},
	{"swapon", unix.SYS_SWAPON, 87, [6]uintptr{1}, "writes the memory of all to a file of the caller's", "swapon(2)"},
	{"swapoff", unix.SYS_SWAPOFF, 115, [6]uintptr{1}, "takes memory from all", "swapon(2)"},
	{"settimeofday", unix.SYS_SETTIMEOFDAY, 79, [6]uintptr{1, 1}, "the clock decides which certificates and tickets hold", "settimeofday(2)"},
	{"clock_settime", unix.SYS_CLOCK_SETTIME, 264, [6]uintptr{99, 1}, "the clock decides which certificates and tickets hold", "clock_settime(2)"},
	{"clock_adjtime", unix.SYS_CLOCK_ADJTIME, 343, [6]uintptr{99, 1}, "the clock decides which certificates and tickets hold", "clock_adjtime(2)"},
	{"adjtimex", unix.SYS_ADJTIMEX, 124, [6]uintptr{1}, "the clock decides which certificates and tickets hold", "adjtimex(2)"},
	{"acct", unix.SYS_ACCT, 51, [6]uintptr{1}, "writes to a file for every process that ends", "acct(2)"},
	{"quotactl", unix.SYS_QUOTACTL, 131, [6]uintptr{0, 1, 0, 1}, "changes how much others may write", "quotactl(2)"},
	{"quotactl_fd", unix.SYS_QUOTACTL_FD, 443, [6]uintptr{bad}, "changes how much others may write", "quotactl(2)"},
	{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 342, [6]uintptr{bad, 1}, "opens files by number, past every path", "open_by_handle_at(2); the Shocker escape from Docker, 2014"},
	{"fanotify_init", unix.SYS_FANOTIFY_INIT, 338, [6]uintptr{0xffff}, "watches all that others open", "fanotify(7)"},
	{"sethostname", unix.SYS_SETHOSTNAME, 74, [6]uintptr{1, 0xffff}, "changes the machine's name for all", "sethostname(2)"},
	{"setdomainname", unix.SYS_SETDOMAINNAME, 121, [6]uintptr{1, 0xffff}, "changes the machine's name for all", "setdomainname(2)"},
	{"syslog", unix.SYS_SYSLOG, 103, [6]uintptr{99}, "reads addresses and messages of the kernel", "syslog(2)"},
	{"move_pages", unix.SYS_MOVE_PAGES, 317, [6]uintptr{1, 1, 1, 1, 1, 0xffff}, "moves the memory of other processes, and tells where it lies", "move_pages(2); CVE-2017-14140"},
	{"migrate_pages", unix.SYS_MIGRATE_PAGES, 294, [6]uintptr{1, 0xffffff, 1, 1}, "moves the memory of other processes", "migrate_pages(2)"},
	{"personality", unix.SYS_PERSONALITY, 136, [6]uintptr{0x0400000}, "READ_IMPLIES_EXEC makes data executable", "personality(2)"},
	{"vhangup", unix.SYS_VHANGUP, 111, [6]uintptr{}, "ends the session at the terminal", "vhangup(2)"},
}
