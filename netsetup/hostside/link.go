package hostside

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/netsetup/firewall"
	"jail/netsetup/link"
)

// makeLink makes the way out that a configuration asks for, with one end in a
// namespace. The link goes with that namespace.
func makeLink(c *netsetup.Config, netns *os.File) (*netsetup.Uplink, func(), error) {
	switch {
	case c.Bridge != "":
		up, err := onBridge(c, netns)
		return up, nothing, err
	case c.MACVLAN != "":
		up, err := onLink(c, netns, "macvlan", c.MACVLAN, func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE}
		})
		return up, nothing, err
	case c.IPVLAN != "":
		up, err := onLink(c, netns, "ipvlan", c.IPVLAN, func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L2}
		})
		return up, nothing, err
	}
	return behindNAT(c, netns)
}

// pair makes a veth pair between the host and a namespace. The host's name for it
// is like no other.
func pair(netns *os.File, mtu int) (*netlink.Veth, net.HardwareAddr, error) {
	inner := make(net.HardwareAddr, 6)
	outer := make(net.HardwareAddr, 6)
	for range 16 {
		var id [5]byte
		_, _ = rand.Read(id[:]) // does not fail (crypto/rand)
		copy(inner, append([]byte{0x52}, id[:]...))
		copy(outer, append([]byte{0x56}, id[:]...))
		v := &netlink.Veth{
			LinkAttrs:        netlink.LinkAttrs{Name: "jail" + hex.EncodeToString(id[:]), MTU: mtu, HardwareAddr: outer},
			PeerName:         netsetup.UplinkName,
			PeerHardwareAddr: inner,
			PeerMTU:          uint32(mtu),
			PeerNamespace:    netlink.NsFd(netns.Fd()),
		}
		err := netlink.LinkAdd(v)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("make a veth pair on the host: %w", err)
		}
		return v, inner, nil
	}
	return nil, nil, errors.New("make a veth pair on the host: no free name")
}

// hostSysctl writes a setting of a link that jail has made.
func hostSysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set net/%s to %s: %w", name, value, err)
	}
	return nil
}

// hostLink finds a link of the host that a configuration names.
func hostLink(c *netsetup.Config, key, name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil, fmt.Errorf("%snetwork %s: this machine has no link %q\n'ip link' lists them", c.Origin(key), key, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%snetwork %s: find %s: %w", c.Origin(key), key, name, err)
	}
	return l, nil
}

// onBridge puts a port on a bridge of the host.
func onBridge(c *netsetup.Config, netns *os.File) (*netsetup.Uplink, error) {
	br, err := hostLink(c, "bridge", c.Bridge)
	if err != nil {
		return nil, err
	}
	if br.Type() != "bridge" {
		return nil, fmt.Errorf("%snetwork bridge: %s is a %s, not a bridge\n'ip link show type bridge' lists them", c.Origin("bridge"), c.Bridge, br.Type())
	}
	up, err := lan(c, "bridge", br)
	if err != nil {
		return nil, err
	}
	v, _, err := pair(netns, up.MTU)
	if err != nil {
		return nil, err
	}
	// The host's end is a port and nothing else: no address of its own making.
	err = hostSysctl("ipv6/conf/"+v.Name+"/disable_ipv6", "1")
	if err == nil {
		err = netlink.LinkSetMaster(v, br)
	}
	if err == nil {
		err = netlink.LinkSetUp(v)
	}
	if err != nil {
		return nil, fmt.Errorf("%snetwork bridge: put %s on %s: %w", c.Origin("bridge"), v.Name, c.Bridge, err)
	}
	return up, nil
}

// onLink makes a link on top of one of the host's.
func onLink(c *netsetup.Config, netns *os.File, key, name string, kind func(netlink.LinkAttrs) netlink.Link) (*netsetup.Uplink, error) {
	parent, err := hostLink(c, key, name)
	if err != nil {
		return nil, err
	}
	up, err := lan(c, key, parent)
	if err != nil {
		return nil, err
	}
	l := kind(netlink.LinkAttrs{Name: netsetup.UplinkName, ParentIndex: parent.Attrs().Index, Namespace: netlink.NsFd(netns.Fd())})
	if err := netlink.LinkAdd(l); err != nil {
		hint := ""
		if errors.Is(err, unix.EOPNOTSUPP) {
			hint = "\nthe kernel has no " + key + " links; load the module (modprobe " + key + ")"
		}
		return nil, fmt.Errorf("%snetwork %s: on %s: %w%s", c.Origin(key), key, name, err, hint)
	}
	return up, nil
}

// lan is a way out under addresses of the sandbox's own.
func lan(c *netsetup.Config, key string, l netlink.Link) (*netsetup.Uplink, error) {
	addrs, err := c.Addresses()
	if err != nil {
		return nil, err
	}
	have, err := link.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	up := &netsetup.Uplink{Way: key, Link: netsetup.UplinkName, MTU: l.Attrs().MTU, Addresses: addrs, Entry: l.Attrs().Index, Shared: true}
	for _, p := range addrs {
		for _, h := range have {
			if a, ok := netip.AddrFromSlice(h.IP); ok && a.Unmap() == p.Addr() {
				return nil, fmt.Errorf("%snetwork address %s: the host itself has it\nchoose one that nobody has", c.Origin("address"), p.Addr())
			}
		}
		if next := nextHop(l, p, have); next.IsValid() {
			up.Next = append(up.Next, next)
		}
	}
	return up, nil
}

// nextHop is where packets go from an address on a link: to the host's own next hop on
// it, or else to the host itself, if it has an address there.
func nextHop(l netlink.Link, p netip.Prefix, have []netlink.Addr) netip.Addr {
	family := netlink.FAMILY_V4
	if p.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := link.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: l.Attrs().Index}, netlink.RT_FILTER_OIF)
	})
	if err == nil {
		for _, r := range routes {
			ones := 0
			if r.Dst != nil {
				ones, _ = r.Dst.Mask.Size()
			}
			if gw, ok := netip.AddrFromSlice(r.Gw); ok && ones == 0 && p.Contains(gw.Unmap()) {
				return gw.Unmap()
			}
		}
	}
	for _, h := range have {
		if a, ok := netip.AddrFromSlice(h.IP); ok && h.LinkIndex == l.Attrs().Index && p.Contains(a.Unmap()) {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// Ranges of which each gateway behind NAT has one address, the first of which no
// route of the host runs into. They differ from those inside (netsetup.NewPlan).
var natRanges = []string{"10.214.0.0/16", "172.31.214.0/24", "192.168.214.0/24", "100.127.214.0/24"}

const natRange6 = "fd6a:6169:6c6e::/112"

// Next hops on a link behind NAT. The host has no address on it: a neighbour entry
// that is written down is enough.
var (
	natNext4 = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	natNext6 = netip.AddrFrom16([16]byte{0xfe, 0x80, 15: 1})
)

// behindNAT makes a link of the gateway's own, with the host's addresses in front of it.
func behindNAT(c *netsetup.Config, netns *os.File) (*netsetup.Uplink, func(), error) {
	if !forwards("ipv4/conf/all/forwarding") {
		return nil, nothing, fmt.Errorf("%snetwork uplink nat: this host forwards no packets\n'sysctl -w net.ipv4.ip_forward=1' lets it; uplink: builtin needs no forwarding", c.Origin("uplink"))
	}
	mtu, six := defaultLink()
	six = six && forwards("ipv6/conf/all/forwarding")
	v, inner, err := pair(netns, mtu)
	if err != nil {
		return nil, nothing, err
	}
	up := &netsetup.Uplink{Way: "nat", Link: netsetup.UplinkName, MTU: mtu, NextMAC: v.HardwareAddr, Entry: v.Index}
	fail := func(err error) (*netsetup.Uplink, func(), error) {
		_ = netlink.LinkDel(v)
		return nil, nothing, err
	}
	for _, s := range []string{"ipv6/conf/%s/accept_ra=0", "ipv6/conf/%s/addr_gen_mode=1", "ipv4/conf/%s/forwarding=1"} {
		name, value, _ := strings.Cut(fmt.Sprintf(s, v.Name), "=")
		if err := hostSysctl(name, value); err != nil {
			return fail(err)
		}
	}
	if err := netlink.LinkSetUp(v); err != nil {
		return fail(fmt.Errorf("bring up %s: %w", v.Name, err))
	}
	four, err := claim(v, freeRange())
	if err != nil {
		return fail(err)
	}
	claimed := []netip.Addr{four}
	up.Next = append(up.Next, natNext4)
	if six {
		a, err := claim(v, netip.MustParsePrefix(natRange6))
		if err != nil {
			return fail(err)
		}
		claimed, up.Next = append(claimed, a), append(up.Next, natNext6)
	}
	for _, a := range claimed {
		up.Addresses = append(up.Addresses, netip.PrefixFrom(a, a.BitLen()))
		n := &netlink.Neigh{LinkIndex: v.Index, IP: a.AsSlice(), HardwareAddr: inner, State: netlink.NUD_PERMANENT}
		if err := netlink.NeighSet(n); err != nil {
			return fail(fmt.Errorf("write down the neighbour %s: %w", a, err))
		}
	}
	table, err := firewall.Masquerade(v.Name, claimed)
	if err != nil {
		return fail(err)
	}
	return up, table.Close, nil
}

func forwards(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/" + name)
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// defaultLink gives the MTU of the way out of the host, and whether it has one for IPv6.
func defaultLink() (mtu int, six bool) {
	mtu = 1500
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := link.Whole(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		})
		if err != nil || len(routes) == 0 {
			continue
		}
		if family == netlink.FAMILY_V6 {
			six = true
		}
		if l, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil && family == netlink.FAMILY_V4 {
			mtu = max(l.Attrs().MTU, 1280)
		}
	}
	return mtu, six
}

// freeRange is the first range that no route of the host runs into, other than those of
// gateways like this one.
func freeRange() netip.Prefix {
	routes := netsetup.HostRoutes()
	for _, s := range natRanges {
		r := netip.MustParsePrefix(s)
		free := true
		for _, have := range routes {
			free = free && (!r.Overlaps(have) || have.Bits() == 32)
		}
		if free {
			return r
		}
	}
	return netip.MustParsePrefix(natRanges[0])
}

// claim takes an address by adding the route to it: the kernel adds the route to an
// address once (NLM_F_EXCL), so no two gateways have the same, and it goes with the
// link.
func claim(v *netlink.Veth, from netip.Prefix) (netip.Addr, error) {
	for range 256 {
		var b [2]byte
		_, _ = rand.Read(b[:])
		a := from.Addr().AsSlice()
		a[len(a)-1] = b[0]
		if from.Addr().BitLen()-from.Bits() >= 16 {
			a[len(a)-2] = b[1]
		}
		ip, _ := netip.AddrFromSlice(a)
		if b[0] == 0 || b[0] == 255 {
			continue
		}
		r := &netlink.Route{LinkIndex: v.Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: a, Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}}
		err := netlink.RouteAdd(r)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return ip, fmt.Errorf("route %s over %s: %w", ip, v.Name, err)
		}
		return ip, nil
	}
	return netip.Addr{}, fmt.Errorf("the range %s has no free address", from)
}
