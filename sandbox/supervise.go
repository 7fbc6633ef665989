package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/console"
)

// Grace is how long a program may take to end after SIGTERM when its time is up, before it is killed.
const Grace = 5 * time.Second

// Run starts the plan and stands between the caller and the sandbox until its end: signals, terminal, job
// control, time limit. streams are the caller's standard streams, and must be the descriptors 0, 1 and 2.
// notify is told at the end of what a person should know of the run, such as that the time was up.
func (p *Plan) Run(o Options, streams [3]*os.File, notify func(string)) (Status, error) {
	for fd := range 3 {
		// Through an opened directory, and ".." from there, the program would leave its root: CVE-2024-21626.
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return Status{Code: 125}, &Error{What: fmt.Sprintf("standard stream %d", fd), Exit: 125,
				Cause: errors.New("is a directory, through which the program could leave its root")}
		}
		if p.alone && sendsAnywhere(fd) {
			return Status{Code: 125}, &Error{What: fmt.Sprintf("standard stream %d", fd), Exit: 125,
				Cause: errors.New("is a socket that the program could connect elsewhere, and without namespaces nothing keeps it from doing so")}
		}
	}
	var con *console.Console
	if p.terminal {
		var err error
		if con, err = console.Open(streams); err != nil {
			return Status{Code: 125}, &Error{What: "process.terminal", Cause: err, Exit: 125, Hint: "set process.terminal to auto or never"}
		}
		defer con.Close()
		o.terminal.replaced, o.terminal.background = con.Replaced(), !con.Foreground()
		o.terminal.settings, o.terminal.size = con.Settings()
	}
	caller, parent := os.Getppid(), -1
	if p.DieWithParent {
		// By the kernel's own means this process would die with the thread that started it, although the process of that
		// thread lives on: PR_SET_PDEATHSIG(2const). They are for a parent that cannot be had as a descriptor, such as one
		// outside of this pid namespace.
		var err error
		if parent, err = unix.PidfdOpen(caller, 0); err == nil {
			defer func() { _ = unix.Close(parent) }()
		} else {
			parent, o.dieWithParent = -1, true
		}
	}
	proc, err := p.Start(o)
	if err != nil {
		return Status{Code: 125}, err
	}
	proc.parent = parent
	if p.DieWithParent && os.Getppid() != caller {
		proc.abort()
		return Status{Code: 125}, fmt.Errorf("the caller is gone already, and the sandbox was to die with it")
	}
	if o.Ready != nil {
		if err := o.Ready(); err != nil {
			proc.abort()
			return Status{Code: 125}, err
		}
	}
	// Until here a signal ends jail and with it the start. With a terminal the console says when to continue.
	own := syscall.Signal(0)
	if con != nil {
		own = unix.SIGCONT
	}
	signals, err := catch(own)
	if err != nil {
		proc.abort()
		return Status{Code: 125}, err
	}
	defer func() { _ = signals.close() }()
	proc.Release()
	if o.Started != nil {
		o.Started(proc)
	}
	if p.Timeout > 0 {
		done := make(chan struct{})
		defer close(done)
		go proc.limitTime(p.Timeout, done)
	}
	status, err := proc.serve(con, signals)
	for _, text := range proc.notices() {
		notify(text)
	}
	proc.events.close()
	return status, err
}

// sendsAnywhere tells whether a descriptor is a socket that is not bound to one peer for good.
func sendsAnywhere(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return false // no socket
	}
	_, err = unix.Getpeername(fd)
	return kind != unix.SOCK_STREAM && kind != unix.SOCK_SEQPACKET || err != nil
}

// serve passes signals on until the sandbox has ended. With a terminal of the sandbox's it then waits for all that the
// program wrote to be shown, however slow the caller's terminal, unless a signal says that the caller gives up.
func (p *Process) serve(con *console.Console, signals *catcher) (Status, error) {
	if con == nil {
		// One thread is enough to wait for signals and for the end. A container's filter may not know the call.
		if pidfd, err := unix.PidfdOpen(p.pid, 0); err == nil {
			p.passSignals(pidfd, signals)
			_ = unix.Close(pidfd)
			return p.Wait()
		}
	}
	patience, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	if p.parent >= 0 {
		if pidfd, err := unix.PidfdOpen(p.pid, 0); err == nil {
			go p.endWithParent(pidfd, giveUp)
		}
	}
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for signals.take(func(s syscall.Signal) {
			if p.ended.Load() {
				giveUp()
			}
			p.pass(s)
		}) {
		}
	}()
	attended := make(chan struct{})
	if con != nil {
		go p.attend(con, attended)
	}
	status, err := p.Wait()
	if con != nil {
		<-attended
		_ = con.Drain(patience)
		if p.broken != nil {
			err = p.broken
		}
	}
	signals.stop()
	<-passed
	return status, err
}

// endWithParent ends the sandbox when this process's parent does, and calls then. It waits for nothing more when the first
// process has ended.
func (p *Process) endWithParent(pidfd int, then func()) {
	defer func() { _ = unix.Close(pidfd) }()
	for {
		fds := [2]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(p.parent), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) || fds[0].Revents != 0 {
			return
		}
		if fds[1].Revents != 0 {
			p.endNow()
			then()
			return
		}
	}
}

// passSignals passes signals on until the first process has ended, and ends it with this process's parent.
func (p *Process) passSignals(pidfd int, signals *catcher) {
	parent := p.parent // -1 is no descriptor for poll(2)
	for {
		fds := [3]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(signals.pipe[0]), Events: unix.POLLIN}, {Fd: int32(parent), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) {
			return // Wait notices the end, too
		}
		if fds[1].Revents != 0 {
			signals.take(p.pass)
		}
		if fds[2].Revents != 0 {
			p.endNow()
			parent = -1
		}
		if fds[0].Revents != 0 {
			return
		}
	}
}

// pass gives one signal to the program. What a terminal sends, it sends to the whole foreground group, and
// jail stands for that group.
func (p *Process) pass(s syscall.Signal) {
	if p.ended.Load() {
		return // its process id may be somebody else's by now
	}
	program := p.program()
	if program == 0 {
		// Not there yet. What would end it ends the start.
		switch s {
		case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
			p.killed.Store(int32(s))
			p.Kill()
		}
		return
	}
	switch s {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGCONT:
		_ = unix.Kill(-program, s)
	case unix.SIGTSTP:
		_ = unix.Kill(-program, unix.SIGTSTP)
		if !p.plan.terminal { // with one, the program's stop is reported and the console stops jail
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // as a job of the caller's shell
		}
	default:
		_ = unix.Kill(program, s)
	}
}

// program is the process id of the program as seen here, or 0 while the sandbox is being made.
func (p *Process) program() int {
	if p.events.program.Load() == 0 && !p.plan.terminal {
		p.events.drain()
	}
	return int(p.events.program.Load())
}

// limitTime ends the sandbox when its time is up: the program is asked first.
func (p *Process) limitTime(limit time.Duration, done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-time.After(limit):
	}
	p.timedOut.Store(true)
	p.pass(unix.SIGTERM)
	p.pass(unix.SIGCONT)
	select {
	case <-done:
	case <-time.After(Grace):
		p.endNow()
	}
}

// endNow ends the sandbox without asking the program.
func (p *Process) endNow() {
	if p.end != nil {
		_ = p.end() // what it leaves, the next line and the end of the group take
	}
	p.Kill()
}

// notices is what a person should know of the run, told at its end: in the middle it would fall into whatever
// the program draws on the terminal.
func (p *Process) notices() []string {
	if p.timedOut.Load() {
		return []string{fmt.Sprintf("the program was ended: its time limit of %s is reached", p.plan.Timeout)}
	}
	return nil
}

// attend serves the sandbox's terminal: it hands it to the console and follows the program's stops.
func (p *Process) attend(con *console.Console, attended chan<- struct{}) {
	defer close(attended)
	for {
		m, err := p.events.next(0)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil { // what was lost may be the terminal, and nobody would read what the program writes
			p.abandon(err)
			return
		}
		switch m.kind {
		case 't':
			if m.file == nil {
				continue
			}
			err := con.Attach(m.file, console.Hooks{
				Ready:      true,
				Foreground: p.foreground,
				Signal:     func(s syscall.Signal) { p.signalGroup(s) },
			})
			if err != nil {
				p.abandon(err)
			}
		case 'w':
			if err := con.Suspend(m.status.StopSignal()); err != nil {
				p.abandon(err)
			} else {
				p.signalGroup(unix.SIGCONT)
			}
		}
	}
}

// abandon ends the sandbox because its terminal cannot be served; Run returns the first reason.
func (p *Process) abandon(err error) {
	if !errors.Is(err, console.ErrClosed) && p.broken == nil {
		p.broken = &Error{What: "serve the sandbox's terminal", Cause: err, Exit: 125}
	}
	p.Kill()
}

// foreground asks pid 1 to put the program's group, or its own, in front.
func (p *Process) foreground(front bool) {
	s := unix.SIGUSR2
	if front {
		s = unix.SIGUSR1
	}
	if !p.ended.Load() {
		_ = unix.Kill(p.pid, s)
	}
}

func (p *Process) signalGroup(s syscall.Signal) {
	if program := p.program(); program != 0 && !p.ended.Load() {
		_ = unix.Kill(-program, s)
	}
}
