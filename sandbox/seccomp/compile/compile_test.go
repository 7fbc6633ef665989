//go:build cgo

package compile

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

const (
	tokenX86_64 = 0xc000003e
	tokenX86    = 0x40000003
)

// headers reads the numbers out of the kernel's own headers (asm/unistd_*.h of
// Linux 6.1 and golang.org/x/sys for what came later): another source than
// libseccomp and the tables of package rules.
func headers(t testing.TB) map[specs.Arch]map[string]uint32 {
	t.Helper()
	all := map[specs.Arch]map[string]uint32{}
	for arch, file := range map[specs.Arch]string{specs.ArchX86_64: "x86_64.txt", specs.ArchX86: "x86.txt", specs.ArchX32: "x32.txt"} {
		f, err := os.Open("../rules/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all[arch] = map[string]uint32{}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var name string
			var number uint32
			if _, err := fmt.Sscan(lines.Text(), &name, &number); err != nil {
				t.Fatalf("%s: %q: %v", file, lines.Text(), err)
			}
			all[arch][name] = number
		}
	}
	return all
}

func tryCompile(t testing.TB, s *specs.LinuxSeccomp) (bpf.Program, error) {
	t.Helper()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	// No larger than what a user with very many pipes gets.
	if _, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_SETPIPE_SZ, 4096); err != nil {
		return nil, err
	}
	return Spec(s, pipe)
}

func TestNumbersAreThoseOfTheKernel(t *testing.T) {
	t.Parallel()
	all := headers(t)
	names := map[string]bool{}
	for _, numbers := range all {
		for name := range numbers {
			names[name] = true
		}
	}
	for arch, numbers := range all {
		a := rules.Arch{Name: arch}
		for name := range names {
			want, exists := numbers[name]
			got, known := number(name, a)
			if got != want || known != exists {
				t.Errorf("%s on %s: got %d, %v, the kernel says %d, %v", name, arch, got, known, want, exists)
			}
		}
	}
	if len(names) < 450 {
		t.Errorf("only %d names were compared", len(names))
	}
}

// Every number of the three ABIs, with arguments that meet and miss the
// conditions, against the plain reading of the spec with the kernel's numbers.
func TestEverySystemCallGetsWhatTheSpecSays(t *testing.T) {
	t.Parallel()
	all := headers(t)
	fromHeaders := func(name string, a rules.Arch) (uint32, bool) {
		n, ok := all[a.Name][name]
		return n, ok
	}
	everyName := slices.Sorted(func(yield func(string) bool) {
		for name := range all[specs.ArchX86_64] {
			if name != "ioctl" && name != "clone" && name != "socket" && !yield(name) {
				return
			}
		}
	})
	uintp := func(n uint) *uint { return &n }
	bodies := map[string]specs.LinuxSeccomp{
		"allow-list with rules": {
			DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(38),
			Syscalls: slices.Concat([]specs.LinuxSyscall{
				{Names: []string{"read", "write", "exit_group", "mseal", "uretprobe", "semget", "socketcall", "mmap2"}, Action: specs.ActAllow},
				{Names: []string{"ptrace", "listmount", "bind"}, Action: specs.ActErrno, ErrnoRet: uintp(1)},
				{Names: []string{"kexec_load"}, Action: specs.ActKillProcess},
				{Names: []string{"bpf"}, Action: specs.ActTrap},
				{Names: []string{"openat"}, Action: specs.ActLog},
				{Names: []string{"getdents"}, Action: specs.ActTrace, ErrnoRet: uintp(7)},
				{Names: []string{"clone"}, Action: specs.ActAllow, Args: masked(0, 0x7e020000, 0)},
				{Names: []string{"cachestat"}, Action: specs.ActAllow, Args: masked(3, 0xffffffff, 0)},
			}, without("ioctl", 1, 0x5412, 0x541c), without("socket", 0, 16, 17, 40)),
		},
		"deny-list": {
			DefaultAction: specs.ActAllow,
			Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mount", "umount2", "mseal", "setns", "connect"}, Action: specs.ActErrno},
				{Names: []string{"personality"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpNotEqual, Value: 8}}},
				{Names: []string{"sendto"}, Action: specs.ActErrno, ErrnoRet: uintp(22), Args: []specs.LinuxSeccompArg{{Index: 2, Op: specs.OpGreaterThan, Value: 4096}}},
			},
		},
		"every call":        {DefaultAction: specs.ActKillProcess, Syscalls: []specs.LinuxSyscall{{Names: everyName, Action: specs.ActAllow}}},
		"nothing":           {DefaultAction: specs.ActErrno},
		"everything":        {DefaultAction: specs.ActAllow},
		"default kill":      {DefaultAction: specs.ActKill, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}},
		"only other ABIs'":  {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"_llseek", "waitpid"}, Action: specs.ActAllow}}},
		"errno zero":        {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"sync"}, Action: specs.ActErrno, ErrnoRet: uintp(0)}}},
		"comparisons":       {DefaultAction: specs.ActErrno, Syscalls: comparisons()},
		"several arguments": {DefaultAction: specs.ActErrno, Syscalls: severalArguments()},
	}
	listings := map[string][]specs.Arch{
		"native":  nil,
		"i386":    {specs.ArchX86_64, specs.ArchX86},
		"x32":     {specs.ArchX32},
		"all":     {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		"foreign": {specs.ArchS390X, specs.ArchAARCH64},
	}
	for title, body := range bodies {
		for listing, arches := range listings {
			t.Run(title+"/"+listing, func(t *testing.T) {
				t.Parallel()
				s := body
				s.Architectures = arches
				checkAll(t, &s, fromHeaders)
			})
		}
	}
}

func checkAll(t *testing.T, s *specs.LinuxSeccomp, numbers rules.Numbers) {
	program, err := tryCompile(t, s)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := set.Tables(numbers)
	if err != nil {
		t.Fatal(err)
	}
	values := []uint64{0, 1, 2, 8, 16, 17, 40, 0x5412, 0x541c, 0x1_0000_5412, 1 << 32, 1 << 63, 0x10000000, 0x7e020000, 4096, 4097, math.MaxUint32, math.MaxUint64}
	random := rand.New(rand.NewPCG(1, 2))
	calls := 0
	for _, token := range []uint32{tokenX86_64, tokenX86, 0, 0xc00000b7, 0x80000016} {
		for n := range uint32(600) {
			for _, number := range []uint32{n, n | rules.X32Bit, math.MaxUint32 - n} {
				for try := range len(values) + 4 {
					call := bpf.Call{Number: number, Arch: token}
					for i := range call.Args {
						call.Args[i] = values[try%len(values)]
						if try >= len(values) {
							call.Args[i] = values[random.IntN(len(values))]
						}
						if token == tokenX86 {
							call.Args[i] &= math.MaxUint32
						}
					}
					calls++
					if got, want := program.Run(&call), rules.Verdict(tables, &call); got != want {
						t.Fatalf("call %d of %#x with %#x: got %s, the spec says %s\n%s", number, token, call.Args, bpf.ReturnText(got), bpf.ReturnText(want), program)
					}
				}
			}
		}
	}
	if calls < 100000 {
		t.Errorf("only %d calls were tried", calls)
	}
}

func masked(index uint, mask, want uint64) []specs.LinuxSeccompArg {
	return []specs.LinuxSeccompArg{{Index: index, Op: specs.OpMaskedEqual, Value: mask, ValueTwo: want}}
}

// without allows a call for all values of 32 bits but these, in the way that
// the comment of package rules tells.
func without(name string, index uint, values ...uint32) []specs.LinuxSyscall {
	var entries []specs.LinuxSyscall
	var walk func(mask, want uint32, bit int)
	walk = func(mask, want uint32, bit int) {
		if !slices.ContainsFunc(values, func(v uint32) bool { return v&mask == want }) {
			entries = append(entries, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: masked(index, uint64(mask), uint64(want))})
			return
		}
		if bit < 0 {
			return
		}
		walk(mask|1<<bit, want, bit-1)
		walk(mask|1<<bit, want|1<<bit, bit-1)
	}
	walk(0, 0, 31)
	for _, v := range values {
		entries = append(entries, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, Args: masked(index, math.MaxUint32, uint64(v))})
	}
	return entries
}

// comparisons has one call for each operator, of both libseccomp's and the
// prologue's making on i386.
func comparisons() (entries []specs.LinuxSyscall) {
	names := []string{"lseek", "dup", "pipe2", "socketpair", "shutdown", "mseal"}
	for i, op := range []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual} {
		for _, offset := range []int{0, 3} {
			entries = append(entries, specs.LinuxSyscall{
				Names: []string{names[(i+offset)%len(names)]}, Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{{Index: uint(offset), Op: op, Value: 4096}},
			})
		}
	}
	return entries
}

func severalArguments() []specs.LinuxSyscall {
	return []specs.LinuxSyscall{
		{Names: []string{"socket", "prctl"}, Action: specs.ActAllow, Args: append(masked(0, math.MaxUint32, 1), masked(1, 0xf, 2)...)},
		{Names: []string{"socket", "prctl"}, Action: specs.ActAllow, Args: append(masked(0, math.MaxUint32, 16), masked(2, math.MaxUint32, 8)...)},
		{Names: []string{"socket", "prctl"}, Action: specs.ActErrno, ErrnoRet: new(uint), Args: masked(0, math.MaxUint32, 17)},
	}
}

// Every list of entries that is accepted must come out right: Spec checks its own
// output, and must not need to refuse it.
func TestRandomEntriesCompileRightly(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 11))
	compiled := 0
	for range 3000 {
		s := randomSpec(random)
		_, err := tryCompile(t, s)
		switch {
		case err == nil:
			compiled++
		case strings.Contains(err.Error(), "both match"), strings.Contains(err.Error(), "does not fit"):
			// contradictory, or not for i386
		default:
			t.Errorf("%v\n%+v", err, s)
		}
	}
	if compiled < 1000 {
		t.Errorf("only %d random filters compiled", compiled)
	}
}

func randomSpec(random *rand.Rand) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActAllow, specs.ActErrno, specs.ActLog}
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
		specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual, specs.OpMaskedEqual}
	values := []uint64{0, 1, 2, 3, 7, 0x5412, math.MaxUint32, 1 << 32, 1<<32 + 1, 5 << 32, math.MaxUint64 - 1, math.MaxUint64}
	masks := []uint64{1, 3, 0xff, 0xff00, math.MaxUint32, 0x8000_0000, 1 << 32, 0xffff_ffff_0000_0000, math.MaxUint64}
	s := &specs.LinuxSeccomp{DefaultAction: []specs.LinuxSeccompAction{specs.ActErrno, specs.ActKillProcess, specs.ActAllow}[random.IntN(3)]}
	if random.IntN(3) == 0 {
		s.Architectures = []specs.Arch{specs.ArchX86, specs.ArchX32}
	}
	for range 1 + random.IntN(6) {
		e := specs.LinuxSyscall{Names: []string{[]string{"ioctl", "socket", "mseal"}[random.IntN(3)]}, Action: actions[random.IntN(len(actions))]}
		for _, index := range random.Perm(3)[:1+random.IntN(2)] {
			arg := specs.LinuxSeccompArg{Index: uint(index), Op: ops[random.IntN(len(ops))], Value: values[random.IntN(len(values))]}
			if arg.Op == specs.OpMaskedEqual {
				arg.Value = masks[random.IntN(len(masks))]
				arg.ValueTwo = values[random.IntN(len(values))] & arg.Value
			}
			e.Args = append(e.Args, arg)
		}
		s.Syscalls = append(s.Syscalls, e)
	}
	return s
}
