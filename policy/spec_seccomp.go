package policy

import (
	"cmp"
	"runtime"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxCallRules bounds what argument rules for one call may grow to when they
// are cut apart. A filter has 4096 instructions at most (BPF_MAXINSNS), and a
// condition takes about five.
const maxCallRules = 256

// nativeArch is the architecture of this machine as OCI and the table name it.
func nativeArch() (specs.Arch, syscallArchs) {
	if runtime.GOARCH == "arm64" {
		return specs.ArchAARCH64, onARM64
	}
	return specs.ArchX86_64, onAMD64
}

// callState is what the profile says of one system call.
type callState struct {
	granted bool
	named   int // 1 + the highest rank that grants the call by its own name
	denied  int // 1 + the highest rank that denies it
	lifted  bool
	// answer replaces the plain verdict: log for a call that is granted, another
	// errno or a kill for one that is not.
	answer     *SyscallAction
	answerRank int
	rules      []*SyscallRule // with arguments
}

// isDenied applies the rule that Syscalls states: deny wins, but for a later
// file that names the very call.
func (s *callState) isDenied() bool { return s.denied > 0 && s.named <= s.denied }

// seccomp translates the profile's system calls.
//
// What no line mentions answers ENOSYS: calls that came into being after this
// list, which a program must be able to try. Every call known here is either
// granted or listed with the profile's own answer.
func (c *compiler) seccomp() (*specs.LinuxSeccomp, error) {
	arch, archs := nativeArch()
	enosys := uint(unix.ENOSYS)
	out := &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: &enosys,
		Architectures:   []specs.Arch{arch},
	}
	for i, a := range c.r.Syscalls.Architectures {
		if slices.Contains(out.Architectures, specs.Arch(a.Name)) {
			continue
		}
		out.Architectures = append(out.Architectures, specs.Arch(a.Name))
		if a.Name == string(specs.ArchX86) {
			archs |= on386
		}
		c.origin("/linux/seccomp/architectures/"+strconv.Itoa(i+1), a.Origin)
	}
	c.origin("/linux/seccomp", c.r.Syscalls.Origin)

	states, userns := c.callStates()
	lists := callLists{}
	conditional := make([]specs.LinuxSyscall, 0, 192)
	for i := range syscallTable {
		call := &syscallTable[i]
		if call.archs&archs == 0 {
			continue
		}
		v := c.verdict(call.name, &states[i], userns)
		if len(v.lines) == 0 {
			if call.name == "socketcall" && isDefaultAnswer(v.base) {
				v.base = errnoAction(uint(unix.EPERM)) // must not be left out: see callLists.syscalls
			}
			lists.add(call.name, v.base)
			continue
		}
		rules, err := v.rules(call.name)
		if err != nil {
			return nil, err
		}
		conditional = append(conditional, rules...)
	}
	out.Syscalls = lists.syscalls(archs)
	for i := range conditional {
		c.ruleOrigin(len(out.Syscalls)+i, conditional[i].Names[0], states)
	}
	out.Syscalls = append(out.Syscalls, conditional...)
	return out, nil
}

func (c *compiler) ruleOrigin(at int, call string, states []callState) {
	i, _ := findSyscall(call)
	if rules := states[i].rules; len(rules) > 0 {
		c.origin("/linux/seccomp/syscalls/"+strconv.Itoa(at), rules[0].Origin)
	}
}

// callStates goes through the profile's lists once, and says whether @userns is
// granted.
func (c *compiler) callStates() ([]callState, bool) {
	states := make([]callState, len(syscallTable))
	sys := &c.r.Syscalls
	userns := 0
	grant := func(name string, rank int, answer *SyscallAction, lift bool) {
		if name == "@userns" {
			userns = max(userns, rank+1)
		}
		eachCall(name, func(i int, named bool) {
			s := &states[i]
			if !named && slices.Contains(unfiltered[:], syscallTable[i].name) {
				return
			}
			s.granted = true
			if named {
				s.named = max(s.named, rank+1)
				s.lifted = s.lifted || lift
			}
			if answer != nil && rank >= s.answerRank {
				s.answer, s.answerRank = answer, rank
			}
		})
	}
	deny := func(name string, rank int, answer *SyscallAction) {
		eachCall(name, func(i int, named bool) {
			// "no @userns" means no new namespaces, not that nothing may be started.
			if name == "@userns" && findGuard(syscallTable[i].name, false) != nil {
				return
			}
			s := &states[i]
			s.denied = max(s.denied, rank+1)
			if answer != nil && rank >= s.answerRank {
				s.answer, s.answerRank = answer, rank
			}
		})
	}
	for _, a := range sys.Allow {
		grant(a.Name, a.Rank, nil, false)
	}
	for _, d := range sys.Deny {
		deny(d.Name, d.Rank, nil)
		if d.Name == "@userns" && d.Rank+1 >= userns {
			userns = 0
		}
	}
	for i := range sys.Rules {
		rule := &sys.Rules[i]
		for _, name := range rule.Names {
			switch {
			case len(rule.Args) > 0:
				eachCall(name, func(i int, _ bool) { states[i].rules = append(states[i].rules, rule) })
			case rule.Action.Kind == "allow":
				grant(name, rule.Rank, nil, true)
			case rule.Action.Kind == "log":
				grant(name, rule.Rank, &rule.Action, true)
			default:
				deny(name, rule.Rank, &rule.Action)
			}
		}
	}
	return states, userns > 0
}

// eachCall calls f for the call called name, or for every member of the group.
func eachCall(name string, f func(i int, named bool)) {
	if i, ok := findSyscall(name); ok {
		f(i, true)
		return
	}
	g := findSyscallGroup(name)
	if g == nil {
		return // Load has refused what is neither
	}
	var set syscallSet
	set.addGroup(g)
	for i := range syscallTable {
		if set.has(i) {
			f(i, false)
		}
	}
}

// verdict is the answer to one call: the first line that matches, or else base.
type verdict struct {
	lines []verdictLine
	base  SyscallAction
}

type verdictLine struct {
	args   []SyscallArg
	action SyscallAction
	origin Origin // of the rule; zero for a guard
}

var allowAction = SyscallAction{Kind: "allow", Name: "allow"}

func errnoAction(errno uint) SyscallAction {
	return SyscallAction{Kind: "errno", Errno: errno, Name: unix.ErrnoName(unix.Errno(errno))}
}

// verdict decides one call. The profile's rules come first, the stricter answer
// before the milder and the later file before the earlier; then the guard.
func (c *compiler) verdict(call string, s *callState, userns bool) verdict {
	open := s.granted && !s.isDenied()
	v := verdict{base: c.baseAction(call, s, open)}
	rules := slices.Clone(s.rules)
	slices.SortStableFunc(rules, func(a, b *SyscallRule) int {
		return cmp.Or(cmp.Compare(strictness(a.Action.Kind), strictness(b.Action.Kind)), cmp.Compare(b.Rank, a.Rank))
	})
	for _, rule := range rules {
		mild := rule.Action.Kind == "allow" || rule.Action.Kind == "log"
		if mild && s.denied > 0 && (rule.Rank+1 <= s.denied || !slices.Contains(rule.Names, call)) {
			continue
		}
		v.lines = append(v.lines, verdictLine{rule.Args, rule.Action, rule.Origin})
	}
	g := findGuard(call, userns)
	if !open || s.lifted || g == nil {
		return v
	}
	pass := v.base
	answer := func(a guardAnswer) SyscallAction {
		if a == 0 {
			return pass
		}
		return errnoAction(uint(a))
	}
	for _, l := range g.lines {
		v.lines = append(v.lines, verdictLine{args: l.args, action: answer(l.answer)})
	}
	v.base = answer(g.other)
	return v
}

func (c *compiler) baseAction(call string, s *callState, open bool) SyscallAction {
	fallback := c.r.Syscalls.Default
	if open {
		if s.answer != nil && s.answer.Kind == "log" {
			return *s.answer
		}
		return allowAction
	}
	if s.answer != nil && s.answer.Kind != "log" {
		return *s.answer
	}
	if slices.Contains(absent[:], call) {
		return errnoAction(uint(unix.ENOSYS))
	}
	// What a profile denies by name stays denied where everything else is only
	// logged.
	if s.isDenied() && fallback.Kind == "log" {
		return errnoAction(uint(unix.EPERM))
	}
	return fallback
}

// strictness orders the answers as the kernel orders those of several filters
// (seccomp(2), "the first-seen value of highest precedence").
func strictness(kind string) int {
	return slices.Index([]string{"kill-process", "kill-thread", "trap", "errno", "log", "allow"}, kind)
}

// rules gives the verdict as OCI rules that do not overlap.
func (v *verdict) rules(call string) ([]specs.LinuxSyscall, error) {
	lower, at := v.cut(call, cutter{first: 31, limit: maxCallRules})
	if at == nil && len(lower) < 64 {
		return lower, nil
	}
	whole, at2 := v.cut(call, cutter{first: 63, limit: maxCallRules})
	switch {
	case at != nil && at2 != nil:
		return nil, Problems{problemAt(*at2, "syscalls.rules",
			"the rules for "+call+" cut each other into more pieces than a filter can hold",
			"compare with eq and masked-eq, or write fewer rules")}
	case at != nil || at2 == nil && len(whole) < len(lower):
		return whole, nil
	}
	return lower, nil
}

// cut makes the rules, or gives the place of the one that led to too many.
func (v *verdict) cut(call string, k cutter) ([]specs.LinuxSyscall, *Origin) {
	var out []specs.LinuxSyscall
	names := []string{call}
	emit := func(rs []region, action SyscallAction) bool {
		if isDefaultAnswer(action) {
			return true
		}
		rule := specs.LinuxSyscall{Names: names}
		rule.Action, rule.ErrnoRet = ociAction(action)
		for i := range rs {
			rule.Args = rs[i].conditions()
			out = append(out, rule)
		}
		return len(out) <= k.limit
	}
	var taken []region
	for i := range v.lines {
		l := &v.lines[i]
		all, ok := k.regionsOf(l.args)
		if ok {
			all, ok = k.minusAll(all, taken)
		}
		if !ok || !emit(all, l.action) {
			return nil, &l.origin
		}
		taken = append(taken, all...)
	}
	if isDefaultAnswer(v.base) {
		return out, nil
	}
	rest, ok := k.minusAll([]region{{}}, taken)
	if !ok || !emit(rest, v.base) {
		return nil, &v.lines[0].origin
	}
	return out, nil
}

// isDefaultAnswer tells whether the filter's default gives the answer anyway: such
// a rule is left out, because libseccomp refuses it.
func isDefaultAnswer(a SyscallAction) bool {
	return a.Kind == "errno" && a.Errno == uint(unix.ENOSYS)
}

func ociAction(a SyscallAction) (specs.LinuxSeccompAction, *uint) {
	switch a.Kind {
	case "allow":
		return specs.ActAllow, nil
	case "log":
		return specs.ActLog, nil
	case "trap":
		return specs.ActTrap, nil
	case "kill-process":
		return specs.ActKillProcess, nil
	case "kill-thread":
		return specs.ActKillThread, nil
	}
	errno := a.Errno
	return specs.ActErrno, &errno
}

// callLists gathers the calls whose answer does not depend on arguments.
type callLists struct {
	actions []SyscallAction
	names   [][]string
}

func (l *callLists) add(call string, action SyscallAction) {
	for i := range l.actions {
		if l.actions[i].Kind == action.Kind && l.actions[i].Errno == action.Errno {
			l.names[i] = append(l.names[i], call)
			return
		}
	}
	l.actions = append(l.actions, action)
	l.names = append(l.names, []string{call})
}

// syscalls gives one rule an answer. With i386 the calls that carry others in
// them come first: libseccomp repeats every rule for socket() on socketcall(),
// without its arguments, and takes the repetition for a contradiction (EEXIST)
// unless a rule for socketcall as a whole is there already.
func (l *callLists) syscalls(archs syscallArchs) []specs.LinuxSyscall {
	var first, rest []specs.LinuxSyscall
	for i, action := range l.actions {
		if isDefaultAnswer(action) {
			continue
		}
		names := l.names[i]
		rule := specs.LinuxSyscall{}
		rule.Action, rule.ErrnoRet = ociAction(action)
		if archs&on386 != 0 {
			for _, carrier := range []string{"socketcall", "ipc"} {
				if at, ok := slices.BinarySearch(names, carrier); ok {
					names = slices.Delete(names, at, at+1)
					alone := rule
					alone.Names = []string{carrier}
					first = append(first, alone)
				}
			}
		}
		if len(names) > 0 {
			rule.Names = names
			rest = append(rest, rule)
		}
	}
	return append(first, rest...)
}
