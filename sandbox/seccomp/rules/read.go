package rules

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/seccomp/bpf"
)

// Bounds on what a spec may say. They are far above any real filter, whose
// program the kernel limits to 4096 instructions, and keep the comparison of
// entries with each other short.
const (
	maxEntries        = 1 << 14
	maxEntriesPerCall = 256
	maxErrno          = 4094 // libseccomp takes less than MAX_ERRNO of linux/err.h
	defaultErrno      = 1    // EPERM, as OCI says
)

// Flags of seccomp(2), linux/seccomp.h.
const (
	flagLog       = 1 << 1
	flagSpecAllow = 1 << 2
)

// Set is a read spec: entries are still by name, as the number of a name
// depends on the architecture.
type Set struct {
	Default uint32 // return value of bpf for a call that no entry matches
	Arches  []Arch // ABIs let in, the native one first
	Entries []Entry
}

// Entry is one name with one action.
type Entry struct {
	Name   string
	Action uint32 // return value of bpf
	Conds  []Cond // all must hold; none: always
	Place  string // in the spec, for messages
}

// Cond is a comparison of one argument.
type Cond struct {
	Index uint
	Op    specs.LinuxSeccompOperator
	Value uint64 // the mask of SCMP_CMP_MASKED_EQ
	Two   uint64 // the masked value of SCMP_CMP_MASKED_EQ
}

// Read takes a spec apart and refuses what is doubtful in it.
func Read(s *specs.LinuxSeccomp) (*Set, error) {
	set := &Set{}
	var err error
	if set.Default, err = action(s.DefaultAction, s.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	if set.Arches, err = architectures(s.Architectures); err != nil {
		return nil, err
	}
	if _, err := Flags(s.Flags); err != nil {
		return nil, err
	}
	for i := range s.Syscalls {
		if err := set.add(&s.Syscalls[i], i); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func (set *Set) add(call *specs.LinuxSyscall, at int) error {
	place := fmt.Sprintf("syscalls[%d]", at)
	if len(call.Names) == 0 {
		return fmt.Errorf("%s.names: empty (an entry must name at least one system call)", place)
	}
	act, err := action(call.Action, call.ErrnoRet)
	if err != nil {
		return fmt.Errorf("%s (%.64q): %w", place, call.Names[0], err)
	}
	conds, err := conditions(call.Args)
	if err != nil {
		return fmt.Errorf("%s (%.64q): %w", place, call.Names[0], err)
	}
	if len(set.Entries)+len(call.Names) > maxEntries {
		return fmt.Errorf("%s: more than %d names in all", place, maxEntries)
	}
	for _, name := range call.Names {
		if !plainName(name) {
			return fmt.Errorf("%s.names: %.64q is not the name of a system call", place, name)
		}
		set.Entries = append(set.Entries, Entry{Name: name, Action: act, Conds: conds, Place: place})
	}
	return nil
}

// plainName keeps anything but the names of system calls from libseccomp,
// which takes some other texts for numbers of its own.
func plainName(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for _, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name[0] < '0' || name[0] > '9'
}

func conditions(args []specs.LinuxSeccompArg) ([]Cond, error) {
	var conds []Cond
	var seen [6]bool
	for i, arg := range args {
		if arg.Index > 5 {
			return nil, fmt.Errorf("args[%d]: index %d is over 5", i, arg.Index)
		}
		if seen[arg.Index] {
			return nil, fmt.Errorf("args[%d]: a second comparison of argument %d (runtimes differ on what that means; make entries of their own)", i, arg.Index)
		}
		seen[arg.Index] = true
		switch arg.Op {
		case specs.OpMaskedEqual:
			if arg.Value == 0 {
				return nil, fmt.Errorf("args[%d]: SCMP_CMP_MASKED_EQ with an empty mask is always true (leave it out)", i)
			}
			if arg.ValueTwo&^arg.Value != 0 {
				return nil, fmt.Errorf("args[%d]: valueTwo %#x has bits outside of the mask %#x and can never be met", i, arg.ValueTwo, arg.Value)
			}
		case specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterEqual, specs.OpGreaterThan:
			if arg.ValueTwo != 0 {
				return nil, fmt.Errorf("args[%d]: valueTwo goes with SCMP_CMP_MASKED_EQ only", i)
			}
		default:
			return nil, fmt.Errorf("args[%d]: unknown comparison %.64q", i, arg.Op)
		}
		conds = append(conds, Cond{Index: arg.Index, Op: arg.Op, Value: arg.Value, Two: arg.ValueTwo})
	}
	return conds, nil
}

// action gives the return value of a filter. OCI: "When the action doesn't
// support an errno, the runtime MUST print an error and fail".
func action(act specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	value := uint32(defaultErrno)
	if errno != nil {
		if act != specs.ActErrno && act != specs.ActTrace {
			return 0, fmt.Errorf("action %.64q takes no errnoRet", act)
		}
		if *errno > maxErrno {
			return 0, fmt.Errorf("errnoRet %d is over %d", *errno, maxErrno)
		}
		value = uint32(*errno)
	}
	switch act {
	case specs.ActAllow:
		return bpf.RetAllow, nil
	case specs.ActLog:
		return bpf.RetLog, nil
	case specs.ActErrno:
		return bpf.RetErrno | value, nil
	case specs.ActTrace:
		return bpf.RetTrace | value, nil
	case specs.ActTrap:
		return bpf.RetTrap, nil
	case specs.ActKill, specs.ActKillThread:
		return bpf.RetKillThread, nil
	case specs.ActKillProcess:
		return bpf.RetKillProcess, nil
	case specs.ActNotify:
		return 0, fmt.Errorf("SCMP_ACT_NOTIFY is not supported (no listener answers; use SCMP_ACT_ERRNO or SCMP_ACT_LOG)")
	}
	return 0, fmt.Errorf("unknown action %.64q", act)
}

// Flags gives the flags for seccomp(2), which are not part of the program.
func Flags(listed []specs.LinuxSeccompFlag) (uint32, error) {
	var bits uint32
	for i, flag := range listed {
		switch flag {
		case specs.LinuxSeccompFlagLog:
			bits |= flagLog
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= flagSpecAllow
		case "SECCOMP_FILTER_FLAG_TSYNC":
			// The filter is installed by the only thread of a new process.
		case specs.LinuxSeccompFlagWaitKillableRecv:
			return 0, fmt.Errorf("flags[%d]: %s goes with SCMP_ACT_NOTIFY, which is not supported", i, flag)
		default:
			return 0, fmt.Errorf("flags[%d]: unknown flag %.64q", i, flag)
		}
	}
	return bits, nil
}
