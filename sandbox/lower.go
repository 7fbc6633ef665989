package sandbox

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A lowered plan is its table and the first process, which begins at the first row.
type lowered struct {
	asm   assembler
	first *process
}

// lower turns the steps into one table: setup, then what pid 1 does for the rest of its life, then the
// program. The fork row of the setup leads to the program's first row.
func (p *Plan) lower(in lowerInput) *lowered {
	l := &lowered{asm: assembler{filter: in.filter, console: in.console}}
	a := &l.asm
	a.shared = allot[report](&a.memory)
	begun := a.table(8*len(p.steps) + 128)
	a.rows = begun
	for _, s := range p.steps {
		if _, ok := s.step.(scratch); ok {
			a.hasScratch = true
		}
	}
	a.op(unix.SYS_DUP3, val(in.events), val(eventsFD), val(unix.O_CLOEXEC)).tolerate(unix.EINVAL) // already that number
	if p.joining {
		a.op(unix.SYS_DUP3, val(in.leash[0]), val(leashFD), val(unix.O_CLOEXEC))
		a.op(unix.SYS_DUP3, val(in.leash[1]), val(leashEndFD), val(unix.O_CLOEXEC))
		l.phase(p, outside)
	}
	if len(in.joins) > 0 {
		for _, j := range in.joins {
			a.step = joinStep
			a.op(unix.SYS_SETNS, val(j.fd), val(j.flag))
		}
	}
	if len(in.joins) > 0 && !p.joining {
		// A process cannot be cloned into namespaces that exist: a first process enters them and clones the
		// sandbox's own from there, as a child of the supervisor (clone(2), CLONE_PARENT).
		pid := a.fd(opFork, val(p.clone|unix.CLONE_VM|unix.CLONE_PARENT|uint64(unix.SIGCHLD)), val(len(a.rows)+3))
		a.op(opStore, arg{v: uintptr(unsafe.Pointer(&a.shared.first))}, pid)
		a.op(opExit, val(0))
	}
	a.lowerHanded(&in)
	if p.joining {
		a.keepBelow = leashEndFD + 1
	}
	if in.hold {
		a.await()
	}
	for _, ph := range []phase{inSetup, inReaper, inProgram} {
		if ph == inProgram {
			a.rows[a.forkRow].args[1] = uintptr(len(a.rows))
		}
		l.phase(p, ph)
	}
	if unsafe.SliceData(a.rows) != unsafe.SliceData(begun) { // there were more rows than that
		a.rows = append(a.table(len(a.rows)), a.rows...)
	}
	processes := 2 // pid 1 and the program
	if len(in.joins) > 0 && !p.joining {
		processes++
	}
	l.first = a.processes(processes, a.rows, a.shared)
	return l
}

// phase lowers the steps of one process.
func (l *lowered) phase(p *Plan, ph phase) {
	for i, s := range p.steps {
		if s.phase == ph {
			l.asm.step = uint16(i)
			s.step.lower(&l.asm)
		}
	}
}

type lowerInput struct {
	events  int
	filter  []byte
	console terminalInput
	joins   []joinFD
	rooms   []int // descriptors of what the start was handed, see openHanded
	streams []int
	handed  []int
	hold    bool
	leash   [2]int // of a plan that joins: a pipe, see leashFD
}

// joinStep is the step number of rows that enter existing namespaces, before the first step of the plan.
const joinStep = 0xffff

type joinFD struct {
	fd   int
	flag uint64
	what string
}

// openJoins opens what the plan joins, the user namespace first: it gives the right to enter the others.
func (p *Plan) openJoins(in *lowerInput, user, network *os.File) error {
	for _, given := range []struct {
		f    *os.File
		flag uint64
		what string
	}{{user, unix.CLONE_NEWUSER, "user namespace"}, {network, unix.CLONE_NEWNET, "network namespace"}} {
		if given.f == nil {
			continue
		}
		fd, err := unix.FcntlInt(given.f.Fd(), unix.F_DUPFD_CLOEXEC, eventsFD+1)
		if err != nil {
			return &Error{What: "join the " + given.what, Cause: err, Exit: 125}
		}
		in.joins = append(in.joins, joinFD{fd, given.flag, given.what})
	}
	for _, j := range p.joins {
		fd, err := unix.Open(j.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &Error{What: fmt.Sprintf("join the %s namespace %s", j.kind, j.path), Cause: err, Exit: 125}
		}
		in.joins = append(in.joins, joinFD{fd, cloneFlags[j.kind], string(j.kind) + " namespace " + j.path})
	}
	return nil
}

func (in *lowerInput) closeJoins() {
	for _, j := range in.joins {
		_ = unix.Close(j.fd)
	}
	for _, fd := range append(in.handed, in.leash[:]...) {
		if fd > 0 {
			_ = unix.Close(fd)
		}
	}
}

// awaitJoined waits for the process that entered the namespaces to have made the sandbox's first one.
func (p *Process) awaitJoined() error {
	ws, err := p.wait()
	if err != nil {
		return err
	}
	if p.shared.failed != 0 {
		errno := syscall.Errno(p.shared.errno)
		c := p.table.asm.rows[p.shared.row]
		if c.nr == opFork {
			return p.plan.forkError(&callError{opFork, errno})
		}
		return &Error{What: "join the sandbox's namespaces", Cause: &callError{c.nr, errno}, Exit: 125}
	}
	if !ws.Exited() || p.shared.first == 0 {
		return fmt.Errorf("the process that joins the namespaces ended without a word")
	}
	p.pid = int(p.shared.first)
	p.ended.Store(false)
	return nil
}
