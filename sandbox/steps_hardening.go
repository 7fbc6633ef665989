package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hardening plans the switches that a profile may ask for and that OCI has no field for.
func (c *compiler) hardening() error {
	for _, s := range []struct {
		annotation string
		step       step
	}{{annotationDenyWrite, denyWriteExec{}}, {annotationCoreSched, coreScheduling{}}} {
		switch v, asked := c.spec.Annotations[s.annotation]; {
		case asked && v == "true":
			c.plan.add(inProgram, c.origin("/annotations/"+s.annotation), s.step)
		case asked && v != "false":
			return c.fail("/annotations", s.annotation, fmt.Errorf("%q is neither true nor false", v))
		}
	}
	return nil
}

// denyWriteExec keeps memory that was writable from ever being executed, for the program and all that it starts:
// PR_SET_MDWE(2const).
type denyWriteExec struct{}

func (denyWriteExec) String() string { return "let no writable memory be executed" }
func (denyWriteExec) lower(a *assembler) {
	const refuseExecGain = 1 // PR_MDWE_REFUSE_EXEC_GAIN
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_MDWE), val(refuseExecGain), val(0), val(0), val(0))
}

// coreScheduling gives the program, and all that it starts, a cookie of its own, so that none but they run on one
// processor core at a time: PR_SCHED_CORE(2const). A machine without a second thread a core says ENODEV, and has
// nothing to part.
type coreScheduling struct{}

func (coreScheduling) String() string { return "share no processor core with other programs" }
func (coreScheduling) lower(a *assembler) {
	const create, threadGroup = 1, 1 // PR_SCHED_CORE_CREATE, PR_SCHED_CORE_SCOPE_THREAD_GROUP
	a.op(unix.SYS_PRCTL, val(unix.PR_SCHED_CORE), val(create), val(0), val(threadGroup), val(0)).tolerate(unix.ENODEV)
}
