package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rule is one rule as it stands in the network annotation. Exactly one of
// Host, Prefix and Group says where to.
type Rule struct {
	// Action is "allow" or "deny".
	Action string `json:"action"`
	// Host is a name, or "*." and a name: that matches every name below it,
	// at any depth, but not the name itself.
	Host string `json:"host,omitempty"`
	// Prefix is an address or a CIDR.
	Prefix string `json:"prefix,omitempty"`
	// Group is "any", "private" or "host".
	Group string `json:"group,omitempty"`
	// Ports are single ports ("443") and ranges ("8000-8100"); none means all.
	Ports []string `json:"ports,omitempty"`
	// Proto is "tcp", "udp", "icmp" (echo), or empty for all that can be meant:
	// tcp and udp with ports, icmp too without.
	Proto string `json:"proto,omitempty"`
	// Text is the rule as the user wrote it, and Origin where (file:line:column).
	Text   string `json:"text,omitempty"`
	Origin string `json:"origin,omitempty"`
}

// String is the rule in the words of a report: action, text and place.
func (r *Rule) String() string {
	text := r.Text
	if text == "" {
		text = r.target()
	}
	if r.Origin != "" {
		return fmt.Sprintf("%s %s (%s)", r.Action, text, r.Origin)
	}
	return r.Action + " " + text
}

// target is the rule in the notation of a profile.
func (r *Rule) target() string {
	t := r.Host + r.Group
	if r.Prefix != "" {
		t = r.Prefix
		if strings.Contains(t, ":") && len(r.Ports) > 0 {
			t = "[" + t + "]"
		}
	}
	if len(r.Ports) > 0 {
		t += ":" + strings.Join(r.Ports, ",")
	}
	if r.Proto != "" {
		t += "/" + r.Proto
	}
	return t
}

// Proto is a transport that can be allowed.
type Proto uint8

// The protocols that rules can name. Every other one is always refused.
const (
	TCP Proto = 1 << iota
	UDP
	ICMP // echo request and reply only
)

func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMP:
		return "icmp"
	}
	return "proto(" + strconv.Itoa(int(p)) + ")"
}

type target uint8

const (
	toAny target = iota
	toPrivate
	toHost
	toPrefix
	toName
)

type portRange struct{ first, last uint16 }

// rule is a Rule made ready for matching.
type rule struct {
	Rule
	allow  bool
	to     target
	prefix netip.Prefix
	// name is lower case without the final dot; wild is set for "*." rules.
	name  string
	wild  bool
	ports []portRange
	proto Proto
}

func compileRule(r Rule) (rule, error) {
	c := rule{Rule: r}
	switch r.Action {
	case "allow":
		c.allow = true
	case "deny":
	default:
		return c, fmt.Errorf("action %q is neither allow nor deny", r.Action)
	}
	set := 0
	for _, s := range []string{r.Host, r.Prefix, r.Group} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		return c, fmt.Errorf("a rule needs exactly one of host, prefix and group")
	}
	if err := c.compileTarget(); err != nil {
		return c, err
	}
	for _, p := range r.Ports {
		pr, err := parsePorts(p)
		if err != nil {
			return c, err
		}
		c.ports = append(c.ports, pr)
	}
	switch r.Proto {
	case "tcp":
		c.proto = TCP
	case "udp":
		c.proto = UDP
	case "icmp":
		c.proto = ICMP
		if len(c.ports) > 0 {
			return c, fmt.Errorf("icmp has no ports\nwrite the rule without them")
		}
	case "":
		c.proto = TCP | UDP
		if len(c.ports) == 0 {
			c.proto |= ICMP
		}
	default:
		return c, fmt.Errorf("protocol %q is not tcp, udp or icmp", r.Proto)
	}
	if c.to == toHost && c.allow && (len(c.ports) == 0 || c.proto == ICMP) {
		return c, fmt.Errorf("the host's own ports are opened one by one\nwrite host:PORT")
	}
	return c, nil
}

func (c *rule) compileTarget() error {
	switch {
	case c.Group == "any":
		c.to = toAny
	case c.Group == "private":
		c.to = toPrivate
	case c.Group == "host":
		c.to = toHost
	case c.Group != "":
		return fmt.Errorf("group %q is not any, private or host", c.Group)
	case c.Prefix != "":
		c.to = toPrefix
		p, err := ParsePrefix(c.Prefix)
		if err != nil {
			return err
		}
		c.prefix = p
	default:
		c.to = toName
		name := c.Host
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			name, c.wild = rest, true
		}
		clean, err := CleanName(name)
		if err != nil {
			return err
		}
		c.name = clean
	}
	return nil
}

// ParsePrefix reads an address or a CIDR. Bits beyond the length are an error:
// 10.1.2.3/8 leaves open which of two things was meant.
func ParsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("address %q: %w", s, err)
		}
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("address %q: a zone has no meaning inside a sandbox", s)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("prefix %q: %w", s, err)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("prefix %q has bits set beyond its length\nwrite %s", s, p.Masked())
	}
	if p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

func parsePorts(s string) (portRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	a, err := parsePort(first)
	if err != nil {
		return portRange{}, err
	}
	b := a
	if isRange {
		if b, err = parsePort(last); err != nil {
			return portRange{}, err
		}
	}
	if b < a {
		return portRange{}, fmt.Errorf("port range %q runs backwards\nwrite %d-%d", s, b, a)
	}
	return portRange{a, b}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || s[0] == '+' {
		return 0, fmt.Errorf("port %q is not a number", s)
	}
	if n == 0 || n > 65535 {
		return 0, fmt.Errorf("port %s is out of range\nports go from 1 to 65535", s)
	}
	return uint16(n), nil
}
