package console

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// take puts the outer terminal into raw mode and starts to relay keys.
//
// Preconditions: jail is in the foreground of the outer terminal.
func (c *Console) take() error {
	if c.watch == nil {
		w, err := startWatcher(c.outer.fd)
		if err != nil {
			return err
		}
		c.watch = w
	}
	before, err := unix.IoctlGetTermios(c.outer.fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read the settings of the caller's terminal: %w", err)
	}
	if !c.taken {
		c.renew(*before)
	}
	want := raw(*before)
	if c.shared {
		want.Oflag = before.Oflag // until adjust finds the program without it
	}
	c.before = *before
	if err := c.change(want); err != nil {
		c.watch.disarm()
		return fmt.Errorf("put the caller's terminal into raw mode: %w", err)
	}
	c.owner, c.taken, c.wanted = true, true, false
	return nil
}

// change gives the outer terminal settings of ours. The watcher knows first.
func (c *Console) change(want unix.Termios) error {
	c.watch.arm(c.before, want)
	if err := unix.IoctlSetTermios(c.outer.fd, unix.TCSETS, &want); err != nil {
		return err
	}
	// A driver may refuse single bits in silence (tcsetattr(3)), and what it
	// has accepted is what must be found again to be put back.
	if now, err := unix.IoctlGetTermios(c.outer.fd, unix.TCGETS); err == nil {
		want = *now
		c.watch.arm(c.before, want)
	}
	c.set = want
	return nil
}

// renew hands on the settings that the shell has made since Open (a job that
// was started in the background while an editor had the terminal), as long as
// the program has not made its own.
func (c *Console) renew(now unix.Termios) {
	inner, err := unix.IoctlGetTermios(c.master, unix.TCGETS)
	if err != nil || sameSettings(&now, &c.given) {
		return
	}
	if sameSettings(inner, &c.given) && unix.IoctlSetTermios(c.master, unix.TCSETS, &now) == nil {
		c.given = now
	}
}

// release puts the settings back, unless somebody has changed them meanwhile,
// and stops relaying keys.
func (c *Console) release() {
	if !c.owner {
		return
	}
	c.owner = false
	now, err := unix.IoctlGetTermios(c.outer.fd, unix.TCGETS)
	if err == nil && sameSettings(now, &c.set) {
		err = unix.IoctlSetTermios(c.outer.fd, unix.TCSETS, &c.before)
	}
	if err == nil {
		c.watch.disarm() // else it is left to the watcher, at the latest when jail is gone
	}
}

// regain takes the terminal and moves the program to the front.
func (c *Console) regain() error {
	if !c.owner {
		if err := c.take(); err != nil {
			return err
		}
	}
	c.resize()
	c.toFront(true)
	return nil
}

// stop gives the terminal back, stops jail with sig, and when jail is continued
// takes the terminal again if it was ours, or if the program stopped for want
// of it, provided that the shell has put us in front.
func (c *Console) stop(sig syscall.Signal) error {
	wanted := c.owner || c.wanted || sig == unix.SIGTTIN || sig == unix.SIGTTOU
	c.release()
	if err := stopSelf(sig); err != nil {
		return err
	}
	if wanted && c.outer.foreground() {
		return c.regain()
	}
	c.wanted = wanted
	c.resize()
	c.toFront(false)
	return nil
}

// continued handles SIGCONT, which also tells that jail was stopped by a
// SIGSTOP that nobody can catch: raw mode was then still on, and the shell has
// probably made its own settings since.
func (c *Console) continued() {
	front := c.outer.foreground()
	switch {
	case c.owner && !front:
		c.yield()
	case c.owner:
		now, err := unix.IoctlGetTermios(c.outer.fd, unix.TCGETS)
		if err == nil && !sameSettings(now, &c.set) {
			c.owner = false
			c.hangUpOn(c.take())
		}
	case c.wanted && front:
		c.hangUpOn(c.regain())
	}
	c.resize()
}

// yield is for an owner that finds itself in the background.
func (c *Console) yield() {
	c.release()
	c.wanted = true
	c.toFront(false)
}

// toFront moves the program where jail is.
func (c *Console) toFront(front bool) {
	if c.hooks.Foreground != nil {
		c.hooks.Foreground(front)
	}
}

// hangUpOn ends the relay on an error there is nobody to report to: a terminal
// that cannot be had back is as good as closed.
func (c *Console) hangUpOn(err error) {
	if err != nil {
		c.hangUp()
	}
}

// resize copies the window size inwards. The kernel sends SIGWINCH to the
// foreground of the inner terminal; a program behind it would miss what it sees
// without jail, where the whole pipeline is in front.
func (c *Console) resize() {
	size, err := unix.IoctlGetWinsize(c.outer.fd, unix.TIOCGWINSZ)
	if err != nil || *size == c.size || c.master < 0 {
		return
	}
	if err := unix.IoctlSetWinsize(c.master, unix.TIOCSWINSZ, size); err != nil {
		return
	}
	c.size = *size
	if !c.owner {
		c.hooks.Signal(unix.SIGWINCH)
	}
}
