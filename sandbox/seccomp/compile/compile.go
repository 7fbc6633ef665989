//go:build cgo

// Package compile turns a spec into a program by means of libseccomp, and checks
// the program against the spec before it hands it out. Being cgo, it belongs
// into jail-seccomp and must not be imported by jail.
package compile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"

	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

// apiLevel tells libseccomp to believe in all actions up to KILL_PROCESS and
// LOG (Linux 4.14) instead of probing the kernel: a filter then depends on
// nothing but the spec, and a confined process can compile it.
const apiLevel = 4

// binaryTree is the value of SCMP_FLTATR_CTL_OPTIMIZE for a search over sorted
// numbers: 10 steps to a call of 400 rather than 400.
const binaryTree = 2

// Spec turns a spec into a program. libseccomp writes its output into the pipe
// export, which Spec closes: the pipe is the caller's to make, since a confined
// process cannot.
func Spec(spec *specs.LinuxSeccomp, export [2]int) (bpf.Program, error) {
	read, write := os.NewFile(uintptr(export[0]), "pipe"), os.NewFile(uintptr(export[1]), "pipe")
	defer read.Close()
	defer write.Close()
	set, err := rules.Read(spec)
	if err != nil {
		return nil, err
	}
	tables, err := set.Tables(number)
	if err != nil {
		return nil, err
	}
	if err := libseccomp.SetAPI(apiLevel); err != nil {
		return nil, fmt.Errorf("libseccomp: set api level: %w", err)
	}
	filter, extras, err := build(set, tables)
	if err != nil {
		return nil, err
	}
	defer filter.Release()
	body, err := exported(filter, read, write)
	if err != nil {
		return nil, err
	}
	head, err := prologue(extras)
	if err != nil {
		return nil, err
	}
	// Jumps of classic BPF are relative and go forward, so that a program may
	// be put in front of another as it is.
	program, err := bpf.Parse(append(head.Bytes(), body...))
	if err != nil {
		return nil, fmt.Errorf("compiled filter: %w", err)
	}
	if err := verify(program, tables); err != nil {
		return nil, err
	}
	return program, nil
}

// number is rules.Numbers out of libseccomp and what it lacks.
func number(name string, a rules.Arch) (uint32, bool) {
	if n, ok := rules.OwnNumber(name, a); ok {
		return n, true
	}
	n, err := libseccomp.GetSyscallFromNameByArch(name, archOf[a.Name])
	// Below zero are libseccomp's own numbers for calls of other machines.
	if err != nil || n < 0 {
		return 0, false
	}
	return uint32(n), true
}

var archOf = map[specs.Arch]libseccomp.ScmpArch{
	specs.ArchX86_64:  libseccomp.ArchAMD64,
	specs.ArchX86:     libseccomp.ArchX86,
	specs.ArchX32:     libseccomp.ArchX32,
	specs.ArchAARCH64: libseccomp.ArchARM64,
	specs.ArchARM:     libseccomp.ArchARM,
}

// build makes one filter for each architecture and merges them. What
// libseccomp cannot do comes back as tables for the prologue.
func build(set *rules.Set, tables []rules.Table) (*libseccomp.ScmpFilter, []rules.Table, error) {
	var whole *libseccomp.ScmpFilter
	var extras []rules.Table
	for i, t := range tables {
		filter, extra, err := buildOne(set, &t, i == 0)
		if err != nil {
			return nil, nil, fmt.Errorf("libseccomp: %s: %w", t.Arch.Name, err)
		}
		if len(extra.Calls) > 0 {
			extras = append(extras, extra)
		}
		if whole == nil {
			whole = filter
			continue
		}
		if err := whole.Merge(filter); err != nil {
			return nil, nil, fmt.Errorf("libseccomp: merge %s: %w", t.Arch.Name, err)
		}
	}
	return whole, extras, nil
}

func buildOne(set *rules.Set, t *rules.Table, native bool) (*libseccomp.ScmpFilter, rules.Table, error) {
	extra := rules.Table{Arch: t.Arch, Default: t.Default, Calls: map[uint32][]rules.Entry{}}
	filter, err := emptyFilter(set.Default)
	if err != nil {
		return nil, extra, err
	}
	if !native {
		if err := onlyArch(filter, archOf[t.Arch.Name]); err != nil {
			return nil, extra, err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(t.Calls)) {
		entries := t.Calls[n]
		if beyondLibseccomp(entries, t.Arch, native) {
			extra.Calls[n] = entries
			continue
		}
		call := libseccomp.ScmpSyscall(n)
		if !native {
			// libseccomp finds the number of another architecture by the name
			// that the number it is given has on the native one.
			if call, err = libseccomp.GetSyscallFromName(entries[0].Name); err != nil {
				return nil, extra, fmt.Errorf("%s: %w", entries[0].Name, err)
			}
		}
		for i := range entries {
			if err := addRule(filter, call, &entries[i]); err != nil {
				return nil, extra, fmt.Errorf("%s (%q): %w", entries[i].Place, entries[i].Name, err)
			}
		}
	}
	return filter, extra, nil
}

// beyondLibseccomp picks out the calls that the prologue must answer.
//
// Of another architecture than the native one, libseccomp knows only the
// numbers whose names it knows itself, and it takes the arguments of x32 for 32
// bits, which leaves the high halves of lengths and offsets unseen.
//
// Of any architecture, libseccomp 2.5.4 merges comparisons of several entries
// wrongly. {arg < 21522} or {arg >= 5<<32} comes out as a filter that also lets
// 21522 pass; and adding {arg1 <= 21522, arg0 > 3} and {arg2 <= 9, arg0 > 3}
// never ends. What it gets right, tried on some 100,000 random lists each, is
// equality of all or some bits in any number, and one comparison alone.
func beyondLibseccomp(entries []rules.Entry, a rules.Arch, native bool) bool {
	conds := 0
	plain := true
	for _, e := range entries {
		conds += len(e.Conds)
		for _, c := range e.Conds {
			plain = plain && (c.Masked() || c.Op == specs.OpEqualTo)
		}
	}
	if conds > 1 && !plain {
		return true
	}
	if native {
		return false
	}
	_, own := rules.OwnNumber(entries[0].Name, a)
	return own || a.Name == specs.ArchX32 && conds > 0
}

func emptyFilter(standard uint32) (*libseccomp.ScmpFilter, error) {
	act, err := actionOf(standard)
	if err != nil {
		return nil, err
	}
	filter, err := libseccomp.NewFilter(act)
	if err != nil {
		return nil, err
	}
	// A call through an ABI that was not asked for has no honest reason, and
	// its numbers mean other calls.
	if err := filter.SetBadArchAction(libseccomp.ActKillProcess); err != nil {
		return nil, err
	}
	if err := filter.SetOptimize(binaryTree); err != nil {
		return nil, fmt.Errorf("binary tree: %w", err)
	}
	return filter, nil
}

func onlyArch(filter *libseccomp.ScmpFilter, arch libseccomp.ScmpArch) error {
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return err
	}
	if err := filter.AddArch(arch); err != nil {
		return err
	}
	return filter.RemoveArch(native)
}

func addRule(filter *libseccomp.ScmpFilter, call libseccomp.ScmpSyscall, e *rules.Entry) error {
	act, err := actionOf(e.Action)
	if err != nil {
		return err
	}
	if len(e.Conds) == 0 {
		return filter.AddRule(call, act)
	}
	conds := make([]libseccomp.ScmpCondition, len(e.Conds))
	for i, c := range e.Conds {
		conds[i] = libseccomp.ScmpCondition{Argument: c.Index, Op: operatorOf[c.Op], Operand1: c.Value, Operand2: c.Two}
	}
	return filter.AddRuleConditional(call, act, conds)
}

var operatorOf = map[specs.LinuxSeccompOperator]libseccomp.ScmpCompareOp{
	specs.OpNotEqual:     libseccomp.CompareNotEqual,
	specs.OpLessThan:     libseccomp.CompareLess,
	specs.OpLessEqual:    libseccomp.CompareLessOrEqual,
	specs.OpEqualTo:      libseccomp.CompareEqual,
	specs.OpGreaterEqual: libseccomp.CompareGreaterEqual,
	specs.OpGreaterThan:  libseccomp.CompareGreater,
	specs.OpMaskedEqual:  libseccomp.CompareMaskedEqual,
}

func actionOf(value uint32) (libseccomp.ScmpAction, error) {
	low := int16(value &^ bpf.RetActionMask) // rules.Read keeps it below 4095
	switch value & bpf.RetActionMask {
	case bpf.RetKillProcess:
		return libseccomp.ActKillProcess, nil
	case bpf.RetKillThread:
		return libseccomp.ActKillThread, nil
	case bpf.RetTrap:
		return libseccomp.ActTrap, nil
	case bpf.RetErrno:
		return libseccomp.ActErrno.SetReturnCode(low), nil
	case bpf.RetTrace:
		return libseccomp.ActTrace.SetReturnCode(low), nil
	case bpf.RetLog:
		return libseccomp.ActLog, nil
	case bpf.RetAllow:
		return libseccomp.ActAllow, nil
	}
	return libseccomp.ActInvalid, fmt.Errorf("unexpected action %#x", value)
}

// exported reads libseccomp's output through a pipe: release 2.5 only writes to
// a descriptor. It is read meanwhile, since a pipe does not always take the 32 KB
// that a filter may have: a user with a thousand pipes gets 8 KB for each further
// one (pipe-user-pages-soft, pipe(7)), and the write would wait for ever.
func exported(filter *libseccomp.ScmpFilter, read, write *os.File) ([]byte, error) {
	var code []byte
	var readErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, readErr = io.ReadAll(read)
	}()
	err := filter.ExportBPF(write)
	closed := write.Close()
	<-done
	if err != nil {
		return nil, fmt.Errorf("libseccomp: generate the filter: %w", err)
	}
	if err := errors.Join(closed, readErr); err != nil {
		return nil, fmt.Errorf("libseccomp: take the filter: %w", err)
	}
	return code, nil
}
