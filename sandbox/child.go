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
	alone  uint32 // a futex: 1 when pid 1 has dropped what it held while it set the sandbox up
	first  int32  // process id of the sandbox's first process, where another made it
}

// The runtime's hooks around a fork: signals are blocked in every thread that could run a handler in the
// child, and stack growth is trapped. They are kept for packages outside the standard library (go.dev/issue/67401).
//
//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// A process is one of the sandbox's own, while it interprets the table. It lies in memory that all of them and the
// supervisor share, and is set up before the first of them is made.
type process struct {
	entry  uintptr // the code of interpret
	rows   *call
	pc     uintptr  // the row to go on with
	shared *report  // in the same memory
	next   *process // what a fork row makes, with flags as of clone(2)
	flags  uintptr
	forked uintptr // its id, or a negative errno; 0 when there is no fork to go on from
	slots  [numSlots]uintptr
	top    uintptr    // of the stack, which grows down
	stack  [2048]byte // interpret and what it calls are nosplit, which the linker keeps below 800 bytes
}

// processes makes n of them, each the one that a fork row of the one before makes.
func (m *memory) processes(n int, rows []call, shared *report) *process {
	begin := interpret
	var p *process
	for range n {
		q := allot[process](m)
		q.entry = **(**uintptr)(unsafe.Pointer(&begin))
		q.rows, q.shared, q.next = unsafe.SliceData(rows), shared, p
		q.top = (uintptr(unsafe.Pointer(&q.stack)) + unsafe.Sizeof(q.stack)) &^ 15 // aligned as both architectures want it
		p = q
	}
	return p
}

// fork makes the sandbox's first process, which interprets the table and never returns.
//
// The sandbox dies with the thread that does this (prctl(2), PR_SET_PDEATHSIG). The main thread is there for as long
// as its process; any other has to be the goroutine's own. A goroutine with a thread of its own costs a further
// thread, which the runtime then makes threads from, so fork is called once without and tells when that did not do.
// Asked to, it has this process die with the thread that is its parent, too.
//
//go:norace
//go:noinline
func fork(p *process, args *cloneArgs, ownThread, dieWithParent bool) (pid int, needThread bool, failed *callError) {
	var errno syscall.Errno
	syscall.ForkLock.Lock()
	runtimeBeforeFork() // from here the goroutine stays on its thread
	tid, _, _ := syscall.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	pid0, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	var r uintptr
	needThread = tid != pid0 && !ownThread
	if dieWithParent && !needThread {
		_, _, errno = syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	}
	switch {
	case needThread || errno != 0:
	case args.cgroup != 0:
		at := uintptr(unsafe.Pointer(&p.stack))
		args.stack, args.stackSize = uint64(at), uint64(p.top-at)
		r = clone(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), p)
	default:
		r = clone(unix.SYS_CLONE, uintptr(args.flags|args.exitSignal), p.top, p)
	}
	runtimeAfterFork()
	syscall.ForkLock.Unlock()
	switch {
	case errno != 0:
		return 0, false, &callError{unix.SYS_PRCTL, errno}
	case r > ^uintptr(4095):
		return 0, false, &callError{opFork, syscall.Errno(-r)}
	}
	return int(r), needThread, nil
}

// clone makes a process by clone(2) or clone3(2), with the first two arguments of either. On its own stack the child
// calls interpret with what is given as the last. The result is its id, or a negative errno.
func clone(nr, a1, a2 uintptr, child *process) uintptr

// cloneArgs is struct clone_args of clone3(2), up to and with the cgroup descriptor (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal uint64
	stack, stackSize, tls, setTid, setTidSize     uint64
	cgroup                                        uint64
}

// interpret runs the table. It is all that runs between clone and exec, called from assembly in a process that has
// jail's code, this process's memory and nothing else of jail's: nothing here may allocate, grow the stack, take a
// lock, write a pointer, look at a variable of the package or call anything but a raw system call. It returns only to
// have a process made, and is called again for both of the two.
//
// The program mostly shares the memory of pid 1 until it is executed, which saves a copy of that, too: see forkProgram.
//
//go:norace
//go:nosplit
//go:nocheckptr
func interpret(p *process) {
	pc, slots, shared := p.pc, &p.slots, p.shared
	for {
		c := (*call)(unsafe.Add(unsafe.Pointer(p.rows), pc*unsafe.Sizeof(*p.rows)))
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
		case opPass:
			if a[0] != ^uintptr(0) {
				pc += a[1]
			}
			continue
		case opReap:
			reap(a[0], a[1], a[2], a[3], shared)
		case opExit:
			exit(a[0])
		case opGoOn:
			if shared.failed != 0 {
				exit(125)
			}
			continue
		case opFork:
			if p.forked == 0 {
				next := p.next
				for i := range slots {
					next.slots[i] = slots[i]
				}
				next.pc = a[1]
				p.flags, p.pc = a[0], pc-1
				return
			}
			r, p.forked = p.forked, 0
			if r > ^uintptr(4095) {
				errno = syscall.Errno(-r)
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
// Without a pid namespace, when all is not 0, the kernel ends nothing with it: it ends what is left itself, also when
// asked to with SIGTERM, which comes from the kernel when the supervisor dies.
//
// All signals stay blocked since before the fork: those waited for are queued, the others never arrive.
//
//go:norace
//go:nosplit
//go:nocheckptr
func reap(program, events, tty, all uintptr, shared *report) {
	var status uint32
	signals := uint64(1<<(unix.SIGCHLD-1) | 1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1))
	if all != 0 {
		signals |= 1 << (unix.SIGTERM - 1)
	}
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
		if syscall.Signal(sig) == unix.SIGTERM {
			endAll()
			self, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
			_, _, _ = syscall.RawSyscall(unix.SYS_KILL, self, uintptr(unix.SIGKILL), 0) // as it ends with a pid namespace
		}
		for {
			pid, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), unix.WNOHANG|unix.WUNTRACED|unix.WALL, 0, 0, 0)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 { // nobody would hear of the program's end
				shared.errno = uint32(errno)
				exit(125)
			}
			if pid == 0 {
				break
			}
			if pid != program {
				continue
			}
			if status&0xff == 0x7f { // stopped: wait(2)
				_, _, _ = syscall.RawSyscall6(unix.SYS_SENDTO, events, uintptr(unsafe.Pointer(&status)), 4, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
				continue
			}
			if shared.status, shared.exited = status, 1; all != 0 {
				endAll()
			}
			exit(0)
		}
	}
}

// endAll kills every process that this one may signal and waits for those of them that are its children, which all
// become that are orphaned. Its Landlock rules let no signal out (signalsStayInside), so these are the sandbox's. The
// kernel does it under the lock that a fork takes, too: none slips through (kill_something_info).
//
//go:norace
//go:nosplit
//go:nocheckptr
func endAll() {
	_, _, _ = syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL), 0)
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), 0, unix.WALL, 0, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return
		}
	}
}

// exit ends the process. A filter that allows no call for it is no reason to stay: the fault ends it, too.
//
//go:norace
//go:nosplit
//go:nocheckptr
func exit(code uintptr) {
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	for {
		*(*int32)(nil) = 0 //nolint:govet // the fault is what it is for
	}
}

// pointer reads an address that a row carries as a number: that of a buffer the table keeps alive.
//
//go:norace
//go:nosplit
//go:nocheckptr
func pointer(addr *uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(addr)) }
