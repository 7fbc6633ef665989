package sandbox

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// supervising are the calls that a supervisor makes once its sandbox runs: it waits, passes signals and bytes on, reads
// counters, keeps sealed memory for those who ask, and takes its control group away. supervisingHere are those that this
// processor has besides.
//
// What is not among them: to execute anything, to make namespaces, mounts and sockets other than unix ones, to trace, and
// all that @default of a profile leaves out. It stays dumpable, as jail ps needs (package running).
var supervising = []uintptr{
	unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PPOLL, unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME,
	unix.SYS_MADVISE, unix.SYS_TGKILL, unix.SYS_RT_SIGRETURN, unix.SYS_SCHED_YIELD,

	// The Go runtime: memory, threads, signals, timers.
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MINCORE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETPPID,
	unix.SYS_RESTART_SYSCALL, unix.SYS_MEMBARRIER, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_SIGALTSTACK, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_GETTIMEOFDAY, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME,
	unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER, unix.SYS_GETRANDOM, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT2,
	unix.SYS_EVENTFD2, unix.SYS_PRLIMIT64, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETCPU,

	// Files: control groups, /proc, what is open already. No name is made but by openat, where the user may.
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX,
	unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_READV, unix.SYS_WRITEV,
	unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_GETDENTS64, unix.SYS_UNLINKAT, unix.SYS_FTRUNCATE,
	unix.SYS_FCNTL, unix.SYS_FLOCK, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_SPLICE, unix.SYS_SENDFILE,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_PSELECT6, unix.SYS_IOCTL, unix.SYS_MEMFD_CREATE, unix.SYS_GETCWD, unix.SYS_GETXATTR,

	// Processes: the sandbox's and the terminal's watcher, which is forked when the terminal is taken.
	unix.SYS_KILL, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_PRCTL, unix.SYS_GETRUSAGE,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETPGID, unix.SYS_SETPGID, unix.SYS_GETSID, unix.SYS_SETSID,

	// Sockets that are there, and new ones of the unix family.
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_ACCEPT4, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT,
	unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_CONNECT,
}

// newNamespaces are the flags of clone(2) that a supervisor never gives any more.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Confine leaves this process, all of its threads and what it may fork, the calls that a supervisor needs once its
// sandbox runs; all others are EPERM from then on. It cannot be undone, and sets no_new_privs. A bug in what reads
// the sandbox's messages then has no program to start with.
func Confine() error {
	program := supervisorFilter()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine the supervisor: no_new_privs: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// With TSYNC a thread that cannot follow is told by its id: seccomp(2).
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	switch {
	case errno != 0:
		return fmt.Errorf("confine the supervisor: %w", errno)
	case thread != 0:
		return fmt.Errorf("confine the supervisor: thread %d has a filter of its own", thread)
	}
	return nil
}

// supervisorFilter is the filter as classic BPF. It is written by hand since it never changes and must cost a start
// nothing; arguments are compared by their low halves, which are what the kernel takes: clone(2), socket(2).
func supervisorFilter() []unix.SockFilter {
	const offNumber, offArch, offArg0 = 0, 4, 16 // struct seccomp_data, little-endian
	load := func(off uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
	}
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	allow, deny := ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	f := make([]unix.SockFilter, 0, 512)
	f = append(f, load(offArch), equal(auditArch, 1, 0), ret(unix.SECCOMP_RET_KILL_PROCESS), load(offNumber),
		equal(unix.SYS_SOCKET, 0, 4), load(offArg0), equal(unix.AF_UNIX, 0, 1), allow, deny,
		equal(unix.SYS_CLONE, 0, 4), load(offArg0),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 1, Jf: 0, K: newNamespaces}, allow, deny)
	return searchCalls(f, callRanges())
}

// A callRange is an unbroken row of calls, both ends included.
type callRange struct{ low, high uint32 }

func callRanges() []callRange {
	numbers := make([]uintptr, 0, 160)
	numbers = append(append(numbers, supervising...), supervisingHere...)
	slices.Sort(numbers)
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
	jump := func(code uint16, k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | code | unix.BPF_K, Jt: uint8(yes), Jf: uint8(no), K: k}
	}
	if len(ranges) == 1 {
		return append(f, jump(unix.BPF_JGE, ranges[0].low, 0, 2), jump(unix.BPF_JGT, ranges[0].high, 1, 0),
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	half := len(ranges) / 2
	at := len(f)
	f = searchCalls(append(f, unix.SockFilter{}), ranges[:half])
	f[at] = jump(unix.BPF_JGE, ranges[half].low, len(f)-at-1, 0)
	return searchCalls(f, ranges[half:])
}
