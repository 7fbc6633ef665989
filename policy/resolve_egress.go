package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// egress reads the rules of the files whose rank is from or higher.
func (r *resolver) egress(n *Network, from int) {
	items := mergeList(r, "network.egress",
		func(f *Fragment) *List[EgressItem] { return &f.Network.Egress },
		func(f *Fragment) *List[Text] { return &f.Without.Egress },
		func(i *EgressItem) *When { return i.When },
		func(i EgressItem, name string) bool { return name == "all" || i.Allow.V == name || i.Deny.V == name })
	for _, p := range r.parts {
		n.HasEgress = n.HasEgress || p.Network.Egress.Set && p.rank >= from
	}
	// Rules of a later file stand before those of an earlier one, so that the
	// first match is the later file's; in one file the order is as written.
	slices.SortStableFunc(items, func(a, b listed[EgressItem]) int { return b.rank - a.rank })
	for _, e := range active(items) {
		i := e.item
		text, key := i.Allow, e.key+".allow"
		if i.Deny.Set {
			text, key = i.Deny, e.key+".deny"
		}
		switch {
		case i.Allow.Set && i.Deny.Set:
			r.fail(i.Origin, e.key, "allow and deny in one rule", "write two rules")
			continue
		case !text.Set:
			if !r.hasProblemAt(i.Origin) {
				r.fail(i.Origin, e.key, "neither allow nor deny", "write 'allow: DESTINATION' or 'deny: DESTINATION'")
			}
			continue
		}
		rule, err := parseEgress(text.V)
		if err != nil {
			r.fail(text.Origin, key, err.cause, err.fix)
			continue
		}
		if e.rank < from {
			continue
		}
		rule.Allow, rule.Origin = i.Allow.Set, text.Origin
		if rule.Prefix != "" {
			err = checkReach(netip.MustParsePrefix(rule.Prefix), rule.Allow)
		} else if rule.Host != "" {
			err = checkName(rule, n.DNS.Hosts)
		}
		if err != nil {
			r.fail(text.Origin, key, err.cause, err.fix)
			continue
		}
		if old := slices.IndexFunc(n.Egress, func(o EgressRule) bool { return covers(o, rule, n.DNS.Hosts) }); old >= 0 {
			o := n.Egress[old]
			if r.rankOf(o.Origin) == e.rank && !e.conditional {
				r.fail(text.Origin, key, quote(text.V)+" never matches: "+quote(o.Text)+" ("+o.Origin.String()+") before it decides", "put it before that rule, or take it out")
			}
			continue
		}
		n.Egress = append(n.Egress, rule)
	}
}

const egressFix = "as example.org:443, *.example.org, 10.0.0.0/8:5432/tcp, host:5432 or any"

// parseEgress reads a destination: WHERE[:PORTS][/PROTO].
func parseEgress(s string) (EgressRule, *varError) {
	rule := EgressRule{Text: s}
	rest := s
	if strings.Contains(s, "://") {
		fix := egressFix
		if to := fromURL(s); to != "" {
			fix = "write `" + to + "`"
		}
		return rule, &varError{quote(s) + " is a URL, and rules know no more of it than the machine and the port", fix}
	}
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		switch proto := rest[i+1:]; proto {
		case "tcp", "udp", "icmp":
			rule.Proto, rest = proto, rest[:i]
		default:
			if strings.Trim(proto, "0123456789]:,-") != "" {
				return rule, &varError{"unknown protocol " + quote(proto) + " in " + quote(s), orElse(didYouMean(proto, []string{"tcp", "udp", "icmp"}), "tcp, udp or icmp")}
			}
		}
	}
	where, ports, hasPorts := cutPorts(rest)
	if hasPorts {
		var err *varError
		if rule.Ports, err = parsePorts(ports, s); err != nil {
			return rule, err
		}
		if rule.Proto == "icmp" {
			return rule, &varError{"a port with icmp in " + quote(s), "icmp has no ports"}
		}
	}
	switch where {
	case "any", "private":
		rule.Group = where
		return rule, nil
	case "host":
		rule.Group = where
		if !hasPorts {
			return rule, &varError{"host without a port", "name the ports of this machine one by one, as host:5432"}
		}
		for _, p := range rule.Ports {
			if p.First != p.Last {
				return rule, &varError{"a range of ports of this machine", "name them one by one, as host:5432"}
			}
		}
		return rule, nil
	case "":
		return rule, &varError{quote(s) + " names no destination", egressFix}
	}
	if addr, err := netip.ParseAddr(where); err == nil {
		addr = addr.Unmap()
		if addr.Zone() != "" {
			return rule, &varError{quote(where) + " names a link of this machine", "leave out what stands behind %"}
		}
		rule.Prefix = netip.PrefixFrom(addr, addr.BitLen()).String()
		return rule, nil
	}
	if strings.Contains(where, "/") {
		p, err := netip.ParsePrefix(where)
		if err != nil {
			return rule, &varError{quote(where) + " is not a network", "as 10.0.0.0/8 or 2001:db8::/32"}
		}
		if p.Masked() != p {
			return rule, &varError{quote(where) + " has bits beyond its length", "did you mean `" + p.Masked().String() + "`?"}
		}
		if p.Addr().Is4In6() {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		rule.Prefix = p.String()
		return rule, nil
	}
	if strings.Trim(where, "0123456789.") == "" {
		return rule, &varError{quote(where) + " is neither an address nor a name", egressFix}
	}
	host := strings.ToLower(strings.TrimSuffix(where, "."))
	if cause := badHost(strings.TrimPrefix(host, "*.")); cause != "" {
		return rule, &varError{quote(where) + " is not a name: " + cause, asciiFix(host, egressFix)}
	}
	rule.Host = host
	return rule, nil
}

// cutPorts parts where from ports. An IPv6 address with ports stands in brackets.
func cutPorts(s string) (where, ports string, has bool) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		where, after, ok := strings.Cut(rest, "]")
		if !ok {
			return s, "", false
		}
		// [2001:db8::]/32:443 and [2001:db8::/32]:443 are both taken.
		if net, p, found := strings.Cut(after, ":"); found {
			return where + net, p, true
		}
		return where + after, "", false
	}
	if strings.Count(s, ":") > 1 {
		return s, "", false
	}
	return strings.Cut(s, ":")
}

func parsePorts(s, whole string) ([]PortRange, *varError) {
	var all []PortRange
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err := parsePort(first)
		if err != nil {
			return nil, &varError{err.cause + " in " + quote(whole), err.fix}
		}
		b, err := parsePort(last)
		if err != nil {
			return nil, &varError{err.cause + " in " + quote(whole), err.fix}
		}
		if a > b {
			return nil, &varError{"ports " + quote(part) + " run backwards in " + quote(whole), "the lower port first"}
		}
		all = append(all, PortRange{a, b})
	}
	return all, nil
}

func parsePort(s string) (uint16, *varError) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || s == "" {
		return 0, &varError{quote(s) + " is not a port", "a number from 1 to 65535"}
	}
	if n == 0 || n > 65535 {
		return 0, &varError{"port " + s + " is out of range", "a number from 1 to 65535"}
	}
	return uint16(n), nil
}

// badHost says what is wrong with a host name (RFC 1123), or gives "". An
// underscore is let through, as names of services have it.
func badHost(s string) string {
	if len(s) > 253 {
		return "longer than 253 characters"
	}
	for label := range strings.SplitSeq(s, ".") {
		switch {
		case label == "":
			return "an empty label"
		case len(label) > 63:
			return "the label " + quote(label) + " is longer than 63 characters"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "the label " + quote(label) + " starts or ends with -"
		case strings.Contains(label, "*"):
			return "* stands only as the whole first label"
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "":
			return "the label " + quote(label) + " has other characters than letters, digits and -"
		}
	}
	return ""
}
