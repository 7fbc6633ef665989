package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
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
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	for fd := range 3 {
		// Through an opened directory, and ".." from there, the program would leave its root: CVE-2024-21626.
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return Status{Code: 125}, &Error{What: fmt.Sprintf("standard stream %d", fd), Exit: 125,
				Cause: errors.New("is a directory, through which the program could leave its root")}
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
	if p.DieWithParent {
		// The sandbox dies with this process, and so with its caller.
		caller := os.Getppid()
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return Status{Code: 125}, fmt.Errorf("ask to die with the caller: %w", err)
		}
		if os.Getppid() != caller {
			return Status{Code: 125}, fmt.Errorf("the caller is gone already, and the sandbox was to die with it")
		}
	}
	proc, err := p.Start(o)
	if err != nil {
		return Status{Code: 125}, err
	}
	if o.Ready != nil {
		if err := o.Ready(); err != nil {
			proc.Kill()
			_, _ = proc.wait()
			proc.events.close()
			return Status{Code: 125}, err
		}
	}
	// Until here a signal ends jail and with it the start. What the runtime does for this takes about as long
	// as the sandbox takes to set itself up.
	signals := make(chan os.Signal, 32)
	for _, s := range forwarded {
		// What the caller ignores stays ignored (nohup), and with a terminal the console says when to continue.
		if !signal.Ignored(s) && !(con != nil && s == os.Signal(unix.SIGCONT)) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	var giveUp context.CancelFunc
	proc.drained, giveUp = context.WithCancel(context.Background())
	defer giveUp()
	proc.Release()
	if o.Started != nil {
		o.Started(proc)
	}
	done := make(chan struct{})
	defer close(done)
	go proc.forward(signals, giveUp, done)
	if p.Timeout > 0 {
		go proc.limitTime(p.Timeout, done)
	}
	attended := make(chan struct{})
	if con != nil {
		go proc.attend(con, attended)
	}
	status, err := proc.Wait()
	if con != nil {
		<-attended
		// What the program wrote is shown to the end, however slow the terminal, unless the caller gives up.
		_ = con.Drain(proc.drained)
		if proc.broken != nil {
			err = proc.broken
		}
	}
	for _, text := range proc.notices() {
		notify(text)
	}
	proc.events.close()
	return status, err
}

// forwarded are the signals that are passed on to the program. SIGCHLD is nobody else's business, SIGURG the Go
// runtime's, SIGPIPE that of jail's own messages, and the terminal's (SIGWINCH, SIGTTIN, SIGTTOU) belong to the
// console.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTSTP, unix.SIGCONT,
	unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGXCPU, unix.SIGXFSZ,
}

// forward passes signals on for as long as the sandbox lives.
func (p *Process) forward(signals <-chan os.Signal, giveUp func(), done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			if p.ended.Load() {
				giveUp()
			}
			p.pass(s.(syscall.Signal))
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
		if p.end != nil {
			_ = p.end() // what it leaves, the next line and the end of the group take
		}
		p.Kill()
	}
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
		m, ok := p.events.next(0)
		if !ok {
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
