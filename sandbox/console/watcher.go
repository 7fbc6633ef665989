package console

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watcher puts the outer terminal's settings back when the supervisor dies
// without doing so: by SIGKILL, a crash of the runtime, the OOM killer. It is a
// plain fork, not one that shares memory, because the OOM killer and (before
// Linux 5.16) a core dump kill every process on the same memory.
type watcher struct {
	page *page
	pipe int // our end: it closes when we die
	pid  int
}

// page is shared with the watcher. The supervisor writes it while the watcher
// sleeps; the watcher reads it once the supervisor is dead.
type page struct {
	armed  uint32       // 1 while the terminal is in the mode `set`
	before unix.Termios // what to put back
	set    unix.Termios // what the terminal must still have for that
	was    unix.Termios // or this, while a change from it to set is on its way

	// Scratch of the watcher, which cannot allocate.
	now  unix.Termios
	read [1]byte
	name [16]byte
}

// startWatcher forks the watcher of the terminal behind fd.
func startWatcher(fd int) (*watcher, error) {
	memory, err := unix.Mmap(-1, 0, unix.Getpagesize(),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("share memory with the terminal's watcher: %w", err)
	}
	w := &watcher{page: (*page)(unsafe.Pointer(&memory[0]))}
	copy(w.page.name[:], "jail-terminal")
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make the pipe of the terminal's watcher: %w", err)
	}
	pid, errno := forkWatcher(w.page, uintptr(fd), uintptr(pipe[0]))
	_ = unix.Close(pipe[0])
	if errno != 0 {
		_ = unix.Close(pipe[1])
		return nil, fmt.Errorf("fork the terminal's watcher: %w%s", errno, forkHint(errno))
	}
	w.pipe, w.pid = pipe[1], pid
	return w, nil
}

func forkHint(errno syscall.Errno) string {
	if errno == unix.EAGAIN {
		return "\nhint: the limit of processes is reached (ulimit -u, or the cgroup's pids.max)"
	}
	return ""
}

// arm records the settings to restore. It comes before the terminal is changed,
// so that no moment is left without a rescuer.
func (w *watcher) arm(before, set unix.Termios) {
	atomic.StoreUint32(&w.page.armed, 0)
	w.page.before, w.page.set, w.page.was = before, set, w.page.set
	atomic.StoreUint32(&w.page.armed, 1)
}

func (w *watcher) disarm() { atomic.StoreUint32(&w.page.armed, 0) }

// stop sends the watcher home, which puts the settings back before it goes if they could not be. The page stays mapped:
// it may still be read.
func (w *watcher) stop() {
	_ = unix.Close(w.pipe)
	// Whoever lives on after Close should not keep a zombie; whoever exits at
	// once should not wait. It was cloned without an exit signal, hence __WALL.
	go func() {
		for {
			if _, err := unix.Wait4(w.pid, nil, unix.WALL, nil); err != unix.EINTR {
				return
			}
		}
	}()
}

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// forkWatcher forks. The child never returns.
//
// Without an exit signal the child is invisible to a wait for any child that
// the launcher may do, and raises no SIGCHLD.
//
//go:norace
func forkWatcher(p *page, terminal, pipe uintptr) (pid int, errno syscall.Errno) {
	syscall.ForkLock.Lock()
	runtimeBeforeFork()
	r, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if errno == 0 && r == 0 {
		watch(p, terminal, pipe)
	}
	runtimeAfterFork()
	syscall.ForkLock.Unlock()
	return int(r), errno
}

// watch is the watcher: raw system calls on a copy of the supervisor's memory.
//
// Preconditions: all signals are blocked (runtimeBeforeFork did that) and stay
// so. A blocked SIGTTOU lets a process outside the foreground set the terminal
// (tcsetattr(3)), and no signal meant for jail or its terminal ends it.
//
//go:norace
//go:nosplit
func watch(p *page, terminal, pipe uintptr) {
	// A session of its own: kill(-pgid, SIGKILL) at jail's group, or a hang-up
	// of the terminal, is just when it is needed.
	_, _, _ = syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	_, _, _ = syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&p.name)), 0)

	// Everything but the two descriptors is closed, so that the pipes by which
	// the sandbox notices the supervisor's death break at that death.
	low, high := terminal, pipe
	if low > high {
		low, high = high, low
	}
	if low > 0 {
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, low-1, 0)
	}
	if low+1 < high {
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, low+1, high-1, 0)
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, high+1, uintptr(^uint32(0)), 0)

	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, pipe, uintptr(unsafe.Pointer(&p.read)), 1)
		if errno != unix.EINTR && (errno != 0 || n == 0) {
			break
		}
	}
	if p.armed == 1 { // not atomic.Load: the race detector has no threads here
		_, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, terminal, unix.TCGETS, uintptr(unsafe.Pointer(&p.now)))
		if errno == 0 && (sameSettings(&p.now, &p.set) || sameSettings(&p.now, &p.was)) {
			_, _, _ = syscall.RawSyscall(unix.SYS_IOCTL, terminal, unix.TCSETS, uintptr(unsafe.Pointer(&p.before)))
		}
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// sameSettings compares what the kernel's struct termios holds. The speeds that
// follow in the Go type are of TCGETS2 only.
//
//go:norace
//go:nosplit
func sameSettings(a, b *unix.Termios) bool {
	if a.Iflag != b.Iflag || a.Oflag != b.Oflag || a.Cflag != b.Cflag ||
		a.Lflag != b.Lflag || a.Line != b.Line {
		return false
	}
	for i := range a.Cc {
		if a.Cc[i] != b.Cc[i] {
			return false
		}
	}
	return true
}
