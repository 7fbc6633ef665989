package egress

import "net/netip"

// Class sorts addresses by what opening them would mean.
type Class uint8

// The classes, from what a wide rule may open to what no rule may.
const (
	// Public is everything not listed below.
	Public Class = iota
	// Private is a network behind the same router: RFC 1918, RFC 4193,
	// carrier-grade NAT (RFC 6598), site-local, benchmarking (RFC 2544).
	Private
	// Loopback is the machine itself.
	Loopback
	// LinkLocal is one wire: 169.254.0.0/16, where clouds keep their metadata
	// services, and an address of such a service in IPv6.
	LinkLocal
	// Wrapped is an address that carries another one (6to4, Teredo,
	// IPv4-compatible): what it reaches is decided by somebody else's relay.
	Wrapped
	// Unroutable is what no flow may have as its destination: unspecified,
	// multicast, broadcast, reserved, and link-local in IPv6: that takes the name of
	// a link, which the sandbox's side of the gateway cannot know.
	Unroutable
)

func (c Class) String() string {
	return [...]string{"public", "private", "loopback", "link-local", "wrapped", "unroutable"}[c]
}

type classRange struct {
	prefix netip.Prefix
	class  Class
}

// ranges follow the IANA special-purpose registries (RFC 6890). The ranges for
// documentation are left public: they are unrouted, not dangerous.
var ranges = [...]classRange{
	{netip.PrefixFrom(v4(0, 0, 0, 0), 8), Unroutable},
	{netip.PrefixFrom(v4(10, 0, 0, 0), 8), Private},
	{netip.PrefixFrom(v4(100, 64, 0, 0), 10), Private},
	{netip.PrefixFrom(v4(127, 0, 0, 0), 8), Loopback},
	{netip.PrefixFrom(v4(169, 254, 0, 0), 16), LinkLocal},
	{netip.PrefixFrom(v4(172, 16, 0, 0), 12), Private},
	{netip.PrefixFrom(v4(192, 0, 0, 0), 24), Private},
	{netip.PrefixFrom(v4(192, 88, 99, 0), 24), Wrapped},
	{netip.PrefixFrom(v4(192, 168, 0, 0), 16), Private},
	{netip.PrefixFrom(v4(198, 18, 0, 0), 15), Private},
	{netip.PrefixFrom(v4(224, 0, 0, 0), 4), Unroutable},
	{netip.PrefixFrom(v4(240, 0, 0, 0), 4), Unroutable},
	{netip.PrefixFrom(v6(), 128), Unroutable},
	{netip.PrefixFrom(v6(15, 1), 128), Loopback},
	{netip.PrefixFrom(v6(), 96), Wrapped},                                  // IPv4-compatible, RFC 4291
	{netip.PrefixFrom(v6(8, 0xff, 9, 0xff), 96), Wrapped},                  // IPv4-translated, RFC 2765
	{netip.PrefixFrom(v6(1, 0x64, 2, 0xff, 3, 0x9b, 5, 1), 48), Private},   // local NAT64, RFC 8215
	{netip.PrefixFrom(v6(0, 0x01), 64), Unroutable},                        // discard, RFC 6666
	{netip.PrefixFrom(v6(0, 0x20, 1, 0x01), 32), Wrapped},                  // Teredo
	{netip.PrefixFrom(v6(0, 0x20, 1, 0x01, 3, 0x10), 28), Unroutable},      // ORCHID
	{netip.PrefixFrom(v6(0, 0x20, 1, 0x01, 3, 0x20), 28), Unroutable},      // ORCHIDv2
	{netip.PrefixFrom(v6(0, 0x20, 1, 0x02), 16), Wrapped},                  // 6to4
	{netip.PrefixFrom(v6(0, 0xfc), 7), Private},                            // unique local
	{netip.PrefixFrom(v6(0, 0xfe, 1, 0x80), 10), Unroutable},               // link-local, RFC 4291
	{netip.PrefixFrom(v6(0, 0xfe, 1, 0xc0), 10), Private},                  // site-local, RFC 3879
	{netip.PrefixFrom(v6(0, 0xff), 8), Unroutable},                         // multicast
	{netip.PrefixFrom(v6(0, 0xfd, 1, 0, 2, 0x0e, 3, 0xc2), 32), LinkLocal}, // fd00:ec2::254, a metadata address
}

// nat64 is the well-known prefix of RFC 6052: the address behind it is judged.
var nat64 = netip.PrefixFrom(v6(1, 0x64, 2, 0xff, 3, 0x9b), 96)

func v4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

// v6 makes an address from pairs of index and byte.
func v6(pairs ...byte) netip.Addr {
	var a [16]byte
	for i := 0; i+1 < len(pairs); i += 2 {
		a[pairs[i]] = pairs[i+1]
	}
	return netip.AddrFrom16(a)
}

// Classify gives an address's class and the special range it lies in (the zero
// prefix for public addresses).
func Classify(a netip.Addr) (Class, netip.Prefix) {
	a = Canonical(a)
	best := classRange{class: Public}
	for _, r := range ranges {
		if r.prefix.Contains(a) && (!best.prefix.IsValid() || r.prefix.Bits() >= best.prefix.Bits()) {
			best = r
		}
	}
	return best.class, best.prefix
}

// Canonical takes an address out of its IPv4-mapped or NAT64 wrapping and
// removes the zone, so that one destination has one spelling.
func Canonical(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() && nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}
