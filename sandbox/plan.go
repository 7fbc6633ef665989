package sandbox

import (
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A Plan is everything that will be done to start one sandbox, decided and in order. It can be printed,
// compared and started; making it touches nothing.
type Plan struct {
	steps []plannedStep

	clone uint64 // CLONE_NEW* of the first process
	joins []join // namespaces entered before that
	// joining says that the plan is for one more process of a running sandbox, whose namespaces come with the start.
	joining bool
	// givenNetwork says that the network namespace comes with the start.
	givenNetwork bool
	idmap        *idMaps
	rooms        []string // names of the rooms that a start must be handed
	terminal     bool
	landlock     *landlockPolicy // nil for none
	orphans      bool            // without a pid namespace processes may outlive the program
	alone        bool            // without any namespace, see compileAlone

	// Lost says what a run without namespaces does without, nil for any other.
	Lost []string
	// Warnings name protection that was preferred and cannot be had on this machine.
	Warnings []string
	// DieWithParent asks that the sandbox ends when jail's own parent does.
	DieWithParent bool
	// Timeout ends the sandbox; 0 is never.
	Timeout time.Duration
	// Resources are the cgroup limits that the caller must have in force before Start.
	Resources *specs.LinuxResources
	// Seccomp is the filter's source; Start takes the compiled program.
	Seccomp *specs.LinuxSeccomp
}

// A phase is the process that executes a step.
type phase int

const (
	inSetup   phase = iota // the first process, with all capabilities in the new user namespace
	inProgram              // the process that becomes the program
	inReaper               // pid 1, once the program is forked
	outside                // the first process of a plan that joins, before it enters any namespace
)

func (p phase) String() string { return [...]string{"setup", "program", "pid 1", "outside"}[p] }

type plannedStep struct {
	phase  phase
	step   step
	origin string // file:line:column of the profile, or a pointer into the configuration
}

// A step is one thing to do, named by what it is for. String is what `jail plan` prints and what a failure
// is reported under; lower appends the system calls.
type step interface {
	String() string
	lower(a *assembler)
}

func (p *Plan) add(ph phase, origin string, steps ...step) {
	for _, s := range steps {
		p.steps = append(p.steps, plannedStep{ph, s, origin})
	}
}

// Alone tells whether the program runs without namespaces.
func (p *Plan) Alone() bool { return p.alone }

// HasTerminal tells whether the sandbox gets a terminal of its own, which stands in for the caller's.
func (p *Plan) HasTerminal() bool { return p.terminal }

// WriteTo prints the plan, a numbered line a step with the process that does it and the place it came from.
func (p *Plan) WriteTo(w io.Writer) (int64, error) {
	var total int64
	first := p.cloneText()
	switch {
	case p.joining:
		first = "clone a process into the sandbox's namespaces"
	case p.alone:
		first = "clone a process, in the namespaces that there are"
	}
	n, err := fmt.Fprintf(w, "%3d  %-8s%s\n", 0, "jail", first)
	total += int64(n)
	for i, s := range p.steps {
		if err != nil {
			break
		}
		origin := ""
		if s.origin != "" {
			origin = "  # " + escape(s.origin)
		}
		n, err = fmt.Fprintf(w, "%3d  %-8s%s%s\n", i+1, s.phase, escape(s.step.String()), origin)
		total += int64(n)
	}
	return total, err
}

// escape makes text that came from a profile safe to print: CVE-2023-28101.
func escape(s string) string {
	q := fmt.Sprintf("%+q", s)
	if len(q) == len(s)+2 {
		return s
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0xfffd || r == 0x2028 || r == 0x2029 || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return q
		}
	}
	return s
}
