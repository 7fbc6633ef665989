package policy

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxCallRules bounds what argument rules for one call may grow to when they
// are cut apart. A filter has 4096 instructions at most (BPF_MAXINSNS), and a
// condition takes about five.
const maxCallRules = 256

// cutVerdict is a verdict on one call as regions that do not overlap, which makes
// an OCI rule of each.
type cutVerdict struct {
	verdict
	call    int
	regions []region
	ends    []int // of the regions of each line, and last of the base
	rules   int   // those that are not the filter's default
	args    int   // conditions in them
}

// cutApart chooses the order of the bits that makes fewer rules.
func (v verdict) cutApart(call int, room *[2][]region) (cutVerdict, error) {
	lower, at := v.cut(call, cutter{first: 31, limit: maxCallRules, room: room})
	if at == nil && lower.rules < 64 {
		return lower, nil
	}
	whole, at2 := v.cut(call, cutter{first: 63, limit: maxCallRules, room: room})
	switch {
	case at != nil && at2 != nil:
		return lower, Problems{problemAt(*at2, "syscalls.rules",
			"the rules for "+syscallTable[call].name+" cut each other into more pieces than a filter can hold",
			"compare with eq and masked-eq, or write fewer rules")}
	case at != nil || at2 == nil && whole.rules < lower.rules:
		return whole, nil
	}
	return lower, nil
}

// cut makes the regions, or gives the place of the line that led to too many.
func (v verdict) cut(call int, k cutter) (cutVerdict, *Origin) {
	c := cutVerdict{verdict: v, call: call, regions: make([]region, 0, 16), ends: make([]int, 0, len(v.lines)+1)}
	// What the lines before answer, as they say it: in fewer regions, and larger ones, than it was cut into.
	answered := make([]region, 0, len(v.lines))
	for i := range c.lines {
		l := &c.lines[i]
		said, ok := k.regionsOf(l.args)
		all := said
		if ok {
			all, ok = k.minusAll(said, answered)
		}
		if !ok || !c.add(all, &l.action, k.limit) {
			return c, &l.origin
		}
		answered = union(answered, said)
	}
	if isDefaultAnswer(v.base) {
		return c, nil
	}
	rest, ok := k.minusAll([]region{{}}, answered)
	if !ok || !c.add(rest, &c.base, k.limit) {
		return c, &c.lines[0].origin
	}
	return c, nil
}

// add takes in the regions of the next line, and tells whether the rules are still
// within the limit.
func (c *cutVerdict) add(rs []region, action *SyscallAction, limit int) bool {
	c.regions = append(c.regions, rs...)
	c.ends = append(c.ends, len(c.regions))
	if isDefaultAnswer(*action) {
		return true
	}
	c.rules += len(rs)
	for i := range rs {
		c.args += rs[i].fixed()
	}
	return c.rules <= limit
}

// appendTo writes the rules.
func (c *cutVerdict) appendTo(out []specs.LinuxSyscall) []specs.LinuxSyscall {
	names := []string{syscallTable[c.call].name}
	args := make([]specs.LinuxSeccompArg, 0, c.args)
	begin := 0
	for i, end := range c.ends {
		action := &c.base
		if i < len(c.lines) {
			action = &c.lines[i].action
		}
		rs := c.regions[begin:end]
		begin = end
		if isDefaultAnswer(*action) {
			continue
		}
		rule := specs.LinuxSyscall{Names: names}
		rule.Action, rule.ErrnoRet = ociAction(*action)
		for j := range rs {
			from := len(args)
			if args = rs[j].appendConditions(args); len(args) > from {
				rule.Args = args[from:len(args):len(args)]
			} else {
				rule.Args = nil
			}
			out = append(out, rule)
		}
	}
	return out
}

// callLists gathers the calls whose answer does not depend on arguments.
type callLists struct {
	actions []SyscallAction
	counts  []int
	of      [len(syscallTable)]uint16 // 1 + the number of the call's action
}

func (l *callLists) add(call int, action SyscallAction) {
	at := slices.IndexFunc(l.actions, func(a SyscallAction) bool { return a.Kind == action.Kind && a.Errno == action.Errno })
	if at < 0 {
		at = len(l.actions)
		l.actions, l.counts = append(l.actions, action), append(l.counts, 0)
	}
	l.counts[at]++
	l.of[call] = uint16(at + 1)
}

// names lists the calls with one of the answers, in the order of the table.
func (l *callLists) names(action int) []string {
	names := make([]string, 0, l.counts[action])
	for i, at := range l.of {
		if int(at) == action+1 {
			names = append(names, syscallTable[i].name)
		}
	}
	return names
}

// syscalls gives one rule an answer, in a list with room for more. With i386 the
// calls that carry others in them come first: libseccomp repeats every rule for
// socket() on socketcall(), without its arguments, and takes the repetition for a
// contradiction (EEXIST) unless a rule for socketcall as a whole is there already.
func (l *callLists) syscalls(archs syscallArchs, more int) []specs.LinuxSyscall {
	carriers := [...]string{"socketcall", "ipc"}
	first := make([]specs.LinuxSyscall, 0, len(carriers)+len(l.actions)+more)
	var rest []specs.LinuxSyscall
	for i, action := range l.actions {
		if isDefaultAnswer(action) {
			continue
		}
		names := l.names(i)
		rule := specs.LinuxSyscall{}
		rule.Action, rule.ErrnoRet = ociAction(action)
		if archs&on386 != 0 {
			for _, carrier := range carriers {
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
