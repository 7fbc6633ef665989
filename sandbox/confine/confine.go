// Package confine holds a process of jail's own to the system calls that it still needs once its set-up is done.
//
// The filter is classic BPF, written out by hand: it hardly ever changes, and compiling one would cost a start more
// than the start itself. The package imports nothing of jail's, so that the supervisor and the network's gateway can
// both have it.
package confine

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// goRuntime are the calls that the Go runtime makes at any time: memory, threads, signals, timers, its poller; but for
// tgkill(2), by which it interrupts its threads, and which can reach other processes. goRuntimeHere are
// older names of some, on the processors that have them.
var goRuntime = []uintptr{
	unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_MADVISE,
	unix.SYS_RT_SIGRETURN, unix.SYS_SCHED_YIELD, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MREMAP,
	unix.SYS_BRK, unix.SYS_MINCORE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST,
	unix.SYS_RSEQ, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_RESTART_SYSCALL, unix.SYS_MEMBARRIER,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_SIGALTSTACK, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_GETTIMEOFDAY, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_GETRANDOM, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2,
	unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETCPU, unix.SYS_CLOSE, unix.SYS_FCNTL,
}

// A Guard lets a call through where the low half of one argument, which is what the kernel takes of a flag or a
// number, has one of these values in the bits of the mask.
type Guard struct {
	Call   uintptr
	Arg    int // from 0
	Mask   uint32
	Values []uint32
}

// Sockets lets sockets of these families be made, and no others: socket(2).
func Sockets(families ...uint32) Guard { return Guard{unix.SYS_SOCKET, 0, ^uint32(0), families} }

// Opens lets a call that opens files, with its flags as the argument of that number, open them for reading: open(2).
func Opens(call uintptr, flags int) Guard {
	return Guard{call, flags, unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC, []uint32{unix.O_RDONLY}}
}

// NewNamespaces are the flags of clone(2) and unshare(2) that make a namespace.
const NewNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Forks lets threads and processes be made, without namespaces of their own.
var Forks = Guard{unix.SYS_CLONE, 0, NewNamespaces, []uint32{0}}

// Threads leaves this process, all of its threads and what it may fork, these calls and those that the Go runtime cannot do
// without; all others are EPERM from then on, and calls of another architecture the end of the process. It cannot be undone, and sets no_new_privs.
func Threads(calls []uintptr, guards []Guard) error {
	program := Filter(calls, guards)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// With TSYNC a thread that cannot follow is told by its id: seccomp(2).
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno != 0:
		return fmt.Errorf("install the system-call filter: %w", errno)
	case thread != 0:
		return fmt.Errorf("install the system-call filter: thread %d has one of its own", thread)
	}
	return nil
}

var (
	allow = ret(unix.SECCOMP_RET_ALLOW)
	deny  = ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
)

// Filter is what Threads installs. A guarded call is not among the calls.
func Filter(calls []uintptr, guards []Guard) []unix.SockFilter {
	const offNumber, offArch = 0, 4 // struct seccomp_data, little-endian
	f := make([]unix.SockFilter, 0, 512)
	f = append(f, load(offArch), jump(unix.BPF_JEQ, Arch, 1, 0), ret(unix.SECCOMP_RET_KILL_PROCESS), load(offNumber),
		// Its flags are in memory. Who is told that it is unknown takes clone(2).
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	for _, g := range guards {
		f = g.add(f)
	}
	return searchCalls(f, callRanges(slices.Concat(calls, goRuntime, goRuntimeHere)))
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func jump(code uint16, k uint32, yes, no int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | code | unix.BPF_K, Jt: uint8(yes), Jf: uint8(no), K: k}
}

// add adds the way of one guarded call.
func (g Guard) add(f []unix.SockFilter) []unix.SockFilter {
	const offArgs, argSize = 16, 8
	n := len(g.Values)
	f = append(f, jump(unix.BPF_JEQ, uint32(g.Call), 0, n+4), load(offArgs+argSize*uint32(g.Arg)),
		unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: g.Mask})
	for i, v := range g.Values {
		f = append(f, jump(unix.BPF_JEQ, v, n-i, 0))
	}
	return append(f, deny, allow)
}

// A callRange is an unbroken row of calls, both ends included.
type callRange struct{ low, high uint32 }

func callRanges(calls []uintptr) []callRange {
	numbers := slices.Sorted(slices.Values(calls))
	ranges := make([]callRange, 0, len(numbers))
	for _, nr := range numbers {
		if n := uint32(nr); len(ranges) > 0 && n <= ranges[len(ranges)-1].high+1 {
			ranges[len(ranges)-1].high = n
		} else {
			ranges = append(ranges, callRange{n, n})
		}
	}
	return ranges
}

// searchCalls adds a binary search for the number. When a filter is installed the kernel tries every number on it, to
// know which need no look at the arguments (seccomp_cache_prepare); a list would be gone through four hundred times.
func searchCalls(f []unix.SockFilter, ranges []callRange) []unix.SockFilter {
	if len(ranges) == 1 {
		return append(f, jump(unix.BPF_JGE, ranges[0].low, 0, 2), jump(unix.BPF_JGT, ranges[0].high, 1, 0), allow, deny)
	}
	half := len(ranges) / 2
	at := len(f)
	f = searchCalls(append(f, unix.SockFilter{}), ranges[:half])
	f[at] = jump(unix.BPF_JGE, ranges[half].low, len(f)-at-1, 0)
	return searchCalls(f, ranges[half:])
}
