package console

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A pseudo-terminal hands out at most 4 KiB at a time. Writing two such
	// pieces at once measured best: larger ones make the three processes take
	// turns instead of working side by side.
	outputSize = 8 << 10
	inputSize  = 4 << 10

	// drainLimit ends a drain while somebody inside goes on writing. The kernel
	// holds at most 8 KiB and a read buffer of 4 KiB for a pseudo-terminal, so
	// what was written before the drain began is long through.
	drainLimit   = 256 << 10
	drainForStop = 250 * time.Millisecond

	// hungRetry is how often a master whose slave nobody has open is tried
	// again: a program may close its terminal and open /dev/tty later.
	hungRetry = 50 * time.Millisecond

	// frontRetry is how often a jail in the background that had the terminal
	// looks whether it is in front again: a shell sends no SIGCONT when it
	// brings a running job to the foreground.
	frontRetry = 200 * time.Millisecond
)

// relay is the state of both directions. At most one buffer is under way in
// each, so that a slow outer terminal holds the program up, as it should.
type relay struct {
	master int // -1 after a hang-up

	output [outputSize]byte
	shown  []byte // of output, what is still to be written to the outer terminal
	empty  bool   // the last read from the master found nothing
	hung   bool   // nobody has the slave open

	input [inputSize]byte
	typed []byte // of input, what is still to be written to the master

	drained  func() // called once all output is through
	deadline time.Time
	budget   int
}

// run is the relay's goroutine: the only one that touches the terminals.
func (c *Console) run() {
	defer close(c.done)
	defer c.leave()
	for !c.quit {
		c.step()
	}
}

// leave also runs in a panic, before the process dies of it.
func (c *Console) leave() {
	c.release()
	if c.watch != nil {
		c.watch.stop()
	}
	_ = unix.Close(c.outer.fd)
	if c.master >= 0 {
		_ = unix.Close(c.master)
	}
	// The eventfd stays open: do may be about to write to its number.
}

// step waits for something to do and does it.
func (c *Console) step() {
	const (
		wake = iota
		outer
		master
	)
	polled := [3]unix.PollFd{
		wake:   {Fd: int32(c.wake), Events: unix.POLLIN},
		outer:  {Fd: int32(c.outer.fd)},
		master: {Fd: int32(c.master)},
	}
	timeout := c.patience()
	if len(c.shown) > 0 {
		polled[outer].Events |= unix.POLLOUT
	} else {
		polled[master].Events |= unix.POLLIN
	}
	if len(c.typed) > 0 {
		polled[master].Events |= unix.POLLOUT
	} else if c.owner {
		polled[outer].Events |= unix.POLLIN
	}
	if c.hung {
		polled[master].Fd = -1 // it would report POLLHUP without end
	}
	if c.master < 0 {
		polled[outer].Fd = -1 // hung up
	}
	if _, err := unix.Poll(polled[:], timeout); err != nil {
		return // EINTR; the events are undefined then
	}
	if polled[wake].Revents != 0 {
		c.serve()
	}
	if c.wanted && c.master >= 0 && c.outer.foreground() {
		c.hangUpOn(c.regain())
	}
	if polled[outer].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		c.hangUp()
	}
	if polled[outer].Revents&unix.POLLIN != 0 && c.owner {
		c.readKeys()
	}
	if polled[master].Revents&unix.POLLOUT != 0 {
		c.passKeys()
	}
	if c.hung || polled[master].Revents&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) != 0 ||
		polled[outer].Revents&unix.POLLOUT != 0 || c.drained != nil {
		c.passOutput()
	}
	c.finishDrain()
}

// patience is how many milliseconds to wait for something to happen; -1 is for
// as long as it takes.
func (c *Console) patience() int {
	wait := time.Duration(-1)
	if c.wanted && c.master >= 0 {
		wait = frontRetry
	}
	if c.hung {
		wait = hungRetry
	}
	if c.drained != nil {
		if len(c.shown) == 0 && !c.empty && !c.hung {
			return 0 // the last read filled the buffer, there may be no more
		}
		if !c.deadline.IsZero() {
			left := max(0, time.Until(c.deadline)) + time.Millisecond
			if wait < 0 || left < wait {
				wait = left
			}
		}
	}
	if wait < 0 {
		return -1
	}
	return int(wait / time.Millisecond)
}

// serve runs the waiting requests.
func (c *Console) serve() {
	var count [8]byte
	_, _ = unix.Read(c.wake, count[:])
	for {
		select {
		case f := <-c.requests:
			f()
		default:
			return
		}
	}
}

// whenDrained calls then after what was written inside until now has been
// shown, or at the deadline if there is one.
func (c *Console) whenDrained(deadline time.Time, then func()) {
	if previous := c.drained; previous != nil {
		// Nobody is left waiting: what is asked twice is answered together.
		latest := then
		then = func() { previous(); latest() }
	}
	c.drained, c.deadline, c.budget = then, deadline, drainLimit
	c.empty = false
}

func (c *Console) finishDrain() {
	if c.drained == nil {
		return
	}
	through := len(c.shown) == 0 && (c.empty || c.hung || c.budget <= 0 || c.master < 0)
	late := !c.deadline.IsZero() && !time.Now().Before(c.deadline)
	if through || late {
		then := c.drained
		c.drained = nil
		then()
	}
}

// readKeys takes in what was typed and passes it on.
func (c *Console) readKeys() {
	if len(c.typed) > 0 {
		return
	}
	n, err := unix.Read(c.outer.fd, c.input[:])
	switch {
	case n > 0:
		c.typed = c.input[:n]
		c.passKeys()
	case err == unix.EAGAIN || err == unix.EINTR:
	case c.outer.gone():
		c.hangUp()
	case err == unix.EIO && !c.outer.foreground():
		// Somebody other than the shell took the foreground from us. With
		// SIGTTIN ignored, a background read fails with EIO.
		c.yield()
	case err != nil:
		c.hangUp()
	}
	// A read of 0 bytes from a living terminal is Ctrl-D in a canonical mode
	// that somebody else has set: not ours to interpret.
}

func (c *Console) passKeys() {
	for len(c.typed) > 0 && c.master >= 0 {
		n, err := unix.Write(c.master, c.typed)
		switch {
		case n > 0:
			c.typed = c.typed[n:]
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return // POLLOUT will tell
		default:
			c.typed = nil // nobody inside to read it
		}
	}
}

// passOutput moves output until there is none or the outer terminal is full.
func (c *Console) passOutput() {
	if len(c.shown) == 0 && c.master >= 0 && c.budgetLeft() {
		c.fetch()
	}
	for len(c.shown) > 0 {
		n, err := unix.Write(c.outer.fd, c.shown)
		switch {
		case n > 0:
			c.shown = c.shown[n:]
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return
		case c.outer.gone():
			c.hangUp()
		default:
			c.shown = nil
		}
	}
}

func (c *Console) budgetLeft() bool { return c.drained == nil || c.budget > 0 }

// fetch reads what the program has written, several pieces at once if they are
// there already.
func (c *Console) fetch() {
	n := 0
	c.empty, c.hung = false, false
	for n < len(c.output) {
		got, err := unix.Read(c.master, c.output[n:])
		if got > 0 {
			n += got
			continue
		}
		if err == unix.EINTR {
			continue
		}
		// The kernel flushes what is under way before it answers EAGAIN, and
		// before the EIO of a slave that nobody has open.
		c.empty = err == unix.EAGAIN
		c.hung = err != unix.EAGAIN
		break
	}
	if c.drained != nil {
		c.budget -= n
	}
	c.shown = c.output[:n]
	if n > 0 && (!c.owner || c.shared) {
		c.shown = c.adjust(c.shown)
	}
}

// adjust makes output from inside fit an outer terminal that processes output
// itself. In a pipeline it goes on doing so for the neighbours, whose messages
// would come out as a staircase, but for as long as the program has it off.
func (c *Console) adjust(b []byte) []byte {
	outer, err := unix.IoctlGetTermios(c.outer.fd, unix.TCGETS)
	if err != nil {
		return b
	}
	inner, err := unix.IoctlGetTermios(c.master, unix.TCGETS)
	if err != nil {
		return b
	}
	if c.owner && sameSettings(outer, &c.set) {
		process := c.before.Oflag & inner.Oflag & unix.OPOST
		if want := outer.Oflag&^unix.OPOST | process; want != outer.Oflag {
			outer.Oflag = want
			_ = c.change(*outer)
		}
	}
	if doubles(outer, inner) {
		return undoNewlines(b)
	}
	return b
}

// hangUp passes on that the outer terminal is gone. The program gets what it
// would have got from it: SIGHUP, the end of its input, and EIO for its output.
// Closing the master would signal pid 1 alone, which as an init ignores it.
func (c *Console) hangUp() {
	if c.master < 0 {
		return
	}
	c.release()
	c.hooks.Signal(unix.SIGHUP)
	c.hooks.Signal(unix.SIGCONT) // a stopped program too (setpgid(2))
	_ = unix.Close(c.master)
	c.master, c.shown, c.typed = -1, nil, nil
}
