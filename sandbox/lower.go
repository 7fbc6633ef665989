package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// A lowered plan is the table and where in it each process begins.
type lowered struct {
	asm   assembler
	setup int // row at which the first process begins
}

// lower turns the steps into one table: setup, then what pid 1 does for the rest of its life, then the
// program. The fork row of the setup leads to the program's first row.
func (p *Plan) lower(in lowerInput) *lowered {
	l := &lowered{asm: assembler{rows: make([]call, 0, 16*len(p.steps)), filter: in.filter, console: in.console}}
	a := &l.asm
	for _, s := range p.steps {
		if _, ok := s.step.(scratch); ok {
			a.hasScratch = true
		}
	}
	a.op(unix.SYS_DUP3, val(in.events), val(eventsFD), val(unix.O_CLOEXEC)).tolerate(unix.EINVAL) // already that number
	for _, ph := range []phase{inSetup, inReaper, inProgram} {
		if ph == inProgram {
			a.rows[a.forkRow].args[1] = uintptr(len(a.rows))
		}
		for i, s := range p.steps {
			if s.phase == ph {
				a.step = uint16(i)
				s.step.lower(a)
			}
		}
	}
	return l
}

type lowerInput struct {
	events  int
	filter  []byte
	console terminalInput
}

// commandLine is this process's own arguments, where the kernel put them.
func commandLine() []string { return os.Args }
