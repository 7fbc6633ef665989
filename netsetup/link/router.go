package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Hub is the link to the sandboxes in a gateway that routes.
const Hub = bridgeName

// Router makes a gateway's namespace one that forwards, with a bridge for the
// sandboxes that has the gateway's addresses.
func (g *Space) Router(mtu int, mac [6]byte, addrs []netip.Prefix) error {
	for _, s := range [][2]string{
		// The resolver's port, and those of the host below 1024: nothing but the gateway is in its namespace.
		{"ipv4/ip_unprivileged_port_start", "0"},
		{"ipv4/ip_forward", "1"}, {"ipv4/conf/all/rp_filter", "1"}, {"ipv4/conf/default/rp_filter", "1"},
		{"ipv4/conf/all/send_redirects", "0"}, {"ipv4/conf/default/send_redirects", "0"},
		{"ipv4/conf/all/accept_redirects", "0"}, {"ipv4/conf/all/arp_ignore", "1"}, {"ipv4/conf/all/arp_announce", "2"},
		{"ipv6/conf/all/forwarding", "1"}, {"ipv6/conf/all/accept_redirects", "0"}, {"ipv6/conf/default/accept_ra", "0"},
	} {
		if err := g.Sysctl(s[0], s[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// For the figures of flows alone.
	_ = g.Sysctl("netfilter/nf_conntrack_acct", "1")
	if err := g.Bridge(mtu); err != nil {
		return err
	}
	br, err := g.nl.LinkByName(bridgeName)
	if err == nil {
		err = g.nl.LinkSetHardwareAddr(br, net.HardwareAddr(mac[:]))
	}
	if err != nil {
		return fmt.Errorf("hardware address of the bridge: %w", err)
	}
	for _, a := range addrs {
		if err := g.address(br, a, unix.IFA_F_NODAD); err != nil {
			return err
		}
	}
	return nil
}

func (g *Space) address(l netlink.Link, a netip.Prefix, flags int) error {
	own := &netlink.Addr{IPNet: ipnet(a), Flags: flags}
	if err := g.nl.AddrAdd(l, own); err != nil {
		return fmt.Errorf("give %s the address %s: %w", l.Attrs().Name, a, err)
	}
	return nil
}

// Neighbour writes down who has an address on a link.
func (g *Space) Neighbour(name string, a netip.Addr, mac []byte) error {
	l, err := g.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	n := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: a.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
	if err := g.nl.NeighSet(n); err != nil {
		return fmt.Errorf("write down the neighbour %s: %w", a, err)
	}
	return nil
}

// SetMTU sets the size of a link's packets.
func (g *Space) SetMTU(name string, mtu int) error {
	l, err := g.nl.LinkByName(name)
	if err == nil {
		err = g.nl.LinkSetMTU(l, mtu)
	}
	if err != nil {
		return fmt.Errorf("set the MTU of %s to %d: %w", name, mtu, err)
	}
	return nil
}

// Outer brings up the way out: its addresses, and its next hops with their
// hardware address where it is known. On a link that is shared with other machines an
// address that one of them has is an error that wraps [ErrTaken].
func (g *Space) Outer(name string, addrs []netip.Prefix, next []netip.Addr, mac []byte, shared bool) error {
	l, err := g.nl.LinkByName(name)
	if err == nil {
		_ = g.Sysctl("ipv6/neigh/"+name+"/retrans_time_ms", "200") // how long an address is looked for
		err = g.nl.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	for _, a := range addrs {
		if shared {
			err = g.share(l, a)
		} else {
			err = g.address(l, a, unix.IFA_F_NODAD)
		}
		if err != nil {
			return err
		}
	}
	for _, a := range next {
		if mac != nil {
			if err := g.Neighbour(name, a, mac); err != nil {
				return err
			}
		}
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Gw: a.AsSlice(), Dst: ipnet(netip.PrefixFrom(zero(a), 0)), Flags: int(netlink.FLAG_ONLINK)}
		if err := g.nl.RouteAdd(r); err != nil {
			return fmt.Errorf("route over %s: %w", a, err)
		}
	}
	return nil
}

// share takes an address on a link that is shared with other machines. The kernel takes the link of a sandbox that has ended
// away only some time later, so that a sandbox begun again may hear the one before it: whoever answers has to go on doing so.
func (g *Space) share(l netlink.Link, a netip.Prefix) error {
	for end := time.Now().Add(takenTime); ; {
		err := g.takeShared(l, a)
		if !errors.Is(err, ErrTaken) || time.Now().After(end) {
			return err
		}
		time.Sleep(probeTime / 3)
	}
}

// takenTime is how long an address has to be another's to be refused.
const takenTime = 3 * time.Second

func (g *Space) takeShared(l netlink.Link, a netip.Prefix) error {
	if a.Addr().Is4() {
		if err := g.probe(l, a.Addr()); err != nil {
			return err
		}
		return g.address(l, a, unix.IFA_F_NODAD)
	}
	if err := g.address(l, a, 0); err != nil {
		return err
	}
	err := g.settled(l, a.Addr())
	if errors.Is(err, ErrTaken) {
		if err := g.nl.AddrDel(l, &netlink.Addr{IPNet: ipnet(a)}); err != nil {
			return fmt.Errorf("take the address %s away from %s: %w", a, l.Attrs().Name, err)
		}
	}
	return err
}

// ErrTaken means that another machine answers for an address.
var ErrTaken = errors.New("another machine has this address")

// probeTime is for the answers to a probe. RFC 5227 waits for seconds; on the links of
// one host, or of one switch, an answer takes a millisecond.
const probeTime = 300 * time.Millisecond

// probe asks by ARP who has an IPv4 address (RFC 5227, section 2.1.1).
func (g *Space) probe(l netlink.Link, a netip.Addr) error {
	return g.Do(func() error {
		proto := uint16(unix.ETH_P_ARP)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(proto<<8|proto>>8))
		if err != nil {
			return fmt.Errorf("look for %s: %w", a, err)
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: l.Attrs().Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: l.Attrs().Index}); err != nil {
			return fmt.Errorf("look for %s: %w", a, err)
		}
		own := l.Attrs().HardwareAddr
		ask := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, lengths, request
		ask = append(ask, own...)
		ask = append(ask, make([]byte, 4+6)...) // no sender address yet, no target hardware address
		ask = append(ask, a.AsSlice()...)
		end := time.Now().Add(probeTime)
		for sent := 0; time.Now().Before(end); sent++ {
			if sent%2 == 0 {
				if err := unix.Sendto(fd, ask, 0, to); err != nil {
					return fmt.Errorf("look for %s: %w", a, err)
				}
			}
			tv := unix.NsecToTimeval(int64(probeTime / 6))
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
				return err
			}
			answer := make([]byte, 64)
			n, _, err := unix.Recvfrom(fd, answer, 0)
			if err == nil && n >= 28 && binary.BigEndian.Uint16(answer[2:]) == 0x0800 &&
				[4]byte(answer[14:18]) == a.As4() && [6]byte(answer[8:14]) != [6]byte(own) {
				return fmt.Errorf("%s: %w (%s)", a, ErrTaken, net.HardwareAddr(answer[8:14]))
			}
		}
		return nil
	})
}

// settleTime is for the kernel's own search, which takes a second and waits for its turn behind every network that is
// being taken down.
const settleTime = 20 * time.Second

// settled waits until the kernel has looked for an IPv6 address (RFC 4862, section 5.4).
func (g *Space) settled(l netlink.Link, a netip.Addr) error {
	for end := time.Now().Add(settleTime); time.Now().Before(end); time.Sleep(probeTime / 6) {
		addrs, err := Whole(func() ([]netlink.Addr, error) { return g.nl.AddrList(l, netlink.FAMILY_V6) })
		if err != nil {
			return fmt.Errorf("addresses of %s: %w", l.Attrs().Name, err)
		}
		for _, x := range addrs {
			if got, _ := netip.AddrFromSlice(x.IP); got != a {
				continue
			}
			switch {
			case x.Flags&unix.IFA_F_DADFAILED != 0:
				return fmt.Errorf("%s: %w", a, ErrTaken)
			case x.Flags&unix.IFA_F_TENTATIVE == 0:
				return nil
			}
		}
	}
	return fmt.Errorf("%s: the kernel does not say whether another machine has it", a)
}

// Flows lists the connections that stand in the namespace.
func (g *Space) Flows() ([]*netlink.ConntrackFlow, error) {
	var out []*netlink.ConntrackFlow
	err := g.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			some, err := Whole(func() ([]*netlink.ConntrackFlow, error) { return h.ConntrackTableList(netlink.ConntrackTable, family) })
			if err != nil {
				return err
			}
			out = append(out, some...)
		}
		return nil
	})
	return out, err
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
