package escape

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"

	"jail/policy"
	"jail/profiles"
	"jail/sandbox/seccomp"
	"jail/test/need"
)

// Numbers of linux/audit.h and linux/seccomp.h, which the test does not take from jail's own packages.
const (
	auditX86_64, auditI386 = 0xc000003e, 0x40000003
	x32Bit                 = 0x40000000
	retKill, retTrap       = 0x80000000, 0x00030000
	retErrno, retTrace     = 0x00050000, 0x7ff00000
	retLog, retAllow       = 0x7ffc0000, 0x7fff0000
)

// TestShippedFilters runs the compiled filter of every shipped profile in an interpreter of classic BPF that is not
// jail's, over all system calls of all three ABIs with the argument values at which its rules change their mind, and
// compares with a plain reading of the specification by the kernel's own numbers.
func TestShippedFilters(t *testing.T) {
	need.OrdinaryUser(t)
	host, err := policy.CurrentHost(profiles.Files)
	if err != nil {
		t.Fatal(err)
	}
	host.ConfigHome, host.CacheHome = t.TempDir(), t.TempDir() // the shipped profiles and no others
	numbers := kernelNumbers(t)
	seen := map[string]string{}
	checked, filters, calls := 0, 0, 0
	var previous *specs.LinuxSeccomp
	for _, listed := range policy.Profiles(host) {
		p, err := policy.Load(listed.Name, host)
		if err != nil {
			t.Errorf("%s: %v", listed.Name, err)
			continue
		}
		r, err := p.Resolve(host)
		if err != nil {
			t.Logf("%s cannot be had on this machine: %v", listed.Name, err)
			continue
		}
		compiled, err := r.Spec([]string{"true"})
		if err != nil {
			t.Errorf("%s: %v", listed.Name, err)
			continue
		}
		spec := compiled.Spec.Linux.Seccomp
		if spec == nil {
			t.Errorf("%s has no filter", listed.Name)
			continue
		}
		checked++
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if same := seen[string(text)]; same != "" {
			continue // word for word the filter of another profile
		}
		seen[string(text)] = listed.Name
		filters++
		program, err := seccomp.Filter(spec, seccomp.Options{CacheHome: host.CacheHome})
		if err != nil {
			t.Errorf("%s: %v", listed.Name, err)
			continue
		}
		vm := newVM(t, program.Code)
		n, odd := compareFilter(t, vm, spec, numbers)
		if calls += n; odd != "" {
			t.Errorf("%s: %s", listed.Name, odd)
		}
		if previous != nil {
			if _, odd := compareFilter(t, vm, previous, numbers); odd == "" {
				t.Errorf("control: the filter of %s passes for that of another profile", listed.Name)
			}
		}
		previous = spec
	}
	t.Logf("%d profiles with %d different filters; %d calls compared", checked, filters, calls)
	if checked < 40 {
		t.Errorf("only %d shipped profiles were looked at", checked)
	}
}

// kernelNumbers are the numbers in the kernel's headers.
func kernelNumbers(t *testing.T) map[specs.Arch]map[string]uint32 {
	t.Helper()
	all := map[specs.Arch]map[string]uint32{}
	for arch, file := range map[specs.Arch]string{specs.ArchX86_64: "x86_64.txt", specs.ArchX86: "x86.txt", specs.ArchX32: "x32.txt"} {
		f, err := os.Open(filepath.Join(need.Tree(t), "sandbox/seccomp/rules/testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all[arch] = map[string]uint32{}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var name string
			var number uint32
			if _, err := fmt.Sscan(lines.Text(), &name, &number); err != nil {
				t.Fatal(err)
			}
			all[arch][name] = number
		}
	}
	return all
}

// newVM loads a filter. The interpreter reads packets, whose words are of the other byte order than struct seccomp_data.
func newVM(t *testing.T, code []byte) *bpf.VM {
	t.Helper()
	var raw []bpf.RawInstruction
	for ; len(code) >= 8; code = code[8:] {
		raw = append(raw, bpf.RawInstruction{Op: binary.LittleEndian.Uint16(code), Jt: code[2], Jf: code[3], K: binary.LittleEndian.Uint32(code[4:])})
	}
	program, whole := bpf.Disassemble(raw)
	if !whole {
		t.Fatal("the filter has instructions that are no classic BPF")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// compareFilter gives how many calls it looked at, and the first that gets another answer than it should.
func compareFilter(t *testing.T, vm *bpf.VM, spec *specs.LinuxSeccomp, numbers map[specs.Arch]map[string]uint32) (compared int, odd string) {
	t.Helper()
	open := map[specs.Arch]bool{}
	for _, a := range spec.Architectures {
		open[a] = true
	}
	for _, abi := range []struct {
		arch  specs.Arch
		token uint32
		bit   uint32
	}{{specs.ArchX86_64, auditX86_64, 0}, {specs.ArchX86, auditI386, 0}, {specs.ArchX32, auditX86_64, x32Bit}} {
		rules := map[uint32][]specs.LinuxSyscall{}
		for _, s := range spec.Syscalls {
			for _, name := range s.Names {
				if n, ok := numbers[abi.arch][name]; ok {
					rules[n] = append(rules[n], s)
				}
			}
		}
		for n := range uint32(1100) {
			number := n | abi.bit
			for _, args := range interesting(rules[number]) {
				want := uint32(retKill)
				if open[abi.arch] {
					want = plainReading(spec, rules[number], args)
				}
				var data [64]byte
				binary.BigEndian.PutUint32(data[0:], number)
				binary.BigEndian.PutUint32(data[4:], abi.token)
				for i, a := range args {
					binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
					binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
				}
				got, err := vm.Run(data[:])
				if err != nil {
					t.Fatal(err)
				}
				compared++
				if uint32(got) != want {
					return compared, fmt.Sprintf("%s call %d with %#x: %#x, and the specification says %#x", abi.arch, number, args, uint32(got), want)
				}
			}
		}
	}
	return compared, ""
}

// interesting are arguments around the values that rules compare with, in both halves.
func interesting(rules []specs.LinuxSyscall) [][6]uint64 {
	all := [][6]uint64{{}, {^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}}
	for _, r := range rules {
		var base [6]uint64 // meets the rule
		for _, a := range r.Args {
			base[a.Index] = a.Value
			if a.Op == specs.OpMaskedEqual {
				base[a.Index] = a.ValueTwo
			}
		}
		all = append(all, base)
		for _, a := range r.Args {
			v := base[a.Index]
			for _, other := range []uint64{v + 1, v - 1, ^v, v ^ 1<<31, v ^ 1<<32, v ^ 1<<63, v | a.Value, v &^ a.Value, uint64(uint32(v)), v ^ (a.Value & -a.Value)} {
				changed := base
				changed[a.Index] = other
				all = append(all, changed)
			}
		}
	}
	return all
}

// plainReading is what the entries of a call say of arguments: the action of one that matches, else the default.
func plainReading(spec *specs.LinuxSeccomp, rules []specs.LinuxSyscall, args [6]uint64) uint32 {
	for _, r := range rules {
		if matches(r.Args, args) {
			return returned(r.Action, r.ErrnoRet)
		}
	}
	return returned(spec.DefaultAction, spec.DefaultErrnoRet)
}

func matches(conditions []specs.LinuxSeccompArg, args [6]uint64) bool {
	for _, c := range conditions {
		v, ok := args[c.Index], false
		switch c.Op {
		case specs.OpEqualTo:
			ok = v == c.Value
		case specs.OpNotEqual:
			ok = v != c.Value
		case specs.OpLessThan:
			ok = v < c.Value
		case specs.OpLessEqual:
			ok = v <= c.Value
		case specs.OpGreaterThan:
			ok = v > c.Value
		case specs.OpGreaterEqual:
			ok = v >= c.Value
		case specs.OpMaskedEqual:
			ok = v&c.Value == c.ValueTwo
		}
		if !ok {
			return false
		}
	}
	return true
}

func returned(action specs.LinuxSeccompAction, errno *uint) uint32 {
	value := uint32(1)
	if errno != nil {
		value = uint32(*errno)
	}
	switch action {
	case specs.ActAllow:
		return retAllow
	case specs.ActLog:
		return retLog
	case specs.ActTrap:
		return retTrap
	case specs.ActErrno:
		return retErrno | value
	case specs.ActTrace:
		return retTrace | value
	case specs.ActKillProcess:
		return retKill
	}
	return 0 // SECCOMP_RET_KILL_THREAD
}
