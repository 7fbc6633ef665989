package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// once has a process of its own, made with these flags of clone(2), go through the rows, and waits for its end. what is
// what that is for, to name a row that fails.
func (a *assembler) once(flags uint64, what string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a.op(opExit, val(0))
	a.rows = append(a.table(len(a.rows)), a.rows...)
	a.shared = allot[report](&a.memory)
	p := a.processes(1, a.rows, a.shared)
	undo, err := a.keepToItself()
	var pid int
	var failed *callError
	if err = errors.Join(err, a.err); err == nil {
		pid, _, failed = fork(p, &cloneArgs{flags: flags, exitSignal: uint64(unix.SIGCHLD)}, true, false)
	}
	undo()
	if err != nil {
		return fmt.Errorf("%s: map memory to share with the process that does: %w", what, err)
	}
	if failed != nil {
		return (&Plan{clone: flags}).forkError(failed)
	}
	var ws syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &ws, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if a.shared.failed != 0 {
		return &Error{What: what, Cause: &callError{a.rows[a.shared.row].nr, syscall.Errno(a.shared.errno)}, Exit: 125}
	}
	if err != nil {
		return fmt.Errorf("%s: wait for the process that does: %w", what, err)
	}
	if ws != 0 {
		return fmt.Errorf("%s: the process that does ended without a word, status %#x", what, ws)
	}
	return nil
}

// unmap gives the memory back, once no process reads it any more.
func (a *assembler) unmap() {
	for _, c := range a.chunks {
		_ = unix.Munmap(c)
	}
}
