package running

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A FindError is a name that leads to no sandbox, or to several.
type FindError struct {
	Text string
	hint string
}

func (e *FindError) Error() string { return e.Text }

// Hint gives the remedy.
func (e *FindError) Hint() string { return e.hint }

// A Sandbox is a running sandbox that is held: its processes may end, but nothing done through it ever meets
// another process that got one of their ids.
type Sandbox struct {
	State
	supervisor, first process
	pidfds            [2]int // of the supervisor and the first process
}

// Find gives the running sandbox that name means: its name, else its supervisor's process id, else the name of its
// profile or program where that is one sandbox's only. No such sandbox, and several, are a *FindError.
func Find(name string) (*Sandbox, error) {
	if err := procIsThere(); err != nil {
		return nil, err
	}
	var found []State
	var others []State
	var fake int
	self := lookAt()
	rank := noMatch
	for pid := range processIDs {
		p, s, v := self.examine(pid)
		p.close()
		switch m := match(&s, name); {
		case v == foreign && m >= byName:
			fake = pid
		case v != believed || s.pending || s.First == 0:
		case m == noMatch || m < rank:
			others = append(others, s)
		case m > rank:
			rank, found, others = m, []State{s}, append(others, found...)
		default:
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return hold(found[0])
	case len(found) > 1:
		return nil, several(name, found)
	case fake != 0:
		return nil, &FindError{fmt.Sprintf("the sandbox %q is not yours to join: process %d calls itself so and runs inside a sandbox or a container of its own", name, fake),
			"jail ps lists yours"}
	}
	return nil, unknown(name, others)
}

// How a name can mean a sandbox, the weakest first. A given name beats a derived one that happens to be the same.
const (
	noMatch = iota
	byKind
	byProcess
	byName
	byGivenName
)

func match(s *State, name string) int {
	switch {
	case s.Name == name && s.Given:
		return byGivenName
	case s.Name == name:
		return byName
	case strconv.Itoa(s.Supervisor) == name:
		return byProcess
	case name != "" && (s.Profile == name || len(s.Args) > 0 && path.Base(s.Args[0]) == name):
		return byKind
	}
	return noMatch
}

func names(states []State) string {
	var out []string
	for i, s := range states {
		if i == 8 {
			out = append(out, "...")
			break
		}
		out = append(out, s.Name)
	}
	return strings.Join(out, ", ")
}

func several(name string, found []State) error {
	return &FindError{fmt.Sprintf("%q means %d running sandboxes", name, len(found)), "name one of " + names(found)}
}

func unknown(name string, others []State) error {
	e := &FindError{Text: fmt.Sprintf("no running sandbox is called %q", name)}
	if pid, err := strconv.Atoi(name); err == nil {
		e.Text = fmt.Sprintf("process %d is no running sandbox of yours", pid)
	}
	switch {
	case len(others) == 0:
		e.hint = "none of yours is running; one that has ended cannot be named any more"
	default:
		e.hint = "running now: " + names(others)
		for _, s := range others {
			if near(s.Name, name) {
				e.hint = fmt.Sprintf("did you mean %s?", s.Name)
			}
		}
	}
	return e
}

// near tells whether two names differ by so little that one may be the other mistyped: one change, or one is
// the other's beginning.
func near(a, b string) bool {
	if len(b) >= 3 && strings.HasPrefix(a, b) || strings.EqualFold(a, b) {
		return true
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	restA, restB := a[i:], b[i:]
	switch {
	case len(a) < 3 || len(b) < 3:
		return false
	case len(restA) == len(restB):
		return restA[1:] == restB[1:] || len(restA) > 1 && restA[0] == restB[1] && restA[1] == restB[0] && restA[2:] == restB[2:]
	case len(restA) == len(restB)+1:
		return restA[1:] == restB
	case len(restB) == len(restA)+1:
		return restB[1:] == restA
	}
	return false
}

// hold opens what is needed to act on a sandbox, and makes sure that it still is the one that was looked at.
func hold(s State) (*Sandbox, error) {
	gone := &FindError{fmt.Sprintf("the sandbox %s has ended", s.Name), "jail ps lists those that run"}
	b := &Sandbox{State: s, supervisor: process{dir: -1}, first: process{dir: -1}, pidfds: [2]int{-1, -1}}
	p, again, v := lookAt().examine(s.Supervisor)
	b.supervisor = p
	if v != believed || again.Name != s.Name || again.First != s.First {
		b.Close()
		return nil, gone
	}
	var err error
	if b.first, err = openProcess(s.First); err != nil {
		b.first.dir = -1
		b.Close()
		return nil, gone
	}
	for i, p := range []process{b.supervisor, b.first} {
		if b.pidfds[i], err = unix.PidfdOpen(p.pid, 0); err != nil {
			b.pidfds[i] = -1
			b.Close()
			if errors.Is(err, unix.ESRCH) {
				return nil, gone
			}
			return nil, fmt.Errorf("hold process %d: %w", p.pid, err)
		}
	}
	// The folders were opened before the pidfds and still answer, so both mean the same processes; and the first
	// process is the supervisor's child, so it is the sandbox's.
	if _, err := b.supervisor.read("stat"); err != nil {
		b.Close()
		return nil, gone
	}
	if parent, err := b.first.parent(); err != nil || parent != s.Supervisor {
		b.Close()
		return nil, gone
	}
	b.Program = programOf(b.supervisor, &b.State)
	return b, nil
}

// Close lets the sandbox go. It goes on running.
func (b *Sandbox) Close() {
	for _, fd := range []int{b.supervisor.dir, b.first.dir, b.pidfds[0], b.pidfds[1]} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Signal sends a signal to the supervisor, which passes on to the program what it passes on from a terminal.
func (b *Sandbox) Signal(s unix.Signal) error { return b.send(0, s) }

// Kill ends the sandbox at once. Its supervisor lives to tell the end and to clear up. Without a pid namespace the first
// process is asked to: it ends all others, which its own end would leave.
func (b *Sandbox) Kill() error {
	if b.Alone {
		return b.send(1, unix.SIGTERM)
	}
	return b.send(1, unix.SIGKILL)
}

func (b *Sandbox) send(which int, s unix.Signal) error {
	if err := unix.PidfdSendSignal(b.pidfds[which], s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal the sandbox %s: %w", b.Name, err)
	}
	return nil
}

// Wait waits until the supervisor has ended, for at most the given time, and tells whether it has.
func (b *Sandbox) Wait(limit time.Duration) bool { return b.await(0, limit) }

// WaitInside waits until nothing is left inside, which is a moment before the supervisor ends.
func (b *Sandbox) WaitInside(limit time.Duration) bool { return b.await(1, limit) }

func (b *Sandbox) await(which int, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		fds := []unix.PollFd{{Fd: int32(b.pidfds[which]), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, left.Milliseconds())))
		if n > 0 {
			return true
		}
		if err == nil && left <= 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// Open opens what the supervisor keeps under a label, see Entry.Keep. Where it keeps nothing, the error is
// os.ErrNotExist.
func (b *Sandbox) Open(label string) (*os.File, error) {
	return b.open(label, sealed) // what is not sealed yet may be half written
}

// OpenFile opens what the supervisor goes on writing to, see Entry.KeepFile.
func (b *Sandbox) OpenFile(label string) (*os.File, error) { return b.open(label, 0) }

func (b *Sandbox) open(label string, seals int) (*os.File, error) {
	f, ok := b.supervisor.memfd(labelFile(label), seals)
	if !ok {
		return nil, fmt.Errorf("the sandbox %s keeps no %s: %w", b.Name, label, os.ErrNotExist)
	}
	return f, nil
}

// HasProgram tells whether the program sees an executable file at an absolute path. It is a look, no promise: whoever
// executes it meets what is there by then.
func (b *Sandbox) HasProgram(name string) bool {
	found := false
	_ = b.whenReady(func(v *view) error {
		root, err := v.program.open("root", unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer root.Close()
		how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
		if fd, failed := unix.Openat2(int(root.Fd()), name, how); failed == nil {
			defer unix.Close(fd)
			var st unix.Stat_t
			failed = unix.Fstat(fd, &st)
			found = failed == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0
		}
		return nil
	})
	return found
}
