package netsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Routed reports whether the kernel forwards the packets, over a link of the gateway's
// namespace, instead of the userspace stack.
func (c *Config) Routed() bool { return c.Way() != "" }

// OnHost reports whether that link leads to the host, which only root can make.
func (c *Config) OnHost() bool { return c.Routed() && !c.ByProgram() }

// ByProgram reports whether another program is at the link's far end.
func (c *Config) ByProgram() bool { return c.Uplink == "pasta" || c.Uplink == "slirp4netns" }

// Way is what a configuration asks for instead of the userspace stack: nat, bridge, macvlan,
// ipvlan, cni, pasta or slirp4netns; empty for none.
func (c *Config) Way() string {
	switch {
	case c.ByProgram():
		return c.Uplink
	case c.Bridge != "":
		return "bridge"
	case c.MACVLAN != "":
		return "macvlan"
	case c.IPVLAN != "":
		return "ipvlan"
	case c.CNI != "":
		return "cni"
	case c.Uplink == "nat":
		return "nat"
	}
	return ""
}

// Uplink is what the host's side has made for a gateway that routes: a link in the
// gateway's namespace, and what to do with it.
type Uplink struct {
	Way  string `json:"way"`
	Link string `json:"link"`
	MTU  int    `json:"mtu"`
	// Addresses are for the link, Next the next hops, at most one a family.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Next      []netip.Addr   `json:"next,omitempty"`
	// NextMAC is the hardware address of the next hops; nil where they answer for
	// themselves.
	NextMAC []byte `json:"next-mac,omitempty"`
	// Entry is the number of the host's link by which packets come to the host; 0 where it is not known.
	Entry int `json:"entry,omitempty"`
	// Shared is set on a link with other machines, on which an address may be taken.
	Shared bool `json:"shared,omitempty"`
	// Ready is set when the link has its addresses and routes already.
	Ready bool `json:"ready,omitempty"`
}

// The gateway process of a routed network is started by a host process, which has root's
// capabilities on the host and makes the link there. They talk over a socket pair:
//
//	gateway (in a user namespace of its own)   host process
//	Request{uplink} + memfd(Setup), namespace  ->
//	                                           <-  Reply{uplink}     (or an error)
//	(ends)                                         takes away what the kernel does not, ends

// HostFD is the gateway's end.
const HostFD = 7

// Arguments that tell a gateway program what to be.
const (
	HostArg   = "host"
	RoutedArg = "routed"
)

// UplinkName is the way out in the gateway's namespace.
const UplinkName = "up0"

// uplinkPackages are the Debian packages of the programs that can be a way out.
var uplinkPackages = map[string]string{"pasta": "passt", "slirp4netns": "slirp4netns"}

// uplinkProgram finds the program that a configuration names, and what it needs; the
// empty path where it names none.
func (c *Config) uplinkProgram() (string, error) {
	if !c.ByProgram() {
		return "", nil
	}
	path, err := exec.LookPath(c.Uplink)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%snetwork uplink %s: the program is not installed\ninstall the package %s, or take the key out: jail's own way out needs no program", c.Origin("uplink"), c.Uplink, uplinkPackages[c.Uplink])
	}
	if err != nil {
		return "", fmt.Errorf("%snetwork uplink %s: %w", c.Origin("uplink"), c.Uplink, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("%snetwork uplink %s: it needs /dev/net/tun: %w\ntake the key out: jail's own way out does without", c.Origin("uplink"), c.Uplink, err)
	}
	_ = unix.Close(fd)
	return path, nil
}

// callerIsRoot reports whether the caller's ids are 0 in the gateway's user namespace.
// slirp4netns becomes root of it to sandbox itself; elsewhere they are what they are outside.
func (c *Config) callerIsRoot() bool { return c.Uplink == "slirp4netns" }

// checkLinks checks the keys that only root can have.
func (c *Config) checkLinks() error {
	links := 0
	for _, l := range []string{c.Bridge, c.MACVLAN, c.IPVLAN, c.CNI} {
		if l != "" {
			links++
		}
	}
	if links > 1 {
		return fmt.Errorf("network: more than one of bridge, macvlan, ipvlan and cni\nkeep one of them")
	}
	if links > 0 && c.Uplink != "" {
		return fmt.Errorf("network: uplink %s and %s are two ways out\nkeep one of them", c.Uplink, c.Way())
	}
	lan := c.Bridge != "" || c.MACVLAN != "" || c.IPVLAN != ""
	if lan && len(c.Address) == 0 {
		return fmt.Errorf("%snetwork %s: the sandbox needs an address on it\nwrite address: [10.1.2.3/24]", c.Origin(c.Way()), c.Way())
	}
	if !lan && len(c.Address) > 0 {
		return fmt.Errorf("%snetwork address: it takes a link to have it on\nadd bridge, macvlan or ipvlan", c.Origin("address"))
	}
	_, err := c.Addresses()
	return err
}

// Addresses are those of the sandbox on the host's link, at most one a family.
func (c *Config) Addresses() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range c.Address {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%snetwork address %q: not an address with its length\nas 10.1.2.3/24", c.Origin("address"), s)
		case p.Bits() < p.Addr().BitLen()-1 && p.Addr() == p.Masked().Addr():
			return nil, fmt.Errorf("%snetwork address %s: it is the network's own number, not a machine's", c.Origin("address"), s)
		case !p.Addr().IsGlobalUnicast():
			return nil, fmt.Errorf("%snetwork address %s: no machine can have it", c.Origin("address"), s)
		}
		for _, o := range out {
			if o.Addr().Is4() == p.Addr().Is4() {
				return nil, fmt.Errorf("%snetwork address %s: beside %s it is one too many\ngive at most one IPv4 and one IPv6 address", c.Origin("address"), s, o)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// Origin is the place of one of the section's keys, as a prefix for a message.
func (c *Config) Origin(key string) string { return place(c.Origins[key]) }
