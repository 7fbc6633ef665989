package sandbox

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that are passed on to the program. SIGCHLD is nobody else's business, SIGURG the Go
// runtime's, SIGPIPE that of jail's own messages, and the terminal's (SIGWINCH, SIGTTIN, SIGTTOU) belong to the
// console.
var forwarded = [...]syscall.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTSTP, unix.SIGCONT,
	unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGXCPU, unix.SIGXFSZ,
}

// A catcher reads the forwarded signals from a pipe into which their handler writes each one's number. The runtime's
// own way, os/signal, starts two goroutines with a thread, and has each of them set the mask of that thread: a tenth of
// a start. A handler of six instructions behind the runtime's back needs none of it, and a pipe can be waited for
// together with the end of the sandbox.
type catcher struct {
	pipe    [2]int
	kept    [len(forwarded)]sigaction // what to put back,
	changed [len(forwarded)]bool      // where anything was changed
}

// sigaction is the kernel's struct sigaction.
type sigaction struct{ handler, flags, restorer, mask uintptr }

const ignoredAction = 1 // SIG_IGN

// caughtFD is where the handler writes to. A signal that comes too late finds no open descriptor.
var caughtFD int32 = -1

// handlerAddress is that of the handler in assembly.
func handlerAddress() uintptr

// catch sets the handler for the forwarded signals but those that the caller ignores (nohup) and the one given.
// There is one catcher at a time.
func catch(but syscall.Signal) (*catcher, error) {
	c := &catcher{}
	if err := unix.Pipe2(c.pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make the pipe for signals: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(c.pipe[1]), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("make the pipe for signals: %w", err), c.close())
	}
	// Like the runtime's handler for a signal that it certainly has one for: on the stack for signals, by the way
	// back that the architecture needs, and with all signals blocked.
	var like sigaction
	if err := setAction(unix.SIGURG, nil, &like); err != nil {
		return nil, errors.Join(err, c.close())
	}
	like.handler = handlerAddress()
	caughtFD = int32(c.pipe[1])
	for i, s := range forwarded {
		var old sigaction
		if err := setAction(s, nil, &old); err != nil {
			return nil, errors.Join(err, c.close())
		}
		if s == but || old.handler == ignoredAction {
			continue
		}
		if err := setAction(s, &like, nil); err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.kept[i], c.changed[i] = old, true
	}
	return c, nil
}

// take waits for signals and calls pass with each. It tells false when there are no more to come.
func (c *catcher) take(pass func(syscall.Signal)) bool {
	var caught [64]byte
	n, err := unix.Read(c.pipe[0], caught[:])
	if err != nil {
		return errors.Is(err, unix.EINTR)
	}
	for _, s := range caught[:n] {
		if s == 0 {
			return false
		}
		pass(syscall.Signal(s))
	}
	return true
}

// stop has take tell that there are no more to come. Whoever takes would wait for ever, so this is tried more than once.
func (c *catcher) stop() {
	for range 3 {
		if _, err := unix.Write(c.pipe[1], []byte{0}); err == nil {
			return
		}
	}
}

// close puts back what was there before catch.
func (c *catcher) close() error {
	var err error
	for i, s := range forwarded {
		if c.changed[i] {
			err = errors.Join(err, setAction(s, &c.kept[i], nil))
		}
	}
	caughtFD = -1
	_, _ = unix.Close(c.pipe[0]), unix.Close(c.pipe[1])
	return err
}

func setAction(s syscall.Signal, set, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set the action for %v: %w", s, errno)
	}
	return nil
}
