package rules

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/seccomp/bpf"
)

// Numbers for tests: the kernel's for x86_64, of a few calls.
func testNumbers(name string, a Arch) (uint32, bool) {
	calls := map[string]uint32{"read": 0, "ioctl": 16, "socket": 41, "clone": 56, "personality": 135}
	if a.Name != specs.ArchX86_64 {
		return OwnNumber(name, a)
	}
	if n, ok := calls[name]; ok {
		return n, true
	}
	return OwnNumber(name, a)
}

func ptr(n uint) *uint { return &n }

func entry(name string, act specs.LinuxSeccompAction, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{name}, Action: act, Args: args}
}

func arg(index uint, op specs.LinuxSeccompOperator, value, two uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: op, Value: value, ValueTwo: two}
}

func TestDoubtfulSpecsAreRefused(t *testing.T) {
	t.Parallel()
	const allow, errno = specs.ActAllow, specs.ActErrno
	for _, c := range []struct {
		name string
		spec specs.LinuxSeccomp
		want string
	}{
		{"no default action", specs.LinuxSeccomp{}, `defaultAction: unknown action ""`},
		{"unknown default action", specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_MAYBE"}, `defaultAction: unknown action "SCMP_ACT_MAYBE"`},
		{"errno for an action without", specs.LinuxSeccomp{DefaultAction: allow, DefaultErrnoRet: ptr(1)}, `defaultAction: action "SCMP_ACT_ALLOW" takes no errnoRet`},
		{"errno too large", specs.LinuxSeccomp{DefaultAction: errno, DefaultErrnoRet: ptr(4095)}, `defaultAction: errnoRet 4095 is over 4094`},
		{"errno overflowing", specs.LinuxSeccomp{DefaultAction: errno, DefaultErrnoRet: ptr(1 << 40)}, `defaultAction: errnoRet 1099511627776 is over 4094`},
		{"unknown architecture", specs.LinuxSeccomp{DefaultAction: errno, Architectures: []specs.Arch{specs.ArchX86, "amd64"}},
			`architectures[1]: unknown architecture "amd64" (say it as in SCMP_ARCH_X86_64)`},
		{"unknown flag", specs.LinuxSeccomp{DefaultAction: errno, Flags: []specs.LinuxSeccompFlag{"LOG"}}, `flags[0]: unknown flag "LOG"`},
		{"flag of listeners", specs.LinuxSeccomp{DefaultAction: errno, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}},
			`flags[0]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV goes with SCMP_ACT_NOTIFY, which is not supported`},
		{"notify", specs.LinuxSeccomp{DefaultAction: errno, ListenerPath: "/run/x", Syscalls: []specs.LinuxSyscall{entry("read", specs.ActNotify)}},
			`syscalls[0] ("read"): SCMP_ACT_NOTIFY is not supported (no listener answers; use SCMP_ACT_ERRNO or SCMP_ACT_LOG)`},
		{"no names", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow), {Action: allow}}},
			`syscalls[1].names: empty (an entry must name at least one system call)`},
		{"empty name", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("", allow)}}, `syscalls[0].names: "" is not the name of a system call`},
		{"a number", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("41", allow)}}, `syscalls[0].names: "41" is not the name of a system call`},
		{"control characters", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("re\x1b[31mad", allow)}}, `syscalls[0].names: "re\x1b[31mad" is not the name of a system call`},
		{"index", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow, arg(6, specs.OpEqualTo, 1, 0))}}, `syscalls[0] ("read"): args[0]: index 6 is over 5`},
		{"operator", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow, arg(0, "==", 1, 0))}}, `syscalls[0] ("read"): args[0]: unknown comparison "=="`},
		{"same argument twice", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow, arg(0, specs.OpGreaterThan, 1, 0), arg(0, specs.OpLessThan, 9, 0))}},
			`syscalls[0] ("read"): args[1]: a second comparison of argument 0 (runtimes differ on what that means; make entries of their own)`},
		{"empty mask", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow, arg(0, specs.OpMaskedEqual, 0, 0))}},
			`syscalls[0] ("read"): args[0]: SCMP_CMP_MASKED_EQ with an empty mask is always true (leave it out)`},
		{"value outside of the mask", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow, arg(0, specs.OpMaskedEqual, 0xf0, 0xf1))}},
			`syscalls[0] ("read"): args[0]: valueTwo 0xf1 has bits outside of the mask 0xf0 and can never be met`},
		{"stray second value", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("read", allow, arg(0, specs.OpEqualTo, 1, 2))}},
			`syscalls[0] ("read"): args[0]: valueTwo goes with SCMP_CMP_MASKED_EQ only`},
		{"bare and with arguments", specs.LinuxSeccomp{DefaultAction: errno, Syscalls: []specs.LinuxSyscall{entry("ioctl", allow), entry("ioctl", errno, arg(1, specs.OpMaskedEqual, 0xffffffff, 0x5412))}},
			`syscalls[0] and syscalls[1] both match some calls of "ioctl", one with allow and one with errno 1 (entries of different actions must exclude each other, as no order decides between them)`},
		{"64 bits beside 32", specs.LinuxSeccomp{DefaultAction: specs.ActKill, Syscalls: []specs.LinuxSyscall{entry("ioctl", allow, arg(1, specs.OpNotEqual, 0x5412, 0)), entry("ioctl", errno, arg(1, specs.OpMaskedEqual, 0xffffffff, 0x5412))}},
			`syscalls[0] and syscalls[1] both match some calls of "ioctl", one with allow and one with errno 1 (entries of different actions must exclude each other, as no order decides between them)`},
		{"same action, other errno", specs.LinuxSeccomp{DefaultAction: allow, Syscalls: []specs.LinuxSyscall{entry("read", errno), {Names: []string{"read"}, Action: errno, ErrnoRet: ptr(2)}}},
			`syscalls[0] and syscalls[1] both match some calls of "read", one with errno 1 and one with errno 2 (entries of different actions must exclude each other, as no order decides between them)`},
		{"different arguments do not exclude each other", specs.LinuxSeccomp{DefaultAction: specs.ActKill, Syscalls: []specs.LinuxSyscall{entry("clone", allow, arg(0, specs.OpEqualTo, 1, 0)), entry("clone", errno, arg(1, specs.OpEqualTo, 2, 0))}},
			`syscalls[0] and syscalls[1] both match some calls of "clone", one with allow and one with errno 1 (entries of different actions must exclude each other, as no order decides between them)`},
		{"a hole in a deny-list", specs.LinuxSeccomp{DefaultAction: allow, Syscalls: []specs.LinuxSyscall{entry("open_treee", errno)}},
			`syscalls[0]: unknown system call "open_treee", which would be left to the default action (allow) though the entry says errno 1`},
		{"wide value on i386", specs.LinuxSeccomp{DefaultAction: errno, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{entry("connect", allow, arg(0, specs.OpLessThan, 1<<32, 0))}},
			`syscalls[0] ("connect"): the value 0x100000000 does not fit into an argument of SCMP_ARCH_X86 (compare with SCMP_CMP_MASKED_EQ)`},
		{"wide mask on i386", specs.LinuxSeccomp{DefaultAction: errno, Architectures: []specs.Arch{specs.ArchX86}, Syscalls: []specs.LinuxSyscall{entry("connect", allow, arg(0, specs.OpMaskedEqual, 1<<32, 0))}},
			`syscalls[0] ("connect"): the mask 0x100000000 does not fit into an argument of SCMP_ARCH_X86`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			set, err := Read(&c.spec)
			if err == nil {
				_, err = set.Tables(testNumbers)
			}
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// The expectations here are written down by hand: they hold the reading itself,
// with which compiled filters are compared.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const x86_64, x86 = 0xc000003e, 0x40000003
	spec := specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(38),
		Syscalls: []specs.LinuxSyscall{
			entry("read", specs.ActAllow),
			entry("nonsense", specs.ActAllow),
			entry("clone", specs.ActAllow, arg(0, specs.OpMaskedEqual, 0x7e020000, 0)),
			entry("socket", specs.ActAllow, arg(0, specs.OpEqualTo, 1, 0), arg(1, specs.OpLessEqual, 5, 0)),
			entry("socket", specs.ActAllow, arg(0, specs.OpEqualTo, 2, 0)),
			entry("socket", specs.ActKillProcess, arg(0, specs.OpGreaterThan, 2, 0)),
			entry("mseal", specs.ActLog),
			{Names: []string{"personality"}, Action: specs.ActErrno, ErrnoRet: ptr(38)},
		},
	}
	for _, c := range []struct {
		name    string
		arches  []specs.Arch
		call    bpf.Call
		verdict uint32
	}{
		{"listed", nil, bpf.Call{Number: 0, Arch: x86_64}, bpf.RetAllow},
		{"not listed", nil, bpf.Call{Number: 1, Arch: x86_64}, bpf.RetErrno | 38},
		{"same as the default", nil, bpf.Call{Number: 135, Arch: x86_64}, bpf.RetErrno | 38},
		{"newer than libseccomp", nil, bpf.Call{Number: 462, Arch: x86_64}, bpf.RetLog},
		{"flags without the forbidden ones", nil, bpf.Call{Number: 56, Arch: x86_64, Args: [6]uint64{0x11}}, bpf.RetAllow},
		{"a forbidden flag", nil, bpf.Call{Number: 56, Arch: x86_64, Args: [6]uint64{0x10000011}}, bpf.RetErrno | 38},
		{"both arguments", nil, bpf.Call{Number: 41, Arch: x86_64, Args: [6]uint64{1, 5}}, bpf.RetAllow},
		{"one of two arguments", nil, bpf.Call{Number: 41, Arch: x86_64, Args: [6]uint64{1, 6}}, bpf.RetErrno | 38},
		{"another entry", nil, bpf.Call{Number: 41, Arch: x86_64, Args: [6]uint64{2, 6}}, bpf.RetAllow},
		{"64 bits are compared", nil, bpf.Call{Number: 41, Arch: x86_64, Args: [6]uint64{1 << 32}}, bpf.RetKillProcess},
		{"i386 is closed", nil, bpf.Call{Number: 3, Arch: x86}, bpf.RetKillProcess},
		{"x32 is closed", nil, bpf.Call{Number: X32Bit, Arch: x86_64}, bpf.RetKillProcess},
		{"i386 asked for", []specs.Arch{specs.ArchX86}, bpf.Call{Number: 462, Arch: x86}, bpf.RetLog},
		{"socketcall is not socket", []specs.Arch{specs.ArchX86}, bpf.Call{Number: 102, Arch: x86, Args: [6]uint64{1}}, bpf.RetErrno | 38},
		{"x32 is still closed", []specs.Arch{specs.ArchX86}, bpf.Call{Number: X32Bit, Arch: x86_64}, bpf.RetKillProcess},
		{"x32 asked for", []specs.Arch{specs.ArchX32}, bpf.Call{Number: X32Bit + 462, Arch: x86_64}, bpf.RetLog},
		{"another machine", []specs.Arch{specs.ArchAARCH64}, bpf.Call{Number: 0, Arch: 0xc00000b7}, bpf.RetKillProcess},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := spec
			s.Architectures = c.arches
			set, err := Read(&s)
			if err != nil {
				t.Fatal(err)
			}
			tables, err := set.Tables(testNumbers)
			if err != nil {
				t.Fatal(err)
			}
			if got := Verdict(tables, &c.call); got != c.verdict {
				t.Errorf("got %s, want %s", bpf.ReturnText(got), bpf.ReturnText(c.verdict))
			}
		})
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	got, err := Flags([]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, "SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagSpecAllow})
	if err != nil || got != 0b110 {
		t.Errorf("got %#b, %v", got, err)
	}
}
