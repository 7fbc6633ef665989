package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// nat64 is the prefix of addresses that stand for an IPv4 address (RFC 6052), which is what the gateway compares with rules.
const nat64 = "64:ff9b::/96"

// closedRanges are the networks that no packet goes to, whatever a rule says (docs/network.md), and nat64.
var closedRanges = [...]string{
	"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", nat64, "100::/64", "2001:10::/28", "2001:20::/28", "fe80::/10", "ff00::/8",
}

// checkReach refuses a network that a rule can open no address of, and for a denial one that is closed as it is.
func checkReach(p netip.Prefix, allow bool) *varError {
	if p.Bits() == 0 || !neverMatches(p, p.Bits(), allow) {
		return nil
	}
	said := quote(shortPrefix(p))
	within := func(ranges ...string) bool { return isWithin(p, ranges) }
	switch a := p.Addr(); {
	case within("224.0.0.0/4", "ff00::/8"):
		return &varError{said + " is multicast, which does not pass the gateway", "take the rule out"}
	case within("127.0.0.0/8", "::1/128"):
		return &varError{said + " is the sandbox's own loopback, which is always open", "for a port of this machine write host:PORT"}
	case within("fe80::/10"):
		return &varError{said + " is link-local, and does not pass the gateway", "take the rule out, or name another address of that machine"}
	case within(nat64):
		b := a.As16()
		return &varError{said + " stands for IPv4 addresses, and it is these that rules are compared with", "write `" + shortPrefix(netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), p.Bits()-96)) + "`"}
	case neverMatches(p, p.Bits(), false):
		return &varError{said + " is no destination: no program may send there", "take the rule out"}
	}
	return &varError{said + " is wider than the special networks in it, and opens none of them", "name the one that is meant, as fec0::/10"}
}

// neverMatches tells whether a rule on a network of that many bits decides about no address of its part p.
func neverMatches(p netip.Prefix, bits int, allow bool) bool {
	if isWithin(p, closedRanges[:]) {
		return true
	}
	hasPart := func(s string) bool {
		r := netip.MustParsePrefix(s)
		return r.Bits() > p.Bits() && holds(p, r)
	}
	if !slices.ContainsFunc(closedRanges[:], hasPart) && !slices.ContainsFunc(specialRanges[:], hasPart) {
		return allow && specialBits(p) > bits
	}
	half := p.Addr().AsSlice()
	half[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	second, _ := netip.AddrFromSlice(half)
	return neverMatches(netip.PrefixFrom(p.Addr(), p.Bits()+1), bits, allow) && neverMatches(netip.PrefixFrom(second, p.Bits()+1), bits, allow)
}

// isWithin tells whether one of the ranges holds all of p.
func isWithin(p netip.Prefix, ranges []string) bool {
	return slices.ContainsFunc(ranges, func(s string) bool { return holds(netip.MustParsePrefix(s), p) })
}

func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// checkName refuses a rule on a name that is never looked up outside: it is answered by the sandbox's resolver itself, with
// addresses that the rule does not decide about. pinned are the names that dns.hosts gives an address.
func checkName(rule EgressRule, pinned []HostName) *varError {
	name := strings.TrimPrefix(rule.Host, "*.")
	if !rule.Allow && len(rule.Ports) == 0 && rule.Proto == "" {
		return nil
	}
	if slices.ContainsFunc(pinned, func(h HostName) bool { return nameCovers(rule.Host, h.Name) }) {
		return nil
	}
	switch {
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		return &varError{quote(rule.Host) + " is the sandbox's own loopback, which is always open", hostRule(rule)}
	case rule.Host == "host.jail.internal":
		return &varError{quote(rule.Host) + " is this machine, which a rule names as host", hostRule(rule)}
	case name == "jail.internal" && name != rule.Host || strings.HasSuffix(name, ".jail.internal"):
		return &varError{quote(rule.Host) + " is a name within this network, whose sandboxes reach each other without a rule",
			"take the rule out; a network is shared by 'network.name'"}
	}
	return nil
}

// hostRule is how to write a rule for the same ports of this machine.
func hostRule(rule EgressRule) string {
	var ports []string
	for _, p := range rule.Ports {
		if p.First != p.Last {
			ports = nil
			break
		}
		ports = append(ports, strconv.Itoa(int(p.First)))
	}
	if ports == nil || rule.Proto == "icmp" {
		return "for a port of this machine write host:PORT"
	}
	text := "host:" + strings.Join(ports, ",")
	if rule.Proto != "" {
		text += "/" + rule.Proto
	}
	return "for this machine write `" + text + "`"
}

// schemePorts are those of the schemes that a URL may have.
var schemePorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21", "ssh": "22", "git": "9418", "dns": "53", "ldap": "389", "ldaps": "636", "postgres": "5432", "redis": "6379"}

// fromURL gives the destination that a URL means; "" for what is none.
func fromURL(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	where, port, has := cutPorts(rest)
	if !has {
		port = schemePorts[strings.ToLower(scheme)]
	}
	if strings.Contains(where, ":") && port != "" {
		where = "[" + where + "]"
	}
	if port != "" {
		where += ":" + port
	}
	if _, err := parseEgress(where); err != nil {
		return ""
	}
	return where
}

// asciiFix is what to write instead of a name with letters beyond ASCII; otherwise for any other.
func asciiFix(name, otherwise string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return otherwise
	}
	return "write it as the DNS has it, each such label beginning with xn--; 'idn2 NAME' prints that"
}
