package console

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct sigaction, opaque but for its first word,
// the handler. All zero is SIG_DFL.
type sigaction struct {
	handler uintptr
	rest    [3]uint64
}

const ignoreSignal = 1 // SIG_IGN

// stopSelf stops jail the way sig would have stopped it, had the terminal sent
// it: the whole process group for a job-control signal, since the neighbours in
// a pipeline and a script that called us stop as well; only this process for
// SIGSTOP, which no terminal sends. It returns when jail was continued, or at
// once where the kernel refuses to stop an orphaned group (setpgid(2)).
//
// Preconditions: sig is one of SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
func stopSelf(sig syscall.Signal) error {
	// A signal sent to one thread is acted upon before that very system call
	// returns. One sent to the process may be taken by another thread, and we
	// would run on, to put the terminal into raw mode, before it stops us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := unix.Getpid(), unix.Gettid()

	if sig != unix.SIGSTOP {
		// The runtime's handler is set aside behind its back, which is
		// invisible once it is put back. signal.Reset would also drop every
		// channel the launcher registered.
		var kept sigaction
		if err := setAction(sig, &sigaction{handler: ignoreSignal}, &kept); err != nil {
			return err
		}
		defer func() { _ = setAction(sig, &kept, nil) }()
		if err := unix.Kill(0, sig); err != nil {
			return fmt.Errorf("stop jail's process group: %w", err)
		}
		if err := setAction(sig, &sigaction{}, nil); err != nil {
			return err
		}
	}
	if err := unix.Tgkill(pid, tid, sig); err != nil {
		return fmt.Errorf("stop jail: %w", err)
	}
	return nil
}

func setAction(sig syscall.Signal, set, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set the action for %v: %w", sig, errno)
	}
	return nil
}
