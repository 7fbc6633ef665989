package sandbox

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// report is one page shared between the supervisor and the processes of the sandbox. Processes tell of a
// failure by writing here: no descriptor is needed for it, and it works under any system-call filter.
type report struct {
	failed uint32 // 1: row failed with errno, the sandbox was not started
	row    uint32
	errno  uint32
	denied uint32 // an exec candidate was refused with EACCES before the last one was not found
	exited uint32 // 1: status is the program's wait status
	status uint32
	ready  uint32 // a futex: 1 when the supervisor passes signals on
	first  int32  // process id of the sandbox's first process, where another made it
}

// The runtime's hooks around a fork: signals are blocked in every thread that could run a handler in the
// child, and stack growth is trapped. They are kept for packages outside the standard library (go.dev/issue/67401).
//
//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// fork makes the sandbox's first process, which interprets the table from row start and never returns.
//
// Preconditions: the calling goroutine is locked to its thread, because the parent-death signal is that of
// the thread (prctl(2), PR_SET_PDEATHSIG).
//
//go:norace
//go:noinline
func fork(rows []call, start int, slots *[numSlots]uintptr, args *cloneArgs, shared *report) (pid int, errno syscall.Errno) {
	flags := args.flags
	runtimeBeforeFork()
	var r uintptr
	if args.cgroup != 0 {
		r, _, errno = syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	} else {
		r, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(flags|args.exitSignal), 0, 0, 0, 0, 0)
	}
	if errno == 0 && r == 0 {
		interpret(&rows[0], start, slots, shared)
	}
	runtimeAfterFork()
	return int(r), errno
}

// cloneArgs is struct clone_args of clone3(2), up to and with the cgroup descriptor (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal uint64
	stack, stackSize, tls, setTid, setTidSize     uint64
	cgroup                                        uint64
}

// interpret runs the table. It is all that runs between clone and exec: a copy of a multi-threaded Go process
// with one thread, so nothing here may allocate, grow the stack, take a lock or call anything but a raw
// system call.
//
//go:norace
//go:nosplit
func interpret(rows *call, pc int, slots *[numSlots]uintptr, shared *report) {
	for {
		c := (*call)(unsafe.Add(unsafe.Pointer(rows), uintptr(pc)*unsafe.Sizeof(*rows)))
		a := c.args
		for i := range a {
			if c.refs&(1<<i) != 0 {
				a[i] = slots[a[i]&(numSlots-1)]
			}
		}
		pc++
		var r uintptr
		var errno syscall.Errno
		switch c.nr {
		case opStore:
			*(*int32)(pointer(&a[0])) = int32(a[1])
			continue
		case opZero:
			for i := uintptr(0); i < a[1]; i++ {
				*(*byte)(unsafe.Add(pointer(&a[0]), i)) = 0
			}
			continue
		case opPass:
			if a[0] != ^uintptr(0) {
				pc += int(a[1])
			}
			continue
		case opReap:
			reap(a[0], a[1], a[2], shared)
		case opExit:
			exit(a[0])
		case opFork:
			r, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, a[0], 0, 0, 0, 0, 0)
			if errno == 0 && r == 0 {
				pc = int(a[1])
			}
		default:
			r, _, errno = syscall.RawSyscall6(c.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		}
		if errno != 0 {
			e := uint16(errno)
			if e == c.ok[0] || e == c.ok[1] || e == c.ok[2] {
				if c.nr == unix.SYS_EXECVE && errno == unix.EACCES {
					shared.denied = 1
				}
				if c.slot != noSlot { // no descriptor: what the slot held before, at first 0, belongs to others
					slots[c.slot&(numSlots-1)] = ^uintptr(0)
				}
				continue
			}
			shared.row, shared.errno, shared.failed = uint32(pc-1), uint32(errno), 1
			exit(125)
		}
		if c.slot != noSlot {
			slots[c.slot&(numSlots-1)] = r
		}
	}
}

// reap is the whole life of the sandbox's pid 1 once the program runs: it waits for every child, tells the
// supervisor of the program's stops, and goes when the program goes, which ends whatever is left
// (pid_namespaces(7)). Only a process of the session can say which group has the foreground of its terminal,
// so pid 1 does that too when the supervisor asks with SIGUSR1 (the program's) or SIGUSR2 (pid 1's own group).
//
// All signals stay blocked since before the fork: those waited for are queued, the others never arrive.
//
//go:norace
//go:nosplit
func reap(program, events, tty uintptr, shared *report) {
	var status uint32
	signals := uint64(1<<(unix.SIGCHLD-1) | 1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1))
	for {
		sig, _, _ := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&signals)), 0, 0, 8, 0, 0)
		if syscall.Signal(sig) == unix.SIGUSR1 || syscall.Signal(sig) == unix.SIGUSR2 {
			group := int32(program)
			if syscall.Signal(sig) == unix.SIGUSR2 {
				self, _, _ := syscall.RawSyscall(unix.SYS_GETPGID, 0, 0, 0)
				group = int32(self)
			}
			_, _, _ = syscall.RawSyscall(unix.SYS_IOCTL, tty, unix.TIOCSPGRP, uintptr(unsafe.Pointer(&group)))
			continue
		}
		for {
			pid, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), unix.WNOHANG|unix.WUNTRACED|unix.WALL, 0, 0, 0)
			if errno == unix.ECHILD {
				exit(125)
			}
			if errno != 0 || pid == 0 {
				break
			}
			if pid != program {
				continue
			}
			if status&0xff == 0x7f { // stopped: wait(2)
				_, _, _ = syscall.RawSyscall6(unix.SYS_SENDTO, events, uintptr(unsafe.Pointer(&status)), 4, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
				continue
			}
			shared.status, shared.exited = status, 1
			exit(0)
		}
	}
}

//go:norace
//go:nosplit
func exit(code uintptr) {
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}

// pointer reads an address that a row carries as a number: that of a buffer the table keeps alive.
//
//go:norace
//go:nosplit
func pointer(addr *uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(addr)) }
