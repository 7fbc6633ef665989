package sandbox

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A call whose failure is tolerated has no result. Its slot must not read as what it held before: a fresh one
// holds 0, and what was meant for the file that could not be opened would go to standard input.
func TestToleratedFailureLeavesNoDescriptor(t *testing.T) {
	var a assembler
	fd := a.fd(unix.SYS_OPENAT, cwd, a.str("/nonexistent/file"), val(unix.O_WRONLY|unix.O_CLOEXEC))
	a.rows[0].tolerate(unix.ENOENT)
	a.op(opExit, fd)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rows := append(a.table(len(a.rows)), a.rows...)
	pid, _, failed := fork(a.processes(1, rows, allot[report](&a.memory)), &cloneArgs{exitSignal: uint64(unix.SIGCHLD)}, true, false)
	if failed != nil {
		t.Fatal(failed)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	if got := ws.ExitStatus(); got != 255 { // the low byte of -1
		t.Errorf("the slot of the failed call holds %d, want -1 (255)", got)
	}
}
