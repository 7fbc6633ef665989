package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClosed is what Suspend and Drain answer when Close came first.
var ErrClosed = errors.New("the console is closed")

// Console relays between the caller's terminal and the sandbox's own. The zero
// value is not usable; see Open.
type Console struct {
	outer    *terminal
	replaced [3]bool
	shared   bool         // others in a pipeline with us may use the terminal
	front    bool         // the program starts in the foreground of the inner terminal
	given    unix.Termios // the settings the inner terminal started with
	size     unix.Winsize // the size it last got
	hooks    Hooks        //
	signals  chan os.Signal
	actions  map[syscall.Signal]sigaction // of SIGTTIN and SIGTTOU, before Attach
	running  bool                         // the relay's goroutine was started

	// The relay's goroutine runs every request, and nothing below is touched
	// from elsewhere once it runs.
	requests chan func()
	wake     int // eventfd: a request is waiting
	done     chan struct{}
	quit     bool

	owner  bool         // raw mode is on, keys are relayed
	wanted bool         // was owner when it went to the background
	taken  bool         // was owner at least once
	before unix.Termios // outer settings to put back
	set    unix.Termios // outer settings while owner
	watch  *watcher

	relay

	closing sync.Once
}

// Hooks are how the console reaches into the sandbox. They are called from the
// relay's goroutine and must neither block nor call the Console.
type Hooks struct {
	// Ready says that the slave already has what Settings gave, set by the
	// child itself. Otherwise Attach sets it, and the program must not start
	// before Attach returns.
	Ready bool

	// Foreground has pid 1 put the program's process group (front), or its own
	// (not front), into the foreground of the inner terminal. Without it, a
	// program that went to the background with jail and reads from its terminal
	// waits until jail is in front again, instead of being stopped.
	Foreground func(front bool)

	// Signal sends a signal to the program's process group.
	Signal func(syscall.Signal)
}

// Open looks at the caller's standard input, output and error, any of which may
// be nil when closed. It changes nothing yet. Without a terminal among them the
// error is ErrNoTerminal.
func Open(streams [3]*os.File) (*Console, error) {
	var found [3]stream
	chosen, controlling := -1, false
	for i, f := range streams {
		found[i] = lookAt(f)
		if !found[i].terminal || controlling {
			continue
		}
		// Of several terminals the one that job control is about.
		if controls(found[i].fd) {
			chosen, controlling = found[i].fd, true
		} else if chosen < 0 {
			chosen = found[i].fd
		}
	}
	if chosen < 0 {
		return nil, ErrNoTerminal
	}
	outer, err := openTerminal(chosen, controlling)
	if err != nil {
		return nil, err
	}
	c := &Console{outer: outer, done: make(chan struct{}), requests: make(chan func(), 8), wake: -1}
	for i := range found {
		c.replaced[i] = found[i].terminal
	}
	settings, err := unix.IoctlGetTermios(outer.fd, unix.TCGETS)
	if err != nil {
		_ = unix.Close(outer.fd)
		return nil, fmt.Errorf("read the settings of the caller's terminal: %w", err)
	}
	size, err := unix.IoctlGetWinsize(outer.fd, unix.TIOCGWINSZ)
	if err != nil {
		_ = unix.Close(outer.fd)
		return nil, fmt.Errorf("read the size of the caller's terminal: %w", err)
	}
	c.given, c.size = *settings, *size
	// With a pipe on either side a neighbour ("jail x | less") may be the one
	// who reads the keys, so the terminal is left to whoever asks for it.
	c.shared = !found[0].terminal || found[1].pipe
	c.front = !c.shared && outer.foreground()
	c.master = -1
	return c, nil
}

// Replaced says which of the three streams are a terminal, and so become the
// slave of the inner terminal. The others are handed to the program as they
// are. A second, different terminal is replaced too: passing it on would let
// the program into it.
func (c *Console) Replaced() [3]bool { return c.replaced }

// Settings are what the slave is to be set to (TCSETS, TIOCSWINSZ) before the
// program starts: the caller's.
func (c *Console) Settings() (unix.Termios, unix.Winsize) { return c.given, c.size }

// Foreground says whose group starts in the foreground of the inner terminal:
// the program's, or that of pid 1.
func (c *Console) Foreground() bool { return c.front }

// Attach begins to relay, and takes the outer terminal if Foreground says so
// and still may. The Console owns master from then on.
//
// Preconditions: the slave has been opened once, and somebody (pid 1) keeps it
// open as long as the program runs.
func (c *Console) Attach(master *os.File, hooks Hooks) error {
	defer master.Close()
	if err := c.adopt(master); err != nil {
		return err
	}
	c.hooks = hooks
	if !hooks.Ready {
		if err := unix.IoctlSetTermios(c.master, unix.TCSETS, &c.given); err != nil {
			return fmt.Errorf("set the sandbox's terminal: %w", err)
		}
		if err := unix.IoctlSetWinsize(c.master, unix.TIOCSWINSZ, &c.size); err != nil {
			return fmt.Errorf("set the size of the sandbox's terminal: %w", err)
		}
	}
	// Ignored, and not caught: a caught SIGTTOU would go to the whole group and
	// have the request restarted for ever. Whether jail may touch the terminal
	// is asked with tcgetpgrp first.
	if err := c.ignore(); err != nil {
		return err
	}
	c.signals = make(chan os.Signal, 4)
	signal.Notify(c.signals, unix.SIGWINCH, unix.SIGCONT)
	c.resize() // what changed since Open, before the signal was caught

	if c.front {
		if !c.outer.foreground() {
			c.wanted = true
			c.toFront(false)
		} else if err := c.take(); err != nil {
			return err
		}
	}
	c.running = true
	go c.run()
	go c.listen()
	return nil
}

// ignore ignores the signals that job control sends to a background process.
// signal.Reset would not put back what was there before signal.Ignore.
func (c *Console) ignore() error {
	c.actions = make(map[syscall.Signal]sigaction, 2)
	for _, sig := range [2]syscall.Signal{unix.SIGTTIN, unix.SIGTTOU} {
		var old sigaction
		if err := setAction(sig, &sigaction{handler: ignoreSignal}, &old); err != nil {
			return err
		}
		c.actions[sig] = old
	}
	return nil
}

// adopt duplicates the master, without blocking and above the standard streams.
func (c *Console) adopt(master *os.File) error {
	conn, err := master.SyscallConn()
	if err != nil {
		return fmt.Errorf("use the sandbox's terminal: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		c.master, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("duplicate the sandbox's terminal: %w", err)
	}
	if err := unix.SetNonblock(c.master, true); err != nil {
		return fmt.Errorf("use the sandbox's terminal: %w", err)
	}
	if c.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("make an eventfd for the terminal: %w", err)
	}
	return nil
}

// listen turns signals into requests.
func (c *Console) listen() {
	for sig := range c.signals {
		if sig == unix.SIGWINCH {
			c.do(c.resize)
		} else {
			c.do(c.continued)
		}
	}
}

// do has the relay run f between two transfers. It does not wait.
func (c *Console) do(f func()) {
	select {
	case c.requests <- f:
		one := [8]byte{1} // any value but 0 and all ones wakes
		// A request that the relay does not hear of is waited for in vain, so this is tried more than once.
		for range 3 {
			if _, err := unix.Write(c.wake, one[:]); err == nil || err == unix.EAGAIN { // EAGAIN: it has much to hear already
				return
			}
		}
	case <-c.done:
	}
}

// Suspend is called when pid 1 reports that sig stopped the program. Either
// jail takes the terminal that the program stopped for (SIGTTIN, SIGTTOU), or
// it shows what the program still wrote, puts the settings back and stops as
// the program did. It returns when the program should continue.
func (c *Console) Suspend(sig syscall.Signal) error {
	if !c.running {
		return ErrClosed
	}
	reply := make(chan error, 1)
	c.do(func() {
		wants := sig == unix.SIGTTIN || sig == unix.SIGTTOU
		if wants && c.outer.foreground() {
			// Also when the terminal is ours: pid 1 may not have moved the
			// program to the front before it was continued.
			reply <- c.regain()
			return
		}
		// A full-screen program has just written how to leave the alternate
		// screen; a terminal that is itself stopped is not waited for.
		c.whenDrained(time.Now().Add(drainForStop), func() { reply <- c.stop(sig) })
	})
	select {
	case err := <-reply:
		return err
	case <-c.done:
		return ErrClosed
	}
}

// Drain returns when all that the program wrote has reached the outer terminal.
// That may be never, if the user stopped the terminal, hence the context.
//
// Preconditions: the program has ended.
func (c *Console) Drain(ctx context.Context) error {
	if !c.running { // Attach was never called, or failed: nobody would answer
		return ErrClosed
	}
	reply := make(chan struct{})
	c.do(func() { c.whenDrained(time.Time{}, func() { close(reply) }) })
	select {
	case <-reply:
		return nil
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("show the program's last output: %w", ctx.Err())
	}
}

// Close puts the outer terminal's settings back and stops relaying. It may be
// called at any time, more than once, and from a deferred call in a panic.
func (c *Console) Close() {
	c.closing.Do(func() {
		if c.signals != nil {
			signal.Stop(c.signals)
			close(c.signals)
		}
		if c.running {
			c.do(func() { c.quit = true })
			<-c.done
		} else {
			c.leave()
			close(c.done)
		}
		for sig, action := range c.actions {
			_ = setAction(sig, &action, nil)
		}
	})
}
