package egress

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Policy is a compiled list of rules.
type Policy struct{ rules []rule }

// Flow is one attempt to reach something.
type Flow struct {
	Proto Proto
	Addr  netip.Addr
	Port  uint16 // 0 for icmp
	// Host is set for a flow to the address that stands for the host's
	// loopback; Addr is then of no account.
	Host bool
	// Own is set when Addr is one of the host's own addresses, or another at which the host itself hears it.
	Own bool
	// Broadcast is set when Addr is a broadcast address of a network that the host is in.
	Broadcast bool
	// Names are those the address is leased under, and Pinned those of them
	// whose address the profile itself fixed.
	Names  []string
	Pinned []string
}

// Verdict is the answer to a flow or a name.
type Verdict struct {
	Allow bool
	// Rule decided; nil when none matched.
	Rule *Rule
	// Why is the reason of a refusal, in words.
	Why string
	// Write is the rule that would allow it, in the notation of a profile;
	// empty where no rule can.
	Write string
}

// Compile checks rules and makes them ready. The error of a rule names its
// place and text.
func Compile(rules []Rule) (*Policy, error) {
	p := &Policy{rules: make([]rule, 0, len(rules))}
	for i, r := range rules {
		c, err := compileRule(r)
		if err != nil {
			place := r.Origin
			if place == "" {
				place = "egress[" + strconv.Itoa(i) + "]"
			}
			return nil, fmt.Errorf("%s: egress rule %q: %w", place, r.target(), err)
		}
		p.rules = append(p.rules, c)
	}
	return p, nil
}

// Decide answers for one flow.
func (p *Policy) Decide(f Flow) Verdict {
	f.Addr = Canonical(f.Addr)
	class, within := Classify(f.Addr)
	v := Verdict{Write: f.write()}
	if !f.Host && (class == Unroutable || f.Broadcast) {
		return Verdict{Why: "no program may send to " + f.Addr.String()}
	}
	for i := range p.rules {
		r := &p.rules[i]
		if r.proto&f.Proto == 0 || !r.coversPort(f) {
			continue
		}
		var match bool
		var near string
		if r.allow {
			match, near = r.opens(f, class, within)
		} else {
			match = r.closes(f, class)
		}
		if match {
			v.Rule, v.Allow = &r.Rule, r.allow
			if !r.allow {
				v.Why = "refused by a rule"
			}
			return v
		}
		if near != "" && v.Why == "" {
			v.Why = near
		}
	}
	if v.Why == "" {
		v.Why = "no rule allows it"
	}
	return v
}

func (c *rule) coversPort(f Flow) bool {
	if len(c.ports) == 0 || f.Proto == ICMP {
		return true
	}
	for _, r := range c.ports {
		if r.first <= f.Port && f.Port <= r.last {
			return true
		}
	}
	return false
}

// opens reports whether an allow rule covers a flow whose protocol and port it
// covers. near is why not, when it would cover an ordinary address.
func (c *rule) opens(f Flow, class Class, within netip.Prefix) (match bool, near string) {
	if f.Host {
		return c.to == toHost, ""
	}
	if class == Loopback {
		// A packet has such a destination only wrapped (NAT64), and it would be the host's loopback. A name whose address
		// the profile fixed to a loopback means the sandbox's own.
		if c.to == toHost || c.closes(f, class) {
			near = "it is a loopback address"
		}
		return false, near
	}
	if f.Proto != ICMP && (f.Port == 53 || f.Port == 853) && len(c.ports) == 0 {
		if c.closes(f, class) {
			near = "another resolver is reached only by a rule that spells its port"
		}
		return false, near
	}
	switch c.to {
	case toAny:
		return ordinary(f, class, Public)
	case toPrivate:
		if class != Private {
			return false, ""
		}
		return ordinary(f, class, Private)
	case toPrefix:
		if !c.prefix.Contains(f.Addr) {
			return false, ""
		}
		if f.Own && !c.prefix.IsSingleIP() {
			return false, "it is an address of the host itself"
		}
		if class != Public && (c.prefix.Bits() < within.Bits()) {
			return false, "the rule is wider than the " + class.String() + " range"
		}
		return true, ""
	case toName:
		for _, n := range f.Pinned {
			if c.matchesName(n) {
				return true, ""
			}
		}
		for _, n := range f.Names {
			if c.matchesName(n) {
				return ordinary(f, class, Public)
			}
		}
	}
	return false, ""
}

// ordinary reports whether an address needs no naming of its own.
func ordinary(f Flow, class, want Class) (bool, string) {
	if f.Own {
		return false, "it is an address of the host itself"
	}
	if class != want {
		return false, "it is a " + class.String() + " address"
	}
	return true, ""
}

// closes reports whether a deny rule covers a flow whose protocol and port it covers.
func (c *rule) closes(f Flow, class Class) bool {
	switch c.to {
	case toAny:
		return true
	case toHost:
		return f.Host || f.Own || class == Loopback
	case toPrivate:
		return !f.Host && class == Private
	case toPrefix:
		return !f.Host && c.prefix.Contains(f.Addr)
	default:
		for _, n := range f.Names {
			if c.matchesName(n) {
				return true
			}
		}
		return false
	}
}

// HostRule is how a rule names a port of the host's loopback.
const HostRule = "host:PORT"

// write is the narrowest rule that would allow a flow.
func (f Flow) write() string {
	suffix := ":" + strconv.Itoa(int(f.Port)) + "/" + f.Proto.String()
	if f.Proto == ICMP {
		suffix = "/icmp"
	}
	class, _ := Classify(f.Addr)
	switch {
	case f.Host, class == Loopback && f.Proto != ICMP:
		return "host" + suffix
	case len(f.Names) > 0:
		if class == Public && !f.Own {
			return f.Names[0] + suffix
		}
	}
	if f.Addr.Is6() && f.Proto != ICMP {
		return "[" + f.Addr.String() + "]" + suffix
	}
	return f.Addr.String() + suffix
}
