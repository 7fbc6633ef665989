package policy

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A guard keeps the dangerous part of an otherwise ordinary system call shut.
// It applies however the call was granted, by its name or through a group; only
// a `rules` entry for the call itself says otherwise, and such an entry comes
// before the guard: `{names: [ioctl], action: allow}` lifts it altogether.
type guard struct {
	call string
	// userns says that the guard takes the place of the one without it once a
	// profile grants @userns.
	userns bool
	noDump bool        // it is there for profiles that say no-dump
	lines  []guardLine // the first that matches answers
	other  guardAnswer // for what no line matches
}

type guardLine struct {
	args   []SyscallArg
	answer guardAnswer
}

// guardAnswer is an errno, or 0 to let the call through.
type guardAnswer uint

// allCloneNamespaces are the flags that make namespaces with clone(2). Its
// lowest byte is the exit signal, which is why CLONE_NEWTIME (0x80) is not
// among them: that one works with unshare(2) and clone3(2) only.
const allCloneNamespaces = unix.CLONE_NEWUSER | mountCloneNamespaces |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC

// mountCloneNamespaces are those that a browser's own sandbox does without. A
// mount namespace of one's own is the largest of the kernel's doors that an
// unprivileged user namespace opens.
const mountCloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// low32 masks the half of an argument that the kernel looks at where it takes
// an int. Comparing all 64 bits lets a caller through that sets a bit above
// them (CVE-2019-10063).
const low32 = 0xffffffff

// guards stand in the way of clone3 too, in a manner of speaking: its flags lie
// in memory that no filter can read, so no group grants it (unfiltered, below).
//
// prctl has no guard. What of it reaches beyond the process (PR_SET_MM,
// PR_CAPBSET_DROP and such) needs a capability; the rest only tightens or names.
// Calls that programs make by the million have none either, because the kernel
// skips the filter for a call whose answer does not depend on arguments
// (SECCOMP_ARCH_NATIVE bitmap, seccomp_cache_prepare in kernel/seccomp.c).
var guards = [...]guard{
	{call: "clone", lines: []guardLine{{args: flagsClear(allCloneNamespaces)}}, other: guardAnswer(unix.EPERM)},
	{call: "clone", userns: true,
		lines: []guardLine{{args: flagsClear(mountCloneNamespaces)}}, other: guardAnswer(unix.EPERM)},
	{call: "unshare", lines: []guardLine{{args: flagsClear(allCloneNamespaces | unix.CLONE_NEWTIME)}},
		other: guardAnswer(unix.EPERM)},
	{call: "unshare", userns: true,
		lines: []guardLine{{args: flagsClear(mountCloneNamespaces | unix.CLONE_NEWTIME)}}, other: guardAnswer(unix.EPERM)},

	// Typing into the terminal of whoever started jail (CVE-2017-5226,
	// CVE-2023-28100): TIOCSTI pushes characters, TIOCLINUX pastes a selection.
	{call: "ioctl", lines: []guardLine{
		{args: argIs(1, unix.TIOCSTI), answer: guardAnswer(unix.EPERM)},
		{args: argIs(1, tiocLinux), answer: guardAnswer(unix.EPERM)},
	}},

	// Every family and every protocol has its own code in the kernel, much of it
	// hardly ever run, and making a socket loads its module. Numbers beyond any
	// that the kernel has need no answer of their own.
	{call: "socket", lines: []guardLine{
		{args: argIs(0, unix.AF_UNIX)},
		// Of what IP carries, TCP, UDP and echo are what programs speak. Raw sockets take a capability, and no module.
		{args: internet(argMasked(1, socketType, unix.SOCK_RAW))},
		{args: internet(argMasked(1, uncommonTypes, 0), argMasked(2, low32&^unix.IPPROTO_ICMP, 0))},       // 0 as well, whatever the type means
		{args: internet(argMasked(1, uncommonTypes, 0), argMasked(2, low32&^mptcpBit, unix.IPPROTO_TCP))}, // IPPROTO_MPTCP as well
		{args: internet(argMasked(1, uncommonTypes, 0), argIs(2, unix.IPPROTO_UDP))},
		{args: internet(argMasked(1, uncommonTypes, 0), argIs(2, unix.IPPROTO_ICMPV6))},
		{args: internet(), answer: guardAnswer(unix.ENOSYS)},                       // SCTP (CVE-2021-23133), DCCP (CVE-2017-6074), L2TP, SMC, UDP-Lite
		{args: append(argIs(0, unix.AF_NETLINK), argIs(2, unix.NETLINK_ROUTE)...)}, // getifaddrs(3)
		{args: append(argIs(0, unix.AF_NETLINK), argBelow(2, 32)...), answer: guardAnswer(unix.EPROTONOSUPPORT)},
		{args: argIs(0, unix.AF_NETLINK), answer: guardAnswer(unix.ENOSYS)},
		{args: argBelow(0, 64), answer: guardAnswer(unix.EAFNOSUPPORT)},
	}, other: guardAnswer(unix.ENOSYS)},
	{call: "socketpair", lines: []guardLine{
		{args: argIs(0, unix.AF_UNIX)}, {args: argBelow(0, 64), answer: guardAnswer(unix.EAFNOSUPPORT)},
	}, other: guardAnswer(unix.ENOSYS)},

	// READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE and the personalities of other
	// systems undo what makes memory errors hard to use.
	{call: "personality", lines: []guardLine{
		{args: argMasked(0, low32&^(perLinux32|uname26), 0)},
		{args: argIs(0, 0xffffffff)}, // asks, changes nothing
	}, other: guardAnswer(unix.ENOSYS)},

	// With RLIMIT_CORE at 1 the kernel hands nobody a core file. The program could lower it to 0, at which a program
	// outside that core_pattern names is handed it all the same (core(5)).
	{call: "setrlimit", noDump: true, lines: []guardLine{{args: argIs(0, unix.RLIMIT_CORE), answer: guardAnswer(unix.EPERM)}}},
	{call: "prlimit64", noDump: true, lines: []guardLine{
		{args: append(argIs(1, unix.RLIMIT_CORE), SyscallArg{Index: 2, Op: "eq"})}, // asks, changes nothing
		{args: argIs(1, unix.RLIMIT_CORE), answer: guardAnswer(unix.EPERM)},
	}},
}

// The low bits of a socket's type are the type, the others flags (SOCK_TYPE_MASK of linux/net.h). Those with one of the
// bits uncommonTypes are not SOCK_STREAM, SOCK_DGRAM or SOCK_RAW.
const (
	socketType    = 0xf
	uncommonTypes = 0xc
	mptcpBit      = unix.IPPROTO_MPTCP ^ unix.IPPROTO_TCP
)

// internet holds for sockets of both Internet families, which differ in one bit, with more conditions.
func internet(more ...[]SyscallArg) []SyscallArg {
	return slices.Concat(append([][]SyscallArg{argMasked(0, low32&^(unix.AF_INET^unix.AF_INET6), unix.AF_INET)}, more...)...)
}

// From linux/tiocl.h and personality(2); x/sys has neither.
const (
	tiocLinux  = 0x541c
	perLinux32 = 0x8
	uname26    = 0x20000
)

// argIs compares an argument that the kernel takes for an int.
func argIs(index uint, value uint64) []SyscallArg {
	return argMasked(index, low32, value)
}

// argMasked compares some bits of an argument.
func argMasked(index uint, mask, value uint64) []SyscallArg {
	return []SyscallArg{{Index: index, Op: "masked-eq", Value: mask, ValueTwo: value}}
}

// argBelow holds for an int from 0 up to limit, which is a power of two.
func argBelow(index uint, limit uint64) []SyscallArg {
	return argMasked(index, low32&^(limit-1), 0)
}

func flagsClear(flags uint64) []SyscallArg {
	return argMasked(0, flags, 0)
}

// findGuard returns the guard of a call, or nil.
func findGuard(call string, userns, noDump bool) *guard {
	var found *guard
	for i := range guards {
		if g := &guards[i]; g.call == call && (!g.userns || userns) && (!g.noDump || noDump) {
			found = g
		}
	}
	return found
}

// unfiltered are calls whose danger no argument rule can tell from their use.
// They are granted by their own name alone, never by a group: clone3 because its
// flags lie in memory, socketcall because it does the same for i386's socket().
var unfiltered = [...]string{"clone3", "socketcall"}

// absent are calls that answer ENOSYS, as on a kernel without them, unless a
// profile grants them. Programs then take the older way: the C library starts
// threads with clone where clone3 is missing, and tools that try the new mount
// calls report them as missing and not as forbidden.
var absent = [...]string{
	"clone3",
	"fsconfig", "fsmount", "fsopen", "fspick", "listmount", "mount", "mount_setattr", "move_mount",
	"open_tree", "open_tree_attr", "pivot_root", "statmount", "umount", "umount2",
	"cachestat", "listns",
}
