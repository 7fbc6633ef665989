package netsetup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"jail/netsetup/egress"
)

// Config is a sandbox's network, as the annotation dev.jail.network holds it
// (docs/network.md describes the JSON).
type Config struct {
	// Mode is none, host, veth or join. Only veth and join need this package.
	Mode string `json:"mode"`
	// Name is the sandbox whose network to use (join), or the named network
	// to share (veth; empty for one of its own).
	Name string `json:"name,omitempty"`
	// Egress are the rules in order. None: nothing may leave.
	Egress    []egress.Rule `json:"egress"`
	Publish   []Publish     `json:"publish,omitempty"`
	Bandwidth *Bandwidth    `json:"bandwidth,omitempty"`
	DNS       *DNS          `json:"dns,omitempty"`
	// Uplink is builtin (also when empty), nat (root only), pasta or slirp4netns.
	Uplink string `json:"uplink,omitempty"`
	// MTU and MAC are those of eth0 inside; zero and empty for the default.
	MTU int    `json:"mtu,omitempty"`
	MAC string `json:"mac,omitempty"`

	// For root.
	Address []string `json:"address,omitempty"` // as 10.1.2.3/24
	Bridge  string   `json:"bridge,omitempty"`
	MACVLAN string   `json:"macvlan,omitempty"`
	IPVLAN  string   `json:"ipvlan,omitempty"`
	CNI     string   `json:"cni,omitempty"`

	// Origins are the places (file:line:column) of keys, for messages.
	Origins map[string]string `json:"origins,omitempty"`
}

// Publish leads a port of the host inside.
type Publish struct {
	// Address is the host's; empty for its loopback, both 127.0.0.1 and ::1.
	Address  string `json:"address,omitempty"`
	HostPort uint16 `json:"host-port"`
	Port     uint16 `json:"port"`
	// Proto is tcp or udp.
	Proto  string `json:"proto"`
	Text   string `json:"text,omitempty"`
	Origin string `json:"origin,omitempty"`
}

// Bandwidth limits speed.
type Bandwidth struct {
	// Down and Up are bits a second; 0 is no limit.
	Down int64 `json:"down,omitempty"`
	Up   int64 `json:"up,omitempty"`
	// Delay is added to every packet, in each direction, as a Go duration.
	Delay string `json:"delay,omitempty"`
}

// DNS says how names are resolved.
type DNS struct {
	// Servers are asked instead of those in the host's resolv.conf. A port may
	// follow: 192.0.2.1:5353, [2001:db8::1]:5353.
	Servers []string `json:"servers,omitempty"`
	// Search are the domains to try for short names.
	Search []string `json:"search,omitempty"`
	// Hosts are fixed addresses by name. They make a name known; reaching it
	// takes an egress rule like any other.
	Hosts map[string][]string `json:"hosts,omitempty"`
}

// Parse reads the annotation. Unknown keys are an error: a rule that is not
// understood must not be left out.
func Parse(annotation string) (*Config, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(annotation)))
	d.DisallowUnknownFields()
	c := &Config{}
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("annotation dev.jail.network: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("annotation dev.jail.network: text follows the object")
	}
	return c, c.Validate()
}

// Validate checks everything that can be checked without the machine.
func (c *Config) Validate() error {
	switch c.Mode {
	case "none", "host", "veth":
	case "join":
		if c.Name == "" {
			return fmt.Errorf("network mode join: the name of a running sandbox is missing")
		}
	default:
		return fmt.Errorf("network mode %q is not none, host, veth or join", c.Mode)
	}
	if c.Mode != "veth" {
		if len(c.Egress) > 0 || len(c.Publish) > 0 {
			return fmt.Errorf("network mode %s takes no egress rules and publishes nothing\nset the mode to veth", c.Mode)
		}
		return nil
	}
	if c.Name != "" {
		if err := CheckName(c.Name); err != nil {
			return fmt.Errorf("%snetwork: %w", c.Origin("name"), err)
		}
	}
	if _, err := egress.Compile(c.Egress); err != nil {
		return err
	}
	if err := checkPublish(c.Publish); err != nil {
		return err
	}
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > MaxMTU) {
		return fmt.Errorf("mtu %d is not between 1280 and %d", c.MTU, MaxMTU)
	}
	if c.Bandwidth != nil {
		if err := c.Bandwidth.check(); err != nil {
			return err
		}
	}
	switch c.Uplink {
	case "", "builtin", "nat", "pasta", "slirp4netns":
	default:
		return fmt.Errorf("uplink %q is not builtin, nat, pasta or slirp4netns", c.Uplink)
	}
	if err := c.checkLinks(); err != nil {
		return err
	}
	return c.DNS.check()
}

// CheckName checks the name of a sandbox or a network. Strict, for it becomes
// part of a path and of a host name (CVE-2025-24965 came of a loose one).
func CheckName(s string) error {
	if len(s) > 63 {
		return fmt.Errorf("name %q is longer than 63 characters", s)
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("name %q: %q is not a letter, a digit, or one of \"-_.\" after the first", s, c)
		}
	}
	if s == "" {
		return fmt.Errorf("name is empty")
	}
	return nil
}

func checkPublish(ps []Publish) error {
	type port struct {
		addr  netip.Addr
		port  uint16
		proto string
	}
	seen := map[port]Publish{}
	for _, p := range ps {
		fail := func(format string, a ...any) error {
			return fmt.Errorf("%spublish %s: %w", place(p.Origin), p, fmt.Errorf(format, a...))
		}
		if p.HostPort == 0 || p.Port == 0 {
			return fail("ports go from 1 to 65535")
		}
		if p.Proto != "tcp" && p.Proto != "udp" {
			return fail("protocol %q is not tcp or udp", p.Proto)
		}
		addrs, err := p.Addresses()
		if err != nil {
			return fail("%w", err)
		}
		for _, a := range addrs {
			for _, b := range []netip.Addr{a, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
				if other, taken := seen[port{b, p.HostPort, p.Proto}]; taken && (b == a || b.Is4() == a.Is4()) {
					return fail("overlaps with %s", other)
				}
			}
			seen[port{a, p.HostPort, p.Proto}] = p
		}
	}
	for k, p := range seen {
		for other := range seen {
			if k.addr.IsUnspecified() && other != k && other.port == k.port && other.proto == k.proto && other.addr.Is4() == k.addr.Is4() {
				return fmt.Errorf("%spublish %s: overlaps with %s", place(p.Origin), p, seen[other])
			}
		}
	}
	return nil
}

// Addresses are the host's addresses that a publish entry listens on.
func (p Publish) Addresses() ([]netip.Addr, error) {
	if p.Address == "" {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	a, err := netip.ParseAddr(p.Address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", p.Address, err)
	}
	return []netip.Addr{a.Unmap()}, nil
}

func (p Publish) String() string {
	if p.Text != "" {
		return p.Text
	}
	return fmt.Sprintf("%s:%d:%d/%s", p.Address, p.HostPort, p.Port, p.Proto)
}

// place is a prefix for a message about something at origin.
func place(origin string) string {
	if origin == "" {
		return ""
	}
	return origin + ": "
}

// check has the bounds that the policy has for network.bandwidth.
func (b *Bandwidth) check() error {
	if b.Down < 0 || b.Up < 0 {
		return fmt.Errorf("bandwidth: a limit below zero has no meaning")
	}
	for _, r := range []int64{b.Down, b.Up} {
		if r > 0 && r < 8000 {
			return fmt.Errorf("bandwidth: %d bit/s is less than one packet a second\nwrite 8kbit/s or more", r)
		}
		if r > 100_000_000_000 {
			return fmt.Errorf("bandwidth: %d bit/s is more than a link can be limited to\nwrite 100Gbit/s or less, or no limit", r)
		}
	}
	d, err := b.Latency()
	if err == nil && (d < 0 || d > 10*time.Second) {
		err = fmt.Errorf("bandwidth: delay %s is not between 0 and 10s", d)
	}
	return err
}

// Latency is Delay as a duration.
func (b *Bandwidth) Latency() (time.Duration, error) {
	if b.Delay == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(b.Delay)
	if err != nil {
		return 0, fmt.Errorf("bandwidth: delay %q: not a duration such as 50ms", b.Delay)
	}
	return d, nil
}

func (d *DNS) check() error {
	if d == nil {
		return nil
	}
	for _, s := range d.Servers {
		if _, err := ParseServer(s); err != nil {
			return err
		}
	}
	for _, s := range d.Search {
		if _, err := egress.CleanName(s); err != nil {
			return fmt.Errorf("dns search: %w", err)
		}
	}
	for name, addrs := range d.Hosts {
		if _, err := egress.CleanName(name); err != nil {
			return fmt.Errorf("dns hosts: %w", err)
		}
		for _, a := range addrs {
			if _, err := netip.ParseAddr(a); err != nil {
				return fmt.Errorf("dns hosts %s: address %q: %w", name, a, err)
			}
		}
	}
	return nil
}

// ParseServer reads a resolver's address, with port 53 where none is given.
func ParseServer(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return ap, fmt.Errorf("dns server %q is neither an address nor an address with a port", s)
	}
	return ap, nil
}
