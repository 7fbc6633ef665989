package bpf

import (
	"fmt"
	"strings"
)

// String lists the program one instruction a line, with absolute jump targets.
func (p Program) String() string {
	var b strings.Builder
	for i, in := range p {
		fmt.Fprintf(&b, "%4d  %s\n", i, in.text(i))
	}
	return b.String()
}

func (in Instruction) text(at int) string {
	branch := func(test string) string {
		return fmt.Sprintf("if %s %#x goto %d else %d", test, in.K, at+1+int(in.JT), at+1+int(in.JF))
	}
	switch in.Code {
	case LoadWord:
		return "load " + field(in.K)
	case And:
		return fmt.Sprintf("and %#x", in.K)
	case Jump:
		return fmt.Sprintf("goto %d", at+1+int(in.K))
	case JumpEqual:
		return branch("==")
	case JumpGreater:
		return branch(">")
	case JumpAtLeast:
		return branch(">=")
	case JumpAnyBitIn:
		return branch("&")
	case Return:
		return "return " + ReturnText(in.K)
	}
	return fmt.Sprintf("unknown %#x", in.Code)
}

func field(offset uint32) string {
	switch {
	case offset == OffsetNumber:
		return "number"
	case offset == OffsetArch:
		return "arch"
	case offset < offsetArgs:
		return "instruction pointer"
	}
	half := "low"
	if offset%8 == 4 {
		half = "high"
	}
	return fmt.Sprintf("argument %d %s", (offset-offsetArgs)/8, half)
}

// ReturnText names a value that a filter returns.
func ReturnText(value uint32) string {
	low := value &^ RetActionMask
	switch value & RetActionMask {
	case RetKillProcess:
		return "kill process"
	case RetKillThread:
		return "kill thread"
	case RetTrap:
		return "trap"
	case RetErrno:
		return fmt.Sprintf("errno %d", low)
	case RetUserNotif:
		return "notify"
	case RetTrace:
		return fmt.Sprintf("trace %d", low)
	case RetLog:
		return "log"
	case RetAllow:
		return "allow"
	}
	return fmt.Sprintf("unknown %#x", value)
}
