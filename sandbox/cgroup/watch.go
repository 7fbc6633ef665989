package cgroup

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A chore is something to do when the sandbox is over: write a text into a file, or remove a folder. The texts end
// in NUL, ready for system calls that must not allocate.
type chore struct {
	path *byte
	text *byte // nil: remove the folder
	size uintptr
}

func writeChore(path, text string) chore {
	p, _ := unix.BytePtrFromString(path)
	t, _ := unix.BytePtrFromString(text)
	return chore{path: p, text: t, size: uintptr(len(text))}
}

func removeChore(path string) chore {
	p, _ := unix.BytePtrFromString(path)
	return chore{path: p}
}

// do is the chore as jail itself does it at the end. That it fails is no harm: another sandbox may be using what it
// would have removed.
func (c chore) do() {
	path := unix.BytePtrToString(c.path)
	if c.text != nil {
		_ = put(path, unix.BytePtrToString(c.text))
		return
	}
	_ = unix.Rmdir(path)
}

// A watcher is a process that outlives jail to tidy up after a SIGKILL. It is a plain fork that runs only the few
// system calls in watchFor: a start of its own would cost more than the whole group.
type watcher struct {
	pid int
}

// startWatcher forks the watcher. It must be called before what the chores tidy up exists.
func startWatcher(chores []chore) (*watcher, error) {
	// A pidfd tells of jail's end whatever other processes hold open, which a pipe would not.
	jail, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("watch over the cgroup: pidfd_open: %w", err)
	}
	defer unix.Close(jail)
	syscall.ForkLock.Lock()
	pid, errno := forkWatcher(uintptr(jail), chores)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(chores)
	if errno != 0 {
		return nil, fmt.Errorf("watch over the cgroup: fork: %w", errno)
	}
	return &watcher{pid: int(pid)}, nil
}

// stop ends the watcher, when there is nothing left to do for it.
func (w *watcher) stop() {
	if w == nil {
		return
	}
	_ = unix.Kill(w.pid, unix.SIGKILL)
	// It was cloned without a termination signal, so that nobody's wait for any child meets it: only __WALL does.
	for {
		if _, err := unix.Wait4(w.pid, nil, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// forkWatcher returns in jail only.
//
// Preconditions: syscall.ForkLock is held. After the fork this is a copy of a process of many threads in which one
// lives on, so nothing may allocate, lock, grow the stack or be preempted. All signals stay blocked, which is how
// runtime_BeforeFork leaves them, so that no handler of the Go runtime ever runs and Ctrl-C does not reach it.
//
//go:noinline
//go:norace
//go:nocheckptr
func forkWatcher(jail uintptr, chores []chore) (pid uintptr, errno syscall.Errno) {
	var poll unix.PollFd
	var pause unix.Timespec
	var fd uintptr
	var i, round int
	poll.Fd = int32(jail)
	poll.Events = unix.POLLIN

	runtimeBeforeFork()
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		runtimeAfterFork()
		return pid, errno
	}

	// Out of the terminal's reach, and off everything that somebody may wait for the end of.
	syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
	if jail > 0 {
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, jail-1, 0)
	}
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, jail+1, ^uintptr(0)>>32, 0)
	syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(&slash[0])), 0, 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&watcherName[0])), 0)

	for {
		_, _, errno = syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, 0, 0, 0, 0)
		if errno == 0 {
			break
		}
	}
	for i = 0; i < len(chores); i++ {
		if chores[i].text != nil {
			fd, _, errno = syscall.RawSyscall6(syscall.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(chores[i].path)), unix.O_WRONLY|unix.O_CLOEXEC, 0, 0, 0)
			if errno == 0 {
				syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(chores[i].text)), chores[i].size)
				syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
			}
			continue
		}
		// A program that outlives jail is waited for, at last with one look a second; it costs nothing else.
		pause = unix.Timespec{}
		for round = 0; ; round++ {
			_, _, errno = syscall.RawSyscall(syscall.SYS_UNLINKAT, atCwd, uintptr(unsafe.Pointer(chores[i].path)), unix.AT_REMOVEDIR)
			if errno != syscall.EBUSY && errno != syscall.EINTR {
				break
			}
			if round < 200 {
				pause.Nsec = 1_000_000
			} else if pause.Nsec < 500_000_000 {
				pause.Nsec *= 2
			}
			syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		}
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// atCwd is AT_FDCWD as a system call's argument. The paths are absolute.
const atCwd = ^uintptr(0) - 99

var (
	slash       = [...]byte{'/', 0}
	watcherName = [...]byte{'j', 'a', 'i', 'l', '-', 's', 'w', 'e', 'e', 'p', 0}
)
