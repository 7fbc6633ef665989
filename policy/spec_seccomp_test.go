package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// seccompOf compiles a set of system call settings.
func seccompOf(t *testing.T, s Syscalls) *specs.LinuxSeccomp {
	t.Helper()
	if s.Default.Kind == "" {
		s.Default = errnoAction(1)
	}
	c := &compiler{r: &Resolved{Syscalls: s}, spec: &specs.Spec{Linux: &specs.Linux{}}}
	out, err := c.seccomp()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// verdictOf answers one call as the spec does: every rule whose conditions all
// hold applies. It fails the test when two that apply disagree, because OCI
// gives rules no order.
func verdictOf(t *testing.T, s *specs.LinuxSeccomp, call string, args [6]uint64) string {
	t.Helper()
	var answers []string
	for _, rule := range s.Syscalls {
		if !slices.Contains(rule.Names, call) || !allHold(rule.Args, args) {
			continue
		}
		answers = append(answers, answerText(rule.Action, rule.ErrnoRet))
	}
	if len(answers) > 1 {
		t.Fatalf("%s%x: %d rules apply: %v", call, args, len(answers), answers)
	}
	if len(answers) == 0 {
		return answerText(s.DefaultAction, s.DefaultErrnoRet)
	}
	return answers[0]
}

func answerText(a specs.LinuxSeccompAction, errno *uint) string {
	text := strings.ToLower(strings.TrimPrefix(string(a), "SCMP_ACT_"))
	if a == specs.ActErrno {
		return errnoAction(*errno).Name
	}
	return text
}

func allHold(conds []specs.LinuxSeccompArg, args [6]uint64) bool {
	for _, c := range conds {
		v := args[c.Index]
		var holds bool
		switch c.Op {
		case specs.OpEqualTo:
			holds = v == c.Value
		case specs.OpMaskedEqual:
			holds = v&c.Value == c.ValueTwo
		default:
			panic("the compiler does not write " + string(c.Op))
		}
		if !holds {
			return false
		}
	}
	return true
}

func allow(names ...string) []SyscallName {
	out := make([]SyscallName, len(names))
	for i, n := range names {
		out[i] = SyscallName{Name: n}
	}
	return out
}

func TestSeccompVerdicts(t *testing.T) {
	kill := SyscallAction{Kind: "kill-process", Name: "kill"}
	log := SyscallAction{Kind: "log", Name: "log"}
	eperm, eacces := errnoAction(1), errnoAction(13)
	deflt := Syscalls{Allow: allow("@default")}
	tests := []struct {
		name string
		s    Syscalls
		call string
		args [6]uint64
		want string
	}{
		{"a common call", deflt, "read", [6]uint64{}, "allow"},
		{"a call that is known and not granted", deflt, "ptrace", [6]uint64{}, "EPERM"},
		{"a call nobody knows", deflt, "frobnicate", [6]uint64{}, "ENOSYS"},
		{"nothing is granted by an empty list", Syscalls{}, "read", [6]uint64{}, "EPERM"},
		{"the profile's default answer", Syscalls{Default: kill}, "ptrace", [6]uint64{}, "kill_process"},
		{"mount looks missing", deflt, "mount", [6]uint64{}, "ENOSYS"},
		{"clone3 looks missing", deflt, "clone3", [6]uint64{}, "ENOSYS"},
		{"no group brings clone3", Syscalls{Allow: allow("@process")}, "clone3", [6]uint64{}, "ENOSYS"},
		{"clone3 by its name", Syscalls{Allow: allow("clone3")}, "clone3", [6]uint64{}, "allow"},
		{"mount when granted", Syscalls{Allow: allow("@mount")}, "mount", [6]uint64{}, "allow"},

		{"clone for fork", deflt, "clone", [6]uint64{0x1200011}, "allow"},
		{"clone for a thread", deflt, "clone", [6]uint64{0x3d0f00}, "allow"},
		{"clone with a user namespace", deflt, "clone", [6]uint64{0x10000011}, "EPERM"},
		{"clone with a bit above the flags", deflt, "clone", [6]uint64{1<<40 | 0x10000011}, "EPERM"},
		{"clone by its name is guarded too", Syscalls{Allow: allow("clone")}, "clone", [6]uint64{0x10000011}, "EPERM"},
		{"systemd's group is guarded too", Syscalls{Allow: allow("@system-service")}, "clone", [6]uint64{0x10000011}, "EPERM"},
		{"@userns opens user namespaces", Syscalls{Allow: allow("@default", "@userns")}, "clone", [6]uint64{0x10000011}, "allow"},
		{"@userns opens no mount namespaces", Syscalls{Allow: allow("@default", "@userns")}, "clone", [6]uint64{0x10020011}, "EPERM"},
		{"@userns opens unshare", Syscalls{Allow: allow("@userns")}, "unshare", [6]uint64{0x10000000}, "allow"},
		{"unshare of files", deflt, "unshare", [6]uint64{0x400}, "allow"},
		{"unshare of users", deflt, "unshare", [6]uint64{0x10000000}, "EPERM"},
		{"unshare of time", deflt, "unshare", [6]uint64{0x80}, "EPERM"},
		{"@userns denied leaves clone for fork", Syscalls{Allow: allow("@default", "@userns"), Deny: allow("@userns")},
			"clone", [6]uint64{0x1200011}, "allow"},
		{"@userns denied closes user namespaces", Syscalls{Allow: allow("@default", "@userns"), Deny: allow("@userns")},
			"clone", [6]uint64{0x10000011}, "EPERM"},
		{"a rule lifts the guard", Syscalls{Allow: allow("@default"), Rules: []SyscallRule{{Names: []string{"clone"}, Action: allowAction}}},
			"clone", [6]uint64{0x10000011}, "allow"},

		{"ioctl in general", deflt, "ioctl", [6]uint64{0, 0x5401}, "allow"},
		{"ioctl as musl sends it, sign-extended", deflt, "ioctl", [6]uint64{0, 0xffffffff80045430}, "allow"},
		{"TIOCSTI", deflt, "ioctl", [6]uint64{0, 0x5412}, "EPERM"},
		{"TIOCSTI with a bit above 32", deflt, "ioctl", [6]uint64{0, 1<<32 | 0x5412}, "EPERM"},
		{"TIOCLINUX", deflt, "ioctl", [6]uint64{0, 0x541c}, "EPERM"},
		{"TIOCLINUX sign-extended", deflt, "ioctl", [6]uint64{0, 0xffffffff0000541c}, "EPERM"},
		{"a sound timer's ioctl that ends like TIOCSTI", deflt, "ioctl", [6]uint64{0, 0x40505412}, "allow"},
		{"a rule grants what a guard refuses",
			Syscalls{Allow: allow("@default"), Rules: []SyscallRule{{Names: []string{"ioctl"},
				Args: []SyscallArg{{Index: 1, Op: "eq", Value: 0x541c}}, Action: allowAction}}},
			"ioctl", [6]uint64{0, 0x541c}, "allow"},

		{"AF_UNIX", deflt, "socket", [6]uint64{1}, "allow"},
		{"AF_INET6", deflt, "socket", [6]uint64{10}, "allow"},
		{"AF_NETLINK for routes", deflt, "socket", [6]uint64{16, 3, 0}, "allow"},
		{"AF_NETLINK for netfilter", deflt, "socket", [6]uint64{16, 3, 12}, "EPROTONOSUPPORT"},
		{"AF_UNSPEC", deflt, "socket", [6]uint64{0}, "EAFNOSUPPORT"},
		{"AF_AX25, between the granted ones", deflt, "socket", [6]uint64{3}, "EAFNOSUPPORT"},
		{"AF_VSOCK", deflt, "socket", [6]uint64{40}, "EAFNOSUPPORT"},
		{"AF_ALG with bits above 32", deflt, "socket", [6]uint64{1<<33 | 38}, "EAFNOSUPPORT"},
		{"AF_INET with what a register held before", deflt, "socket", [6]uint64{1<<33 | 2}, "allow"},
		{"TCP", deflt, "socket", [6]uint64{2, 1 | 0x80800, 6}, "allow"},
		{"TCP over many paths", deflt, "socket", [6]uint64{10, 1, 262}, "allow"},
		{"UDP", deflt, "socket", [6]uint64{10, 2, 17}, "allow"},
		{"echo", deflt, "socket", [6]uint64{2, 2, 1}, "allow"},
		{"echo of IPv6", deflt, "socket", [6]uint64{10, 2, 58}, "allow"},
		{"a raw socket, for those with the capability", deflt, "socket", [6]uint64{2, 3, 255}, "allow"},
		{"SCTP as a stream", deflt, "socket", [6]uint64{2, 1, 132}, "ENOSYS"},
		{"SCTP by its type", deflt, "socket", [6]uint64{10, 5 | 0x80000, 0}, "ENOSYS"},
		{"DCCP", deflt, "socket", [6]uint64{2, 6, 33}, "ENOSYS"},
		{"L2TP with bits above 32", deflt, "socket", [6]uint64{2, 2, 1<<40 | 115}, "ENOSYS"},
		{"UDP-Lite", deflt, "socket", [6]uint64{2, 2, 136}, "ENOSYS"},
		{"packets by the old type", deflt, "socket", [6]uint64{2, 10, 0x0300}, "ENOSYS"},
		{"a family no kernel has", deflt, "socket", [6]uint64{1000}, "ENOSYS"},
		{"socketpair of TIPC", deflt, "socketpair", [6]uint64{30}, "EAFNOSUPPORT"},
		{"a rule adds a family",
			Syscalls{Allow: allow("@default"), Rules: []SyscallRule{{Names: []string{"socket"},
				Args: []SyscallArg{{Index: 0, Op: "eq", Value: 40}}, Action: allowAction}}},
			"socket", [6]uint64{40}, "allow"},
		{"personality asks", deflt, "personality", [6]uint64{0xffffffff}, "allow"},
		{"personality asks with 64 bits", deflt, "personality", [6]uint64{^uint64(0)}, "allow"},
		{"personality without address randomisation", deflt, "personality", [6]uint64{0x40000}, "ENOSYS"},

		{"deny beats a group", Syscalls{Allow: allow("@default"), Deny: allow("chmod")}, "chmod", [6]uint64{}, "EPERM"},
		{"deny beats the name in the same file", Syscalls{Allow: allow("chmod"), Deny: allow("chmod")}, "chmod", [6]uint64{}, "EPERM"},
		{"a later file names it again",
			Syscalls{Allow: []SyscallName{{Name: "chmod", Rank: 2}}, Deny: []SyscallName{{Name: "chmod", Rank: 1}}}, "chmod", [6]uint64{}, "allow"},
		{"a later group does not",
			Syscalls{Allow: []SyscallName{{Name: "@file-system", Rank: 2}}, Deny: []SyscallName{{Name: "chmod", Rank: 1}}}, "chmod", [6]uint64{}, "EPERM"},
		{"denied where the rest is logged", Syscalls{Default: log, Deny: allow("ptrace")}, "ptrace", [6]uint64{}, "EPERM"},
		{"not granted where the rest is logged", Syscalls{Default: log}, "ptrace", [6]uint64{}, "log"},
		{"an answer of its own", Syscalls{Allow: allow("@default"), Rules: []SyscallRule{{Names: []string{"chmod"}, Action: eacces}}},
			"chmod", [6]uint64{}, "EACCES"},
		{"granted and logged", Syscalls{Rules: []SyscallRule{{Names: []string{"chmod"}, Action: log}}}, "chmod", [6]uint64{}, "log"},
		{"the stricter rule wins",
			Syscalls{Allow: allow("kill"), Rules: []SyscallRule{
				{Names: []string{"kill"}, Args: []SyscallArg{{Index: 1, Op: "ge", Value: 5}}, Action: eperm},
				{Names: []string{"kill"}, Args: []SyscallArg{{Index: 1, Op: "eq", Value: 9}}, Action: kill},
			}}, "kill", [6]uint64{1, 9}, "kill_process"},
		{"and the milder one beside it",
			Syscalls{Allow: allow("kill"), Rules: []SyscallRule{
				{Names: []string{"kill"}, Args: []SyscallArg{{Index: 1, Op: "ge", Value: 5}}, Action: eperm},
				{Names: []string{"kill"}, Args: []SyscallArg{{Index: 1, Op: "eq", Value: 9}}, Action: kill},
			}}, "kill", [6]uint64{1, 8}, "EPERM"},
		{"an allow rule does not undo deny",
			Syscalls{Deny: allow("kill"), Rules: []SyscallRule{{Names: []string{"kill"}, Args: argIs(1, 0), Action: allowAction}}},
			"kill", [6]uint64{1, 0}, "EPERM"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := verdictOf(t, seccompOf(t, tt.s), tt.call, tt.args); got != tt.want {
				t.Errorf("%s(%#x) answers %s, want %s", tt.call, tt.args, got, tt.want)
			}
		})
	}
}

// Whatever rules a profile has, the conditions written from them exclude each
// other and cover every argument, and the answer is that of the first line that
// matches.
func TestSeccompRulesAreDisjoint(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ops := []string{"eq", "ne", "lt", "le", "gt", "ge", "masked-eq"}
	actions := []SyscallAction{allowAction, errnoAction(1), errnoAction(13), {Kind: "trap"}, {Kind: "log"}}
	interesting := []uint64{0, 1, 2, 3, 7, 8, 15, 16, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 5, 1 << 63, ^uint64(0), ^uint64(0) - 1}
	value := func() uint64 { return interesting[rng.IntN(len(interesting))] }
	call, _ := findSyscall("read")
	compiled := 0
	for range 400 {
		v := verdict{base: actions[rng.IntN(3)]}
		for range 1 + rng.IntN(4) {
			l := verdictLine{action: actions[rng.IntN(len(actions))]}
			for range 1 + rng.IntN(2) {
				a := SyscallArg{Index: uint(rng.IntN(2)), Op: ops[rng.IntN(len(ops))], Value: value()}
				if a.Op == "masked-eq" {
					a.Value, a.ValueTwo = uint64(rng.IntN(16))<<rng.IntN(3), uint64(rng.IntN(8))
				}
				l.args = append(l.args, a)
			}
			v.lines = append(v.lines, l)
		}
		cut, err := v.cutApart(call, new([2][]region))
		if err != nil {
			continue // cut into too many pieces
		}
		compiled++
		rules := cut.appendTo(nil)
		if len(rules) != cut.rules {
			t.Fatalf("%+v\n%d rules, counted %d", v, len(rules), cut.rules)
		}
		enosys := uint(38)
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &enosys, Syscalls: rules}
		for range 200 {
			args := [6]uint64{value() + uint64(rng.IntN(3)), value() + uint64(rng.IntN(3))}
			action, errno := ociAction(v.answer(args))
			want := answerText(action, errno)
			if got := verdictOf(t, s, "read", args); got != want {
				t.Fatalf("%+v\nargs %x: %s, want %s", v, args, got, want)
			}
		}
	}
	if compiled < 200 {
		t.Errorf("only %d of 400 random rule sets compiled", compiled)
	}
}

// A profile cannot make the compiler work without end.
func TestSeccompTooManyRules(t *testing.T) {
	args := make([]SyscallArg, 6)
	for i := range args {
		args[i] = SyscallArg{Index: uint(i), Op: "ne", Value: uint64(i) + 0x5555}
	}
	masked := SyscallArg{Op: "masked-eq", Value: 1, ValueTwo: 1}
	rules := []SyscallRule{{Names: []string{"futex"}, Args: args, Action: errnoAction(1)}}
	for i := range uint(6) {
		masked.Index = i
		rules = append(rules, SyscallRule{Names: []string{"futex"}, Args: []SyscallArg{masked}, Action: errnoAction(2)})
	}
	c := &compiler{r: &Resolved{Syscalls: Syscalls{Allow: allow("futex"), Rules: rules}}, spec: &specs.Spec{Linux: &specs.Linux{}}}
	if _, err := c.seccomp(); err == nil || !strings.Contains(err.Error(), "futex cut each other") {
		t.Errorf("got %v, want a refusal that names futex", err)
	}
}

// With i386 the carriers come first, alone, and no group grants socketcall.
func TestSeccompI386(t *testing.T) {
	s := seccompOf(t, Syscalls{Allow: allow("@default"), Architectures: []Named{{Name: "SCMP_ARCH_X86"}}})
	if got := fmt.Sprint(s.Syscalls[0].Names, s.Syscalls[1].Names); got != "[ipc] [socketcall]" && got != "[socketcall] [ipc]" {
		t.Errorf("first rules are for %s, want socketcall and ipc", got)
	}
	if got := verdictOf(t, s, "socketcall", [6]uint64{1}); got != "EPERM" {
		t.Errorf("socketcall answers %s, want EPERM", got)
	}
	missing := Syscalls{Default: errnoAction(38), Allow: allow("@default"), Architectures: []Named{{Name: "SCMP_ARCH_X86"}}}
	if got := verdictOf(t, seccompOf(t, missing), "socketcall", [6]uint64{1}); got != "EPERM" {
		t.Errorf("socketcall answers %s where the rest answers ENOSYS, want EPERM", got)
	}
	if got := verdictOf(t, s, "stat64", [6]uint64{}); got != "allow" {
		t.Errorf("stat64 answers %s, want allow", got)
	}
}

// Calls made by the million must not depend on arguments: the kernel answers
// those without running the filter (seccomp_cache_prepare).
func TestSeccompCommonCallsAreUnconditional(t *testing.T) {
	s := seccompOf(t, Syscalls{Allow: allow("@default", "@userns")})
	var conditional []string
	for _, rule := range s.Syscalls {
		if len(rule.Args) > 0 && !slices.Contains(conditional, rule.Names[0]) {
			conditional = append(conditional, rule.Names[0])
		}
	}
	want := []string{"clone", "ioctl", "personality", "socket", "socketpair", "unshare"}
	if !slices.Equal(conditional, want) {
		t.Errorf("calls that depend on arguments: %v, want %v", conditional, want)
	}
}
