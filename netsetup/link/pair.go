package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"jail/netsetup/eth0"
	"jail/netsetup/rtnl"
)

// Pair describes the veth pair of a sandbox, seen from inside.
type Pair struct {
	Outer              string // the name of the gateway's end
	MAC, GatewayMAC    [6]byte
	MTU                int
	Addr4, Addr6       netip.Addr
	Gateway4, Gateway6 netip.Addr
	// Members of a shared network reach each other without passing the gateway.
	Shared4, Shared6 eth0.Shared
	// Group may send ICMP echo without capabilities (icmp(7), ping_group_range).
	Group int
}

// Connect makes the pair between the sandbox's namespace and the gateway's, and
// configures the inner end: addresses, neighbours, routes.
func Connect(sandbox, gateway *Space, p Pair) error {
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: p.Outer, MTU: p.MTU},
		PeerName:         eth0.Name,
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

// configure sets up eth0.
func (s *Space) configure(p Pair) error {
	six, routes := true, 0
	// All of them at once: going to the namespace's thread and back takes longer than writing one.
	err := s.Do(func() (err error) {
		for _, set := range eth0.Settings(p.Group) {
			_ = sysctl(set[0], set[1])
		}
		for _, set := range eth0.Settings6(eth0.Name) {
			six = six && sysctl(set[0], set[1]) == nil
		}
		routes, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	defer unix.Close(routes)
	link, err := s.nl.LinkByName(eth0.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", eth0.Name, err)
	}
	index := link.Attrs().Index
	var b rtnl.Batch
	b.Set(rtnl.Link{Index: index}, "bring up "+eth0.Name)
	eth0.Configure(&b, index, p.Addr4, p.Gateway4, p.Shared4, p.GatewayMAC[:])
	if six {
		eth0.Configure(&b, index, p.Addr6, p.Gateway6, p.Shared6, p.GatewayMAC[:])
	}
	return b.Send(routes)
}
