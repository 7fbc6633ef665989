package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// specialRanges are the networks that no wide rule opens, as the egress rules of
// docs/network.md have it: only a rule for `private`, or one whose network lies
// inside such a range.
var specialRanges = [...]string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:10::/28", "2001:20::/28", "2002::/16",
	"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::/32",
}

// specialBits is the length of the narrowest special range that holds a network,
// or 0 where none does.
func specialBits(p netip.Prefix) int {
	bits := 0
	for _, text := range specialRanges {
		if s := netip.MustParsePrefix(text); holds(s, p) {
			bits = max(bits, s.Bits())
		}
	}
	return bits
}

// holds tells whether all of p lies in a network.
func holds(network, p netip.Prefix) bool {
	return network.Bits() <= p.Bits() && network.Contains(p.Addr())
}

// covers tells whether rule b decides nothing behind rule a: a has decided
// everything that b speaks of. pinned are the names with an address of the
// profile's own, which a rule for the name opens wherever it lies.
//
// A denial closes all that it names. A grant opens less: `any` and wide networks
// leave special ranges and this machine's own addresses out, and where it names
// no port also those of other resolvers. A denial behind a grant is covered as
// soon as it takes nothing away from what the grant has opened.
func covers(a, b EgressRule, pinned []HostName) bool {
	if a.Proto != "" && a.Proto != b.Proto || !coversPorts(a, b) {
		return false
	}
	switch {
	case a.Group == "any" && !a.Allow:
		return true
	case a.Group == "any":
		return anyCovers(b, pinned)
	case a.Group != "":
		return a.Group == b.Group
	case a.Host != "":
		return nameCovers(a.Host, b.Host)
	case b.Prefix == "":
		return false
	}
	x, y := netip.MustParsePrefix(a.Prefix), netip.MustParsePrefix(b.Prefix)
	switch {
	case x.Bits() > y.Bits() || !x.Contains(y.Addr()):
		return false
	case !a.Allow || x == y && (x.Bits() > 0 || b.Allow):
		return true
	case b.Allow && y.IsSingleIP():
		return false // it may be this machine's own
	case y.Bits() == 0:
		return false // a denial is for what the grant does not open
	}
	return x.Bits() >= specialBits(y)
}

// anyCovers tells whether `allow: any` leaves a rule nothing to decide.
func anyCovers(b EgressRule, pinned []HostName) bool {
	switch {
	case b.Group == "any":
		return b.Allow // a denial is for what `any` does not open
	case b.Group != "":
		return false
	case b.Host != "":
		return !b.Allow || !slices.ContainsFunc(pinned, func(h HostName) bool { return nameCovers(b.Host, h.Name) })
	}
	p := netip.MustParsePrefix(b.Prefix)
	if b.Allow && p.IsSingleIP() || !b.Allow && p.Bits() == 0 {
		return false
	}
	return specialBits(p) == 0
}

func nameCovers(a, b string) bool {
	suffix, wild := strings.CutPrefix(a, "*")
	return a == b || wild && b != "" && strings.HasSuffix(b, suffix)
}

func coversPorts(a, b EgressRule) bool {
	if len(a.Ports) == 0 {
		resolver := func(p PortRange) bool { return p.First <= 53 && 53 <= p.Last || p.First <= 853 && 853 <= p.Last }
		return !a.Allow || !slices.ContainsFunc(b.Ports, resolver)
	}
	if len(b.Ports) == 0 {
		return false
	}
	for _, p := range b.Ports {
		if !slices.ContainsFunc(a.Ports, func(q PortRange) bool { return q.First <= p.First && p.Last <= q.Last }) {
			return false
		}
	}
	return true
}
