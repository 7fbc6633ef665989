package netsetup

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"jail/netsetup/egress"
)

// MaxMTU is the most a link inside can have: a frame of it still fits into the
// 65,535 bytes that a TAP device and a virtio header can say.
const MaxMTU = 65520

// defaultMTU makes packets large: both ends are on this machine, the stack in
// between ends TCP, and a packet costs the same whatever its size.
const defaultMTU = MaxMTU

// HostName is the name inside of the host's loopback, as far as rules open it.
const HostName = "host.jail.internal"

// Domain is what the names of a named network's sandboxes end in.
const Domain = ".jail.internal"

// Plan is what a sandbox's network looks like: everything that can be known
// before a namespace exists.
type Plan struct {
	Subnet4, Subnet6   netip.Prefix
	Gateway4, Gateway6 netip.Addr
	// Host4 and Host6 stand for the host's loopback.
	Host4, Host6 netip.Addr
	// Addr4 and Addr6 are the sandbox's own.
	Addr4, Addr6 netip.Addr
	// Up4 and Up6 are the network between the gateway and a program that is the way out.
	// They are that program's: it keeps doors to the host there, and no flow may have them as its destination.
	Up4, Up6 netip.Prefix
	// CallerIsRoot is set when the caller's ids are 0 in the user namespace that owns the network.
	CallerIsRoot        bool
	GatewayMAC, MAC     [6]byte
	MTU                 int
	Hostname            string
	ResolvConf, HostsIn []byte
}

// Foresee gives the plan of a network of the sandbox's own, without making anything.
func Foresee(c *Config, hostname string) (*Plan, error) {
	return NewPlan(c, HostRoutes(), hostname)
}

// candidates for the sandbox's IPv4 network, most out of the way first.
func candidates() []netip.Prefix {
	var out []netip.Prefix
	for i := range 64 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte(i), 0}), 24))
	}
	for i := range 16 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + i), 213, 0}), 24))
	}
	for i := range 256 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 24))
	}
	for i := range 64 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + i), 213, 0}), 24))
	}
	return out
}

// upRange6 is Plan.Up6: libslirp knows no other than its own (slirp4netns(1), --enable-ipv6).
var upRange6 = map[string]netip.Prefix{
	"pasta":       netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x6a, 0x61, 0x69, 0x6c, 0x75}), 64),
	"slirp4netns": netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd}), 64),
}

// NewPlan chooses addresses that collide with none of the host's routes and
// none of the rules' own destinations.
func NewPlan(c *Config, routes []netip.Prefix, hostname string) (*Plan, error) {
	taken := slices.Clone(routes)
	for _, r := range c.Egress {
		// A wide rule such as 10.0.0.0/8 must not make every candidate taken.
		if p, err := egress.ParsePrefix(r.Prefix); err == nil && p.Bits() > 16 {
			taken = append(taken, p)
		}
	}
	p := &Plan{MTU: c.MTU, CallerIsRoot: c.callerIsRoot()}
	for _, s := range candidates() {
		switch {
		case slices.ContainsFunc(taken, s.Overlaps):
			continue
		case !p.Subnet4.IsValid():
			p.Subnet4 = s
			continue
		case c.ByProgram():
			p.Up4 = s
		}
		break
	}
	if !p.Subnet4.IsValid() {
		return nil, fmt.Errorf("network: every private IPv4 range that jail knows is routed by this host")
	}
	for i := range 256 {
		s := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x6a, 0x61, 0x69, 0x6c, 0, 0, byte(i)}), 64)
		if !slices.ContainsFunc(taken, func(t netip.Prefix) bool { return t.Bits() > 8 && s.Overlaps(t) }) {
			p.Subnet6 = s
			break
		}
	}
	if !p.Subnet6.IsValid() {
		return nil, fmt.Errorf("network: every IPv6 range that jail knows is routed by this host")
	}
	if c.ByProgram() {
		if !p.Up4.IsValid() {
			return nil, fmt.Errorf("network: every private IPv4 range that jail knows but one is routed by this host")
		}
		p.Up6 = upRange6[c.Uplink]
	}
	p.Gateway4, p.Gateway6 = Nth(p.Subnet4, 1), Nth(p.Subnet6, 1)
	p.Host4, p.Host6 = Nth(p.Subnet4, 254), Nth(p.Subnet6, 254)
	p.GatewayMAC = macOf(p.Gateway4)
	if p.MTU == 0 {
		p.MTU = defaultMTU
	}
	return p, p.Place(c, 2, hostname)
}

// Place gives the sandbox the nth address.
func (p *Plan) Place(c *Config, n byte, hostname string) error {
	p.Hostname = hostname
	p.Addr4, p.Addr6 = Nth(p.Subnet4, n), Nth(p.Subnet6, n)
	p.MAC = macOf(p.Addr4)
	if c.MAC != "" {
		m, err := net.ParseMAC(c.MAC)
		if err != nil || len(m) != 6 {
			return fmt.Errorf("mac %q is not six bytes in hexadecimal", c.MAC)
		}
		if m[0]&1 != 0 {
			return fmt.Errorf("mac %q is a group address\nmake the second digit even", c.MAC)
		}
		p.MAC = [6]byte(m)
	}
	if p.Hostname == "" {
		p.Hostname = "jail"
	}
	p.ResolvConf = p.resolvConf(c)
	p.HostsIn = p.hosts(c)
	return nil
}

func (p *Plan) resolvConf(c *Config) []byte {
	s := "nameserver " + p.Gateway4.String() + "\n"
	if c.DNS != nil && len(c.DNS.Search) > 0 {
		s += "search " + strings.Join(c.DNS.Search, " ") + "\n"
	}
	return []byte(s)
}

func (p *Plan) hosts(c *Config) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "%s %s\n%s %s\n", p.Addr4, p.Hostname, p.Addr6, p.Hostname)
	fmt.Fprintf(&b, "%s %s\n", p.Host4, HostName)
	if c.DNS != nil {
		names := make([]string, 0, len(c.DNS.Hosts))
		for n := range c.DNS.Hosts {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			for _, a := range c.DNS.Hosts[n] {
				fmt.Fprintf(&b, "%s %s\n", a, n)
			}
		}
	}
	return []byte(b.String())
}

// Nth is an address of a network, counted from its first.
func Nth(p netip.Prefix, n byte) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-1] += n
	a, _ := netip.AddrFromSlice(b)
	return a
}

// macOf derives a locally administered address, so that neighbour entries can
// be written down beforehand and no ARP has to be waited for.
func macOf(a netip.Addr) [6]byte {
	b := a.As4()
	return [6]byte{0x52, 0x6a, b[0], b[1], b[2], b[3]}
}

// DefaultRoutes tells whether this network namespace has a default route, by family.
func DefaultRoutes() (four, six bool) {
	b, _ := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		four = four || len(f) >= 8 && f[1] == "00000000" && f[7] == "00000000"
	}
	b, _ = os.ReadFile("/proc/net/ipv6_route")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		// The kernel itself has one on the loopback, which refuses.
		six = six || len(f) >= 10 && f[1] == "00" && f[0] == strings.Repeat("0", 32) && f[9] != "lo"
	}
	return four, six
}

// HostRoutes reads the destinations this network namespace routes, default
// routes aside. The two files cost a tenth of a netlink dump's library.
func HostRoutes() []netip.Prefix {
	var out []netip.Prefix
	if b, err := os.ReadFile("/proc/net/route"); err == nil {
		out = append(out, parseRoutes4(string(b))...)
	}
	if b, err := os.ReadFile("/proc/net/ipv6_route"); err == nil {
		out = append(out, parseRoutes6(string(b))...)
	}
	return out
}

// parseRoutes4 reads /proc/net/route: numbers in hexadecimal, in the byte order
// of the machine (proc(5)).
func parseRoutes4(s string) []netip.Prefix {
	var out []netip.Prefix
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		dst, err1 := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		if err1 != nil || err2 != nil || mask == 0 {
			continue
		}
		var d, m [4]byte
		binary.NativeEndian.PutUint32(d[:], uint32(dst))
		binary.NativeEndian.PutUint32(m[:], uint32(mask))
		ones, _ := net.IPMask(m[:]).Size()
		out = append(out, netip.PrefixFrom(netip.AddrFrom4(d), ones))
	}
	return out
}

func parseRoutes6(s string) []netip.Prefix {
	var out []netip.Prefix
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		dst, err := hex.DecodeString(f[0])
		bits, err2 := strconv.ParseUint(f[1], 16, 8)
		if err != nil || err2 != nil || len(dst) != 16 || bits == 0 || bits > 128 {
			continue
		}
		out = append(out, netip.PrefixFrom(netip.AddrFrom16([16]byte(dst)), int(bits)))
	}
	return out
}
