package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options is what a start needs beside the plan.
type Options struct {
	// Filter is the compiled form of Plan.Seccomp, an array of struct sock_filter; empty when there is none.
	Filter []byte
	// CgroupFD is the directory of the cgroup to be born in (clone3(2), CLONE_INTO_CGROUP); 0 is none.
	CgroupFD int
	// ParentUserNS is a user namespace to make the sandbox's own below, or nil; the namespaces that the plan joins
	// belong to it. The program has no rights in it: user_namespaces(7), "Interaction of user namespaces and other types".
	ParentUserNS *os.File
	// NetNS is the network namespace of a plan that is given one (Bundle.GivenNetwork). It belongs to ParentUserNS.
	NetNS *os.File
	// Hold, when not nil, is called with the first process before it does anything, for a cgroup that a process
	// must be written into (cgroup v1). An error ends the start.
	Hold func(pid int) error
	// Enter holds the namespaces of the running sandbox that a plan of CompileJoin is for, in the order in which they
	// can be entered.
	Enter []Namespace
	// Started, when not nil, is called by Run once the sandbox is on its way, while it sets itself up.
	Started func(*Process)
	// End, when not nil, ends every process of the sandbox at once. It is called when the time limit has passed and
	// the program did not end when it was asked to (cgroup.kill); without a pid namespace the end of the first
	// process alone would leave others.
	End func() error
	// Rooms are the folders of helpers that the plan shows inside, by name: Room.Inside, or Room.Outside for the helper.
	Rooms map[string]*os.File
	// Streams, when there are three, stand in for the descriptors 0, 1 and 2.
	Streams []*os.File
	// Ready, when not nil, is called when the sandbox has been started and before its program may run; it waits for
	// what the program will find. An error ends the start.
	Ready func() error
	// dieWithParent has this process, and with it the sandbox, die with the thread that is its parent.
	dieWithParent bool
	// terminal is the caller's, when the plan has one for the sandbox.
	terminal terminalInput
}

// A Process is a started sandbox.
type Process struct {
	plan   *Plan
	table  *lowered
	shared *report
	pid    int // of the first process, which is pid 1 inside
	parent int // a descriptor of the process that this one ends with, or -1
	events *channel
	ended  atomic.Bool  // the first process is gone and its id free for others
	killed atomic.Int32 // the signal that ended the start

	timedOut atomic.Bool
	end      func() error   // Options.End
	usage    syscall.Rusage // of the first process and all that it has waited for; complete when wait has returned
	broken   error          // why the terminal could not be served; written before attend is over
}

// Status is how a sandbox ended.
type Status struct {
	Code   int            // the exit status jail should pass on: the program's, or 128 and the signal's number
	Signal syscall.Signal // the signal that ended the program, or 0
	// Usage is of all processes of the sandbox together, but for those that were killed when the program ended
	// (getrusage(2); the kernel does not count what nobody waited for). Maxrss is of the largest single one.
	Usage syscall.Rusage
}

// Start begins the sandbox and does not wait for it to be ready; what goes wrong while it is set up is told by
// Wait.
//
// The goroutine must live until Wait returns: where it is not on the program's main thread it keeps its thread for
// good, and the sandbox dies with the thread that made it.
func (p *Plan) Start(o Options) (*Process, error) {
	if p.Seccomp != nil && len(o.Filter) == 0 {
		return nil, fmt.Errorf("the plan has a system-call filter and the compiled filter is empty")
	}
	if len(o.Filter)%8 != 0 || len(o.Filter)/8 > 4096 { // BPF_MAXINSNS
		return nil, fmt.Errorf("the compiled system-call filter has %d bytes: no array of at most 4096 instructions", len(o.Filter))
	}
	if p.givenNetwork != (o.NetNS != nil) || p.givenNetwork && o.ParentUserNS == nil {
		return nil, fmt.Errorf("the plan and the start disagree on whether there is a network to join")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the channel to the sandbox: %w", err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("make the channel to the sandbox: %w", err)
	}
	proc := &Process{plan: p, parent: -1, events: &channel{fd: pair[0]}, end: o.End}
	in := lowerInput{events: pair[1], filter: o.Filter, console: o.terminal, hold: o.Hold != nil}
	defer in.closeJoins()
	err = p.openJoins(&in, o.ParentUserNS, o.NetNS)
	if p.joining {
		err = in.enter(o.Enter)
	}
	if err != nil {
		proc.events.close()
		return nil, err
	}
	if err := p.openHanded(&in, &o); err != nil {
		proc.events.close()
		return nil, err
	}
	proc.table = p.lower(in)
	proc.shared = proc.table.asm.shared
	if err := proc.table.asm.err; err != nil {
		proc.events.close()
		return nil, fmt.Errorf("map memory to share with the sandbox: %w", err)
	}

	args := &cloneArgs{flags: p.clone, exitSignal: uint64(unix.SIGCHLD)}
	if len(in.joins) > 0 && !p.joining {
		args.flags = 0 // the namespaces are made by the second process, from within those joined
	}
	if o.CgroupFD > 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(o.CgroupFD)
	}
	undo, err := proc.table.asm.keepToItself()
	var failed *callError
	if err == nil {
		var needThread bool
		if proc.pid, needThread, failed = fork(proc.table.first, args, false, o.dieWithParent); needThread {
			runtime.LockOSThread()
			proc.pid, _, failed = fork(proc.table.first, args, true, o.dieWithParent)
		}
	}
	undo()
	if err != nil {
		proc.events.close()
		return nil, fmt.Errorf("part the sandbox's memory from jail's own: madvise: %w", err)
	}
	if failed != nil {
		proc.events.close()
		return nil, p.forkError(failed)
	}
	if len(in.joins) > 0 && !p.joining {
		if err := proc.awaitJoined(); err != nil {
			proc.events.close()
			return nil, err
		}
	}
	if err := proc.prepare(o.Hold); err != nil {
		proc.abort()
		return nil, err
	}
	return proc, nil
}

// prepare does for the first process what it cannot do for itself, in the order in which it waits for it.
func (p *Process) prepare(hold func(pid int) error) error {
	if hold != nil {
		if err := hold(p.pid); err != nil {
			return err
		}
		if err := p.events.tell('m'); err != nil {
			return err
		}
	}
	if p.plan.idmap == nil || p.plan.joining {
		return nil
	}
	if err := p.mapIDs(); err != nil {
		return err
	}
	return p.events.tell('m')
}

// mapIDs writes the id maps of a sandbox that waits for them.
func (p *Process) mapIDs() error {
	for _, m := range []struct {
		file, program string
		maps          []specs.LinuxIDMapping
	}{{"uid_map", "newuidmap", p.plan.idmap.uids}, {"gid_map", "newgidmap", p.plan.idmap.gids}} {
		if os.Geteuid() == 0 {
			text := ""
			for _, r := range m.maps {
				text += fmt.Sprintf("%d %d %d\n", r.ContainerID, r.HostID, r.Size)
			}
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", p.pid, m.file), []byte(text), 0); err != nil {
				return &Error{What: "map the sandbox's ids", Cause: err, Exit: 125}
			}
			continue
		}
		args := []string{strconv.Itoa(p.pid)}
		for _, r := range m.maps {
			args = append(args, fmt.Sprint(r.ContainerID), fmt.Sprint(r.HostID), fmt.Sprint(r.Size))
		}
		if out, err := exec.Command(m.program, args...).CombinedOutput(); err != nil {
			e := &Error{What: "map the sandbox's ids with " + m.program, Cause: fmt.Errorf("%w: %s", err, out), Exit: 125,
				Hint: "check the ranges of this user in /etc/subuid and /etc/subgid"}
			if errors.Is(err, exec.ErrNotFound) {
				e.Hint = "install the package uidmap, or take the ranges out of the profile"
			}
			return e
		}
	}
	return nil
}

// Release lets the program be executed. Until then a finished sandbox waits.
func (p *Process) Release() {
	atomic.StoreUint32(&p.shared.ready, 1)
	const wake = 1 // FUTEX_WAKE, futex(2)
	_, _, _ = syscall.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.shared.ready)), wake, 1)
}

// PID is the process id of the sandbox's first process, pid 1 inside.
func (p *Process) PID() int { return p.pid }

// Kill ends the sandbox at once. With a pid namespace nothing in it survives (pid_namespaces(7)), and without any
// namespace the first process sees to that.
func (p *Process) Kill() {
	s := unix.SIGKILL
	if p.plan.alone {
		s = unix.SIGTERM
	}
	if !p.ended.Load() {
		_ = unix.Kill(p.pid, s)
	}
}

// abort ends a sandbox before its program is there.
func (p *Process) abort() {
	if p.plan.alone {
		_ = unix.Shutdown(p.events.fd, unix.SHUT_RDWR) // what is being set up ends at its next word
	}
	p.Kill()
	_, _ = p.wait()
	p.events.close()
}

// Wait waits for the end of the sandbox. An *Error is a sandbox that could not be set up: the program did not run.
func (p *Process) Wait() (Status, error) {
	ws, err := p.wait()
	if err != nil {
		return Status{Code: 125}, err
	}
	if p.shared.failed != 0 {
		return Status{Code: 125}, p.failure()
	}
	if p.shared.exited != 0 {
		ws = syscall.WaitStatus(p.shared.status)
	} else if s := syscall.Signal(p.killed.Load()); s != 0 {
		return Status{Code: 128 + int(s), Signal: s, Usage: p.usage}, nil
	} else if ws.Exited() {
		cause := fmt.Errorf("it ended without a word, status %d", ws.ExitStatus())
		if p.shared.errno != 0 {
			cause = fmt.Errorf("it could not wait for the program: wait4: %w", syscall.Errno(p.shared.errno))
		}
		return Status{Code: 125}, &Error{What: "the sandbox's first process", Cause: cause, Exit: 125}
	}
	if ws.Signaled() {
		return Status{Code: 128 + int(ws.Signal()), Signal: ws.Signal(), Usage: p.usage}, nil
	}
	return Status{Code: ws.ExitStatus(), Usage: p.usage}, nil
}

func (p *Process) wait() (ws syscall.WaitStatus, err error) {
	// First wait without reaping, so that the process id stays ours until nobody signals it any more.
	for {
		err = unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.ended.Store(true)
	for {
		_, err = syscall.Wait4(p.pid, &ws, 0, &p.usage)
		if err == nil {
			return ws, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return ws, &Error{What: "wait for the sandbox's first process", Cause: fmt.Errorf("wait4: %w", err), Exit: 125}
		}
	}
}

// failure words the row that failed.
func (p *Process) failure() error {
	a := &p.table.asm
	row := int(p.shared.row)
	c := a.rows[row]
	if int(c.step) >= len(p.plan.steps) {
		return &Error{What: "join the sandbox's namespaces", Cause: &callError{c.nr, syscall.Errno(p.shared.errno)}, Exit: 125}
	}
	s := p.plan.steps[c.step]
	errno := syscall.Errno(p.shared.errno)
	e := &Error{Origin: s.origin, What: s.step.String(), Cause: &callError{c.nr, errno}, Exit: 125}
	if ex, ok := s.step.(execute); ok && row >= a.execRow {
		e.What, e.Cause = ex.args[0], errno
		switch {
		case p.shared.denied != 0:
			e.Exit, e.Cause = 126, syscall.EACCES
		case errno == syscall.ENOENT || errno == syscall.ENOTDIR:
			e.Exit = 127
			e.Cause = fmt.Errorf("not found in the sandbox: %w", errno)
			e.Hint = "the profile must grant the program's file, its interpreter and its libraries"
		default:
			e.Exit = 126
		}
		return e
	}
	if hint := failureHint(s.step, errno); hint != "" {
		e.Hint = hint
	}
	return e
}

// callError names the system call that failed.
type callError struct {
	nr    uintptr
	errno syscall.Errno
}

func (e *callError) Error() string { return callName(e.nr) + ": " + e.errno.Error() }
func (e *callError) Unwrap() error { return e.errno }
