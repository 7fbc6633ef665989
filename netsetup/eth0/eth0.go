// Package eth0 says what the link inside a sandbox has: settings, addresses, routes. jail itself gives it all that
// where the gateway comes with the first packet, and the gateway where it makes the links.
package eth0

import (
	"net/netip"
	"strconv"

	"jail/netsetup/rtnl"
)

// Name is the link's.
const Name = "eth0"

// Settings are those of the sandbox's namespace, with their names below /proc/sys/net. Failing to make them is no loss of
// protection: ping and ports below 1024 need a capability then. It happens where /proc/sys is read-only.
// group may send ICMP echo without capabilities (icmp(7), ping_group_range).
func Settings(group int) [][2]string {
	g := strconv.Itoa(group)
	return [][2]string{{"ipv4/ping_group_range", g + " " + g}, {"ipv4/ip_unprivileged_port_start", "0"}}
}

// Settings6 are those without which the link is to have no IPv6 address: no address of its own making
// (IN6_ADDR_GEN_MODE_NONE), nothing to detect duplicates of and no router to look for. link is the link's name, or
// "default" for links that are still to be made.
func Settings6(link string) [][2]string {
	at := "ipv6/conf/" + link + "/"
	return [][2]string{{at + "addr_gen_mode", "1"}, {at + "accept_ra", "0"}, {at + "accept_dad", "0"}, {at + "router_solicitations", "0"}, {at + "accept_redirects", "0"}}
}

// Shared is what is particular to the members of a shared network, for one family. Its zero value is no such network.
type Shared struct {
	Peers netip.Prefix // where the members have their addresses
	Host  netip.Addr   // among these, the one that stands for the host's loopback
}

// Configure adds the requests for one family, for the link of that number. The neighbour is written down, so that neither
// side waits for ARP. There is no link-local address and no route to a subnet, so that every packet reaches the gateway,
// which answers for it at once.
//
// Members of a shared network send to each other, and find out each other's hardware address by ARP (RFC 826) or neighbour
// discovery (RFC 4861). The gateway answers neither, so that the host's address there needs a route of its own, over
// the gateway. At an address that no member has the kernel gives up after some seconds: EHOSTUNREACH (arp(7), mcast_solicit
// and retrans_time).
func Configure(b *rtnl.Batch, index int, own, gateway netip.Addr, shared Shared, mac []byte) {
	bits := own.BitLen()
	b.Address(index, netip.PrefixFrom(own, bits), "give eth0 the address "+own.String())
	b.Neighbour(index, gateway, mac, "write down the neighbour "+gateway.String())
	b.Route(index, netip.PrefixFrom(gateway, bits), netip.Addr{}, own, "route "+gateway.String()+" over eth0")
	if shared.Peers.IsValid() {
		b.Route(index, shared.Peers, netip.Addr{}, own, "route "+shared.Peers.String()+" over eth0")
		b.Route(index, netip.PrefixFrom(shared.Host, bits), gateway, own, "route "+shared.Host.String()+" over eth0")
	}
	all := netip.IPv4Unspecified()
	if own.Is6() {
		all = netip.IPv6Unspecified()
	}
	b.Route(index, netip.PrefixFrom(all, 0), gateway, own, "route everything over eth0")
}
