package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Pair describes the veth pair of a sandbox, seen from inside.
type Pair struct {
	Outer              string // the name of the gateway's end
	MAC, GatewayMAC    [6]byte
	MTU                int
	Addr4, Addr6       netip.Addr
	Gateway4, Gateway6 netip.Addr
	// Shared networks reach their members without passing the gateway.
	Peers4, Peers6 netip.Prefix
	// Group may send ICMP echo without capabilities (icmp(7), ping_group_range).
	Group int
}

// Inner is the name of the link inside.
const Inner = "eth0"

// Connect makes the pair between the sandbox's namespace and the gateway's, and
// configures the inner end: addresses, neighbours, routes.
func Connect(sandbox, gateway *Space, p Pair) error {
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: p.Outer, MTU: p.MTU},
		PeerName:         Inner,
		PeerHardwareAddr: net.HardwareAddr(p.MAC[:]),
		PeerMTU:          uint32(p.MTU),
		PeerNamespace:    netlink.NsFd(sandbox.File.Fd()),
	}
	if err := gateway.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the veth pair %s: %w%s", p.Outer, err, vethHint(err))
	}
	if err := gateway.nl.LinkSetUp(veth); err != nil {
		return fmt.Errorf("bring up %s: %w", p.Outer, err)
	}
	return sandbox.configure(p)
}

func vethHint(err error) string {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "\nthe kernel has no veth; load the module (modprobe veth)"
	}
	return ""
}

// configure sets up eth0. Neighbours are written down, so that neither side waits
// for ARP; there is no link-local address and no route to a subnet (but to the
// members of a shared network), so that every packet reaches the gateway, which
// answers for it at once.
func (s *Space) configure(p Pair) error {
	six := false
	// All of them at once: going to the namespace's thread and back takes longer than writing one.
	err := s.Do(func() error {
		group := fmt.Sprintf("%d %d", p.Group, p.Group)
		// Failing to widen these is no loss of protection: ping and ports below 1024
		// need a capability then. It happens where /proc/sys is read-only.
		_ = sysctl("ipv4/ping_group_range", group)
		_ = sysctl("ipv4/ip_unprivileged_port_start", "0")
		// Without an address of its own making (IN6_ADDR_GEN_MODE_NONE), nothing to
		// detect duplicates of and no router to look for.
		six = sysctl("ipv6/conf/"+Inner+"/addr_gen_mode", "1") == nil
		if !six {
			return nil
		}
		for _, k := range []string{"accept_ra", "accept_dad", "router_solicitations", "accept_redirects"} {
			if err := sysctl("ipv6/conf/"+Inner+"/"+k, "0"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	eth0, err := s.nl.LinkByName(Inner)
	if err != nil {
		return fmt.Errorf("find %s: %w", Inner, err)
	}
	index := eth0.Attrs().Index
	if err := s.nl.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("bring up %s: %w", Inner, err)
	}
	if err := s.family(index, p.Addr4, p.Gateway4, p.Peers4, p.GatewayMAC); err != nil {
		return err
	}
	if six {
		if err := s.family(index, p.Addr6, p.Gateway6, p.Peers6, p.GatewayMAC); err != nil {
			return err
		}
	}
	return nil
}

func (s *Space) family(index int, addr, gw netip.Addr, peers netip.Prefix, mac [6]byte) error {
	bits := addr.BitLen()
	own := &netlink.Addr{IPNet: ipnet(netip.PrefixFrom(addr, bits)), Flags: unix.IFA_F_NODAD}
	if err := s.nl.AddrAdd(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}, own); err != nil {
		return fmt.Errorf("give %s the address %s: %w", Inner, addr, err)
	}
	neigh := &netlink.Neigh{LinkIndex: index, IP: gw.AsSlice(), HardwareAddr: net.HardwareAddr(mac[:]), State: netlink.NUD_PERMANENT}
	if err := s.nl.NeighAdd(neigh); err != nil {
		return fmt.Errorf("write down the neighbour %s: %w", gw, err)
	}
	direct := []netip.Prefix{netip.PrefixFrom(gw, bits)}
	if peers.IsValid() {
		direct = append(direct, peers)
	}
	for _, d := range direct {
		r := &netlink.Route{LinkIndex: index, Dst: ipnet(d), Scope: netlink.SCOPE_LINK, Src: addr.AsSlice()}
		if err := s.nl.RouteAdd(r); err != nil {
			return fmt.Errorf("route %s over %s: %w", d, Inner, err)
		}
	}
	all := netip.PrefixFrom(zero(addr), 0)
	if err := s.nl.RouteAdd(&netlink.Route{LinkIndex: index, Dst: ipnet(all), Gw: gw.AsSlice(), Src: addr.AsSlice()}); err != nil {
		return fmt.Errorf("route %s over %s: %w", all, gw, err)
	}
	return nil
}

func zero(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
