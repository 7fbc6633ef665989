package policy

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// syscalls reads `syscalls:`. Groups stay groups; which calls they hold is the
// compiler's business.
func (r *resolver) syscalls() {
	out := &r.out.Syscalls
	out.Default = SyscallAction{Kind: "errno", Errno: uint(unix.EPERM), Name: "EPERM"}
	out.Origin = defaultOrigin
	for _, p := range r.parts {
		s := &p.Syscalls
		if s.Origin.File == "" {
			continue
		}
		out.Origin = s.Origin
		if !s.Default.Set {
			continue
		}
		a, err := parseAction(s.Default.V)
		switch {
		case err != nil:
			r.fail(s.Default.Origin, p.prefix+"syscalls.default", err.cause, err.fix)
		case a.Kind == "allow":
			r.fail(s.Default.Origin, p.prefix+"syscalls.default", "allow would let every call through that jail does not list", "for no filter at all write 'enforcement: {seccomp: off}'")
		default:
			out.Default = a
		}
	}
	r.syscallLists()
	r.syscallRules()
	r.architectures()
}

// syscallLists merges allow, deny and without. `without` comes before its own
// file's entries, so its denials rank just below them.
func (r *resolver) syscallLists() {
	out := &r.out.Syscalls
	given := false
	for _, p := range r.parts {
		for i, w := range p.Without.Syscalls.Items {
			key := p.prefix + "without.syscalls[" + strconv.Itoa(i) + "]"
			if !w.Set || !r.knownCall(w, key) {
				continue
			}
			if !given && w.V == defaultGroup {
				given = true
				continue
			}
			n := len(out.Allow) + len(out.Deny)
			same := func(s SyscallName) bool { return s.Name == w.V && s.Rank < p.rank }
			out.Allow = slices.DeleteFunc(out.Allow, same)
			out.Deny = slices.DeleteFunc(out.Deny, same)
			took := n > len(out.Allow)+len(out.Deny)
			if !given || slices.ContainsFunc(out.Allow, func(a SyscallName) bool { return groupHolds(a.Name, w.V) }) || strings.HasPrefix(w.V, "@") {
				// What else allows the call, a group, does so no more.
				out.Deny = append(out.Deny, SyscallName{w.V, p.rank - 1, w.Origin})
			} else if !took {
				r.failWithout(p, "syscalls", i, w)
			}
		}
		s := &p.Syscalls
		given = given || s.Allow.Set
		for i := range s.Allow.Items {
			if n, ok := r.syscallName(&s.Allow.Items[i], p, "allow", i); ok {
				// A later file that names the very same call or group has it back.
				out.Deny = slices.DeleteFunc(out.Deny, func(d SyscallName) bool { return d.Name == n.Name && d.Rank < n.Rank })
				out.Allow = append(out.Allow, n)
			}
		}
		for i := range s.Deny.Items {
			if n, ok := r.syscallName(&s.Deny.Items[i], p, "deny", i); ok {
				out.Allow = slices.DeleteFunc(out.Allow, func(a SyscallName) bool { return a.Name == n.Name && a.Rank <= n.Rank })
				out.Deny = append(out.Deny, n)
			}
		}
	}
	if !given {
		out.Allow = append([]SyscallName{{defaultGroup, rankDefault, defaultOrigin}}, out.Allow...)
	}
}

// groupHolds tells whether a group has the call.
func groupHolds(group, call string) bool {
	g := findSyscallGroup(group)
	i, ok := findSyscall(call)
	if g == nil || !ok {
		return false
	}
	var set syscallSet
	set.addGroup(g)
	return set.has(i)
}

// defaultGroup is what a profile that lists nothing allows.
const defaultGroup = "@default"

func (r *resolver) syscallName(item *Item, p part, list string, i int) (SyscallName, bool) {
	key := p.prefix + "syscalls." + list + "[" + strconv.Itoa(i) + "]"
	if !item.Value.Set || !r.knownCall(item.Value, key) || !r.holds(item.When, key+".when") {
		return SyscallName{}, false
	}
	return SyscallName{item.Value.V, p.rank, item.Value.Origin}, true
}

func (r *resolver) knownCall(t Text, key string) bool {
	if strings.HasPrefix(t.V, "@") {
		if knownSyscallGroup(t.V) {
			return true
		}
		names := make([]string, len(syscallGroups))
		for i := range syscallGroups {
			names[i] = syscallGroups[i].name
		}
		r.fail(t.Origin, key, quote(t.V)+" is not a group of system calls", orElse(didYouMean(t.V, names), "the profile reference lists them"))
		return false
	}
	if knownSyscall(t.V) {
		return true
	}
	r.fail(t.Origin, key, quote(t.V)+" is not a system call jail knows", orElse(didYouMean(t.V, syscallNames()), "syscalls(2) lists them; groups start with @"))
	return false
}

func (r *resolver) syscallRules() {
	items := mergeList(r, "syscalls.rules",
		func(f *Fragment) *List[SyscallItem] { return &f.Syscalls.Rules }, nil,
		func(i *SyscallItem) *When { return i.When }, nil)
	for _, e := range active(items) {
		i := e.item
		rule := SyscallRule{Rank: e.rank, Origin: i.Origin}
		for n, name := range i.Names.Items {
			if name.Set && r.knownCall(name, e.key+".names["+strconv.Itoa(n)+"]") && !r.takenAway(name.V, e.rank) {
				rule.Names = append(rule.Names, name.V)
			}
		}
		if i.Names.Set && len(i.Names.Items) == 0 {
			r.fail(i.Names.Origin, e.key+".names", "a rule for no call", "name at least one")
		}
		for n := range i.Args.Items {
			if a, ok := r.syscallArg(&i.Args.Items[n], e.key+".args["+strconv.Itoa(n)+"]"); ok {
				rule.Args = append(rule.Args, a)
			}
		}
		if !i.Action.Set {
			continue
		}
		a, err := parseAction(i.Action.V)
		if err != nil {
			r.fail(i.Action.Origin, e.key+".action", err.cause, err.fix)
			continue
		}
		rule.Action = a
		if len(rule.Names) > 0 {
			r.out.Syscalls.Rules = append(r.out.Syscalls.Rules, rule)
		}
	}
}

// takenAway tells whether a later file takes a call away by name; rules for it
// go too.
func (r *resolver) takenAway(name string, rank int) bool {
	for _, p := range r.parts {
		if p.rank > rank && slices.ContainsFunc(p.Without.Syscalls.Items, func(w Text) bool { return w.V == name }) {
			return true
		}
	}
	return false
}

func (r *resolver) syscallArg(a *ArgItem, key string) (SyscallArg, bool) {
	out := SyscallArg{Op: a.Op.Or("eq")}
	index := r.inRange(a.Index, key+".index", 0, 5)
	if !index.Set || !a.Value.Set {
		return out, false
	}
	out.Index = uint(index.V)
	value, err := parseConstant(a.Value.V)
	if err != nil {
		r.fail(a.Value.Origin, key+".value", err.cause, err.fix)
		return out, false
	}
	out.Value = value
	if (out.Op == "masked-eq") != a.Mask.Set {
		r.fail(a.Origin, key, "mask and masked-eq belong together", "write {op: masked-eq, mask: BITS, value: WANTED}")
		return out, false
	}
	if a.Mask.Set {
		mask, err := parseConstant(a.Mask.V)
		if err != nil {
			r.fail(a.Mask.Origin, key+".mask", err.cause, err.fix)
			return out, false
		}
		if value&^mask != 0 {
			r.fail(a.Value.Origin, key+".value", "has bits that the mask takes away, so it never matches", "widen the mask")
			return out, false
		}
		out.Value, out.ValueTwo = mask, value
	}
	return out, true
}

var actionNames = []string{"allow", "kill", "kill-thread", "trap", "log"}

// parseAction reads an answer to a system call.
func parseAction(s string) (SyscallAction, *varError) {
	a := SyscallAction{Name: s}
	switch s {
	case "allow", "kill-thread", "trap", "log":
		a.Kind = s
		return a, nil
	case "kill", "kill-process":
		a.Kind, a.Name = "kill-process", "kill"
		return a, nil
	}
	if strings.HasPrefix(s, "E") {
		// The generic errnos end at 133 (EHWPOISON).
		for n := unix.Errno(1); n <= 133; n++ {
			if unix.ErrnoName(n) == s {
				a.Kind, a.Errno = "errno", uint(n)
				return a, nil
			}
		}
	}
	return a, &varError{quote(s) + " is not an answer to a system call", orElse(didYouMean(s, append([]string{"EPERM", "EACCES", "ENOSYS", "EINVAL"}, actionNames...)), "an errno such as EPERM, or kill, kill-thread, trap, log, allow")}
}

// architectureNames maps what profiles say to what OCI does.
var architectureNames = [...][2]string{
	{"x86", "SCMP_ARCH_X86"}, {"x86_64", "SCMP_ARCH_X86_64"}, {"x32", "SCMP_ARCH_X32"},
	{"arm", "SCMP_ARCH_ARM"}, {"aarch64", "SCMP_ARCH_AARCH64"}, {"riscv64", "SCMP_ARCH_RISCV64"},
	{"ppc64le", "SCMP_ARCH_PPC64LE"}, {"s390x", "SCMP_ARCH_S390X"},
}

func (r *resolver) architectures() {
	items := mergeList(r, "syscalls.architectures",
		func(f *Fragment) *List[Item] { return &f.Syscalls.Architectures }, nil, itemWhen, nil)
	for _, e := range active(items) {
		v := e.item.Value
		if !v.Set {
			continue
		}
		i := slices.IndexFunc(architectureNames[:], func(a [2]string) bool { return a[0] == v.V })
		if i < 0 {
			r.fail(v.Origin, e.key, quote(v.V)+" is not an architecture", "x86, x86_64, x32, arm, aarch64, riscv64, ppc64le or s390x")
			continue
		}
		name := architectureNames[i][1]
		if !slices.ContainsFunc(r.out.Syscalls.Architectures, func(n Named) bool { return n.Name == name }) {
			r.out.Syscalls.Architectures = append(r.out.Syscalls.Architectures, Named{name, v.Origin})
		}
	}
}
