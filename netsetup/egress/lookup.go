package egress

import "fmt"

// Name answers whether a name may be looked up: whether some allow rule could
// come to apply to an address of it. name must be clean (see [CleanName]).
func (p *Policy) Name(name string) Verdict {
	for i := range p.rules {
		r := &p.rules[i]
		switch {
		case r.to == toName && r.matchesName(name):
			if r.allow {
				return Verdict{Allow: true, Rule: &r.Rule}
			}
			if r.whole() {
				return Verdict{Rule: &r.Rule, Why: "refused by a rule", Write: name}
			}
		case r.to == toAny && r.allow:
			return Verdict{Allow: true, Rule: &r.Rule}
		case r.to == toAny && r.whole():
			return Verdict{Rule: &r.Rule, Why: "refused by a rule", Write: name}
		}
	}
	return Verdict{Why: "no rule allows the name", Write: name}
}

// Refuses gives the deny rule that names a name outright, or nil. It judges the
// targets of CNAME records: the owner of an allowed name may point it where it
// likes, as with its address records, but not at a name the profile refuses.
func (p *Policy) Refuses(name string) *Rule {
	for i := range p.rules {
		r := &p.rules[i]
		if r.to != toName || !r.matchesName(name) {
			continue
		}
		if r.allow {
			return nil
		}
		if r.whole() {
			return &r.Rule
		}
	}
	return nil
}

// whole reports whether a rule covers every port of tcp and udp.
func (c *rule) whole() bool {
	if c.proto&(TCP|UDP) != TCP|UDP {
		return false
	}
	if len(c.ports) == 0 {
		return true
	}
	for _, r := range c.ports {
		if r.first <= 1 && r.last == 65535 {
			return true
		}
	}
	return false
}

// Usable reports whether an address, leased under names, could be reached on
// any port at all. An answer that could not is not handed out: a program told
// that a name does not exist fails at once and for a stated reason.
func (p *Policy) Usable(f Flow) bool {
	f.Host = false
	f.Addr = Canonical(f.Addr)
	class, within := Classify(f.Addr)
	if class == Unroutable {
		return false
	}
	for i := range p.rules {
		r := &p.rules[i]
		if !r.allow {
			if r.whole() && r.closes(f, class) {
				return false
			}
			continue
		}
		f.Port = 1 // any port but those of resolvers
		if len(r.ports) > 0 {
			f.Port = r.ports[0].first
		}
		if ok, _ := r.opens(f, class, within); ok {
			return true
		}
	}
	return false
}

// HostPort is a port of the host's loopback that some rule opens.
type HostPort struct {
	Port  uint16
	Proto Proto
}

// HostPorts lists the ports of the host's loopback that rules may open; more than limit
// are an error.
func (p *Policy) HostPorts(limit int) ([]HostPort, error) {
	seen := map[HostPort]bool{}
	var out []HostPort
	for i := range p.rules {
		r := &p.rules[i]
		if r.to != toHost || !r.allow {
			continue
		}
		for _, pr := range r.ports {
			for port := int(pr.first); port <= int(pr.last); port++ {
				for _, proto := range []Proto{TCP, UDP} {
					h := HostPort{uint16(port), proto}
					if r.proto&proto == 0 || seen[h] {
						continue
					}
					if len(out) == 2*limit {
						return nil, fmt.Errorf("%s: more than %d ports of the host\nname those that are needed", r.String(), limit)
					}
					seen[h] = true
					out = append(out, h)
				}
			}
		}
	}
	return out, nil
}
