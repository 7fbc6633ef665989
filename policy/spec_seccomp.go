package policy

import (
	"cmp"
	"runtime"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// nativeArch is the architecture of this machine as OCI and the table name it.
func nativeArch() (specs.Arch, syscallArchs) {
	if runtime.GOARCH == "arm64" {
		return specs.ArchAARCH64, onARM64
	}
	return specs.ArchX86_64, onAMD64
}

// callState is what the profile says of one system call. There is one for every
// call known, so it is kept small: fresh memory is what costs a start most.
type callState struct {
	// answer replaces the plain verdict: log for a call that is granted, another
	// errno or a kill for one that is not.
	answer     *SyscallAction
	answerRank int32
	named      int32 // 1 + the highest rank that grants the call by its own name
	denied     int32 // 1 + the highest rank that denies it
	granted    bool
	lifted     bool
}

// callStates is what the profile says of all of them.
type callStates struct {
	of     []callState            // by the number of the line in syscallTable
	rules  map[int][]*SyscallRule // those with arguments, by the same number
	userns bool                   // @userns is granted
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

	states := c.callStates()
	var lists callLists
	var conditional []cutVerdict
	room := [2][]region{make([]region, 0, 48), make([]region, 0, 48)} // more than the guards take
	total := 0
	for i := range syscallTable {
		call := &syscallTable[i]
		if call.archs&archs == 0 {
			continue
		}
		v := c.verdict(i, &states)
		if call.name == "execve" && c.neverStarts(&v) {
			c.warnings = append(c.warnings, problemAt(c.r.Syscalls.Origin, "syscalls", "execve is answered with "+v.base.Name+", so no program can be started", "put execve, or @default, in syscalls.allow"))
		}
		if len(v.lines) == 0 {
			if call.name == "socketcall" && isDefaultAnswer(v.base) {
				v.base = errnoAction(uint(unix.EPERM)) // must not be left out: see callLists.syscalls
			}
			lists.add(i, v.base)
			continue
		}
		cut, err := v.cutApart(i, &room)
		if err != nil {
			return nil, err
		}
		conditional, total = append(conditional, cut), total+cut.rules
	}
	out.Syscalls = lists.syscalls(archs, total)
	for i := range conditional {
		cut := &conditional[i]
		if rules := states.rules[cut.call]; len(rules) > 0 {
			for at := range cut.rules {
				c.origin("/linux/seccomp/syscalls/"+strconv.Itoa(len(out.Syscalls)+at), rules[0].Origin)
			}
		}
		out.Syscalls = cut.appendTo(out.Syscalls)
	}
	return out, nil
}

// neverStarts tells whether the profile's answer to execve keeps its own program from being started: the filter is in
// force by then. It is a warning, for a fragment that others are to extend may well leave that to them.
func (c *compiler) neverStarts(execve *verdict) bool {
	said := c.r.Syscalls.Origin.File != ""
	return said && len(execve.lines) == 0 && execve.base.Kind != "allow" && execve.base.Kind != "log"
}

// callStates goes through the profile's lists once.
func (c *compiler) callStates() callStates {
	all := callStates{of: make([]callState, len(syscallTable))}
	states := all.of
	sys := &c.r.Syscalls
	userns := 0
	grant := func(name string, fileRank int, answer *SyscallAction, lift bool) {
		rank := int32(fileRank)
		if name == "@userns" {
			userns = max(userns, fileRank+1)
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
	deny := func(name string, fileRank int, answer *SyscallAction) {
		rank := int32(fileRank)
		eachCall(name, func(i int, named bool) {
			// "no @userns" means no new namespaces, not that nothing may be started.
			if name == "@userns" && findGuard(syscallTable[i].name, false, false) != nil {
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
				if all.rules == nil {
					all.rules = map[int][]*SyscallRule{}
				}
				eachCall(name, func(i int, _ bool) { all.rules[i] = append(all.rules[i], rule) })
			case rule.Action.Kind == "allow":
				grant(name, rule.Rank, nil, true)
			case rule.Action.Kind == "log":
				grant(name, rule.Rank, &rule.Action, true)
			default:
				deny(name, rule.Rank, &rule.Action)
			}
		}
	}
	all.userns = userns > 0
	return all
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
func (c *compiler) verdict(i int, states *callStates) verdict {
	call, s := syscallTable[i].name, &states.of[i]
	open := s.granted && !s.isDenied()
	v := verdict{base: c.baseAction(call, s, open)}
	rules := slices.Clone(states.rules[i])
	slices.SortStableFunc(rules, func(a, b *SyscallRule) int {
		return cmp.Or(cmp.Compare(strictness(a.Action.Kind), strictness(b.Action.Kind)), cmp.Compare(b.Rank, a.Rank))
	})
	for _, rule := range rules {
		mild := rule.Action.Kind == "allow" || rule.Action.Kind == "log"
		if mild && s.denied > 0 && (rule.Rank+1 <= int(s.denied) || !slices.Contains(rule.Names, call)) {
			continue
		}
		v.lines = append(v.lines, verdictLine{rule.Args, rule.Action, rule.Origin})
	}
	if !open || s.lifted {
		return v
	}
	g := findGuard(call, states.userns, c.r.Process.NoDump.Or(false))
	if g == nil {
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
