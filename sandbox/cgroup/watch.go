package cgroup

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A chore is something to do when jail has died: write a text into a file, or remove a folder. It may fail, when
// another sandbox uses what it would remove. The paths end in NUL, ready for system calls that must not allocate.
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

// A watcher is a process that outlives jail to tidy up after a SIGKILL. It shares jail's memory and runs nothing but
// the few system calls of watchFor: a fork would copy page tables and then the pages that jail writes to, which
// costs ten times as much, and a program of its own still more. What ends both, such as the out-of-memory killer,
// which takes all that share a memory, leaves the folder to the next run's sweep.
type watcher struct {
	pid    int
	orders *orders
	stack  []byte
}

// orders is what the watcher reads, in memory that it shares with jail. They stay referenced until it has ended.
type orders struct {
	jail   uintptr // pidfd
	stage  uint32  // atomic
	chores []chore // jail sets them before stageMade
	poll   unix.PollFd
	pause  unix.Timespec
	group  [2]membership // the watcher's own, at first and now
}

// The stages of a group's making.
const (
	stageNone  = iota // nothing has been made or asked for
	stageAsked        // a manager has been asked for a scope, and to put the watcher into it
	stageMade         // the chores are complete
)

// membership is what /proc/self/cgroup says; its beginning, should it be longer.
type membership struct {
	text [512]byte
	size uintptr
}

// stackSize is ample: watchFor and what it calls are nosplit, which the linker keeps below 800 bytes.
const stackSize = 8 << 10

// startWatcher starts the watcher. It must be called before what it shall tidy up exists.
func startWatcher() (*watcher, error) {
	// A pidfd tells of jail's end whatever other processes hold open, which a pipe would not.
	jail, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("watch over the cgroup: pidfd_open: %w", err)
	}
	defer unix.Close(jail)
	w := &watcher{orders: &orders{jail: uintptr(jail)}, stack: make([]byte, stackSize)}
	w.orders.poll = unix.PollFd{Fd: int32(jail), Events: unix.POLLIN}
	top := uintptr(unsafe.Pointer(unsafe.SliceData(w.stack))) + stackSize
	syscall.ForkLock.Lock()
	runtimeBeforeFork()
	pid := cloneWatcher(w.orders, top&^15)
	runtimeAfterFork()
	syscall.ForkLock.Unlock()
	if pid < 0 {
		return nil, fmt.Errorf("watch over the cgroup: clone: %w", unix.Errno(-pid))
	}
	w.pid = pid
	return w, nil
}

// asks tells the watcher that a manager is being asked for a scope.
func (w *watcher) asks() { atomic.StoreUint32(&w.orders.stage, stageAsked) }

// does gives the watcher its chores. It is called once, before what they tidy up exists.
func (w *watcher) does(chores []chore) {
	w.orders.chores = chores
	atomic.StoreUint32(&w.orders.stage, stageMade)
}

// stop ends the watcher, when there is nothing left to do for it.
func (w *watcher) stop() {
	if w == nil {
		return
	}
	if unix.Kill(w.pid, unix.SIGKILL) != nil {
		return // it ends with jail: no reason to wait for it
	}
	// It was cloned without a termination signal, so that nobody's wait for any child meets it: only __WALL does.
	for {
		if _, err := unix.Wait4(w.pid, nil, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	runtime.KeepAlive(w)
}

// The runtime's hooks around a fork: they block all signals, which the watcher inherits, so that no handler of the
// Go runtime ever runs in it and Ctrl-C does not reach it. They are kept for packages outside of the standard
// library (go.dev/issue/67401).
//
//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// cloneWatcher clones a process with CLONE_VM that calls watchFor on the stack whose top is given. It returns its
// number or a negative errno, in jail only.
func cloneWatcher(o *orders, stack uintptr) int

// watchFor is all that the watcher runs. It is called from assembly.
//
// Preconditions: nothing of Go's runtime may be touched, because the thread-local storage is that of jail's thread:
// no allocation, no lock, no write of a pointer, no growth of the stack.
//
//go:nosplit
//go:norace
//go:nocheckptr
func watchFor(o *orders) {
	// Out of the terminal's reach, and off everything that somebody may wait for the end of.
	syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
	if o.jail > 0 {
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, o.jail-1, 0)
	}
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, o.jail+1, ^uintptr(0)>>32, 0)
	syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(&slash[0])), 0, 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&watcherName[0])), 0)
	o.group[0].read()
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&o.poll)), 1, 0, 0, 0, 0)
		if errno == 0 {
			break
		}
	}
	if o.stage == stageAsked {
		o.awaitScope()
	}
	if o.stage == stageMade {
		for i := range o.chores {
			o.chores[i].afterDeath(&o.pause)
		}
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// awaitScope stays until the manager has put the watcher into the scope, which must not begin without a process.
//
//go:nosplit
//go:norace
func (o *orders) awaitScope() {
	o.pause.Nsec = 10_000_000
	for range scopePatience / (10 * time.Millisecond) * 3 / 2 {
		o.group[1].read()
		if o.group[1].size != o.group[0].size {
			return
		}
		for i := uintptr(0); i < o.group[0].size; i++ {
			if o.group[1].text[i] != o.group[0].text[i] {
				return
			}
		}
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&o.pause)), 0, 0)
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func (m *membership) read() {
	m.size = 0
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(&procSelfCgroup[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&m.text[0])), uintptr(len(m.text)))
	if errno == 0 {
		m.size = n
	}
	syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
}

// afterDeath is the chore as the watcher does it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *chore) afterDeath(pause *unix.Timespec) {
	if c.text != nil {
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, atCwd, uintptr(unsafe.Pointer(c.path)), unix.O_WRONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno == 0 {
			syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(c.text)), c.size)
			syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
		}
		return
	}
	// A program that outlives jail is waited for, at last with two looks a second.
	pause.Nsec = 1_000_000
	for round := 0; ; round++ {
		_, _, errno := syscall.RawSyscall(syscall.SYS_UNLINKAT, atCwd, uintptr(unsafe.Pointer(c.path)), unix.AT_REMOVEDIR)
		if errno != syscall.EBUSY && errno != syscall.EINTR {
			return
		}
		if round > 200 && pause.Nsec < 500_000_000 {
			pause.Nsec *= 2
		}
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(pause)), 0, 0)
	}
}

// atCwd is AT_FDCWD as a system call's argument. The paths are absolute.
const atCwd = ^uintptr(0) - 99

var (
	slash          = [...]byte{'/', 0}
	procSelfCgroup = [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/', 'c', 'g', 'r', 'o', 'u', 'p', 0}
	watcherName    = [...]byte{'j', 'a', 'i', 'l', '-', 's', 'w', 'e', 'e', 'p', 0}
)
