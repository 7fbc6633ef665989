package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// network reads `network:`. It runs first, because the mode decides whether
// there is a net namespace.
func (r *resolver) network() {
	all := r.parts
	from := r.networkFrom()
	r.parts = slices.DeleteFunc(slices.Clone(all), func(p part) bool { return p.rank < from })
	in := mergeSection(r, "network", func(f *Fragment) *NetworkSection { return &f.Network }, noWithout)
	r.parts = all
	n := &r.out.Network
	if off, ok := r.cutOff(); ok {
		n.Mode = off
		return
	}
	n.Mode = in.Mode
	if !n.Mode.Set {
		n.Mode = Text{V: "none", Set: true, Origin: defaultOrigin}
	}
	n.Name, n.Uplink, n.Bridge, n.MACVLAN, n.IPVLAN, n.CNI, n.MAC = in.Name, in.Uplink, in.Bridge, in.MACVLAN, in.IPVLAN, in.CNI, in.MAC
	n.MTU = r.inRange(in.MTU, "network.mtu", 1280, 65520)
	if n.Name.Set && !validName(n.Name.V) {
		r.fail(n.Name.Origin, "network.name", quote(n.Name.V)+" is not a name", nameRule)
	}
	if n.Mode.V == "join" && !n.Name.Set {
		r.fail(n.Mode.Origin, "network.mode", "join does not say whose network", "add 'name: NAME', the name of a running sandbox")
	}
	r.dns(n, in.DNS)
	r.egress(n, from)
	r.publish(n, from)
	r.bandwidth(n, in.Bandwidth)
	r.links(n, &in)
	r.needsVeth(n, &in)
	r.projectEgress(n)
	if n.Mode.V == "veth" && !in.Egress.Set && len(n.Publish) == 0 && !n.Name.Set {
		r.warn(n.Mode.Origin, "network.mode", "veth without egress rules reaches nothing",
			"write 'egress: [{allow: NAME:PORT}]', or 'egress: []' when that is what you want")
	}
}

// networkFrom is the rank of the first file whose `network` counts: the one
// that sets mode to none or host, where that is the mode in the end. What earlier
// files say is for the network of their own that it has taken away.
func (r *resolver) networkFrom() int {
	for _, p := range slices.Backward(r.parts) {
		if m := p.Network.Mode; m.Set {
			if m.V == "none" || m.V == "host" {
				return p.rank
			}
			break
		}
	}
	return 0
}

// overNetwork are capabilities that act on a network namespace.
var overNetwork = []string{"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW"}

// deadCapabilities warns of capabilities that have no effect: a network with
// egress rules belongs to a user namespace above the program's.
func (r *resolver) deadCapabilities() {
	if r.out.Network.Mode.V != "veth" && r.out.Network.Mode.V != "join" {
		return
	}
	for _, c := range r.out.Capabilities {
		if slices.Contains(overNetwork, c.Name) {
			r.warn(c.Origin, "capabilities", c.Name+" has no effect with network.mode: "+r.out.Network.Mode.V+", where no program has power over its network",
				"take it out; ping and ports below 1024 need no capability there")
		}
	}
}

// needsVeth refuses keys that do nothing in the chosen mode: a profile with
// egress rules and no network of its own would look filtered and not be.
func (r *resolver) needsVeth(n *Network, in *NetworkSection) {
	if n.Mode.V == "veth" {
		return
	}
	refuse := func(set bool, o Origin, key string) {
		if set {
			r.fail(o, "network."+key, "has no effect with network.mode: "+n.Mode.V, "set network.mode: veth, or take "+key+" out")
		}
	}
	refuse(in.Egress.Set && n.Mode.V != "none", in.Egress.Origin, "egress")
	refuse(len(n.Egress) > 0 && n.Mode.V == "none", in.Egress.Origin, "egress")
	refuse(len(n.Publish) > 0, in.Publish.Origin, "publish")
	if in.Bandwidth != nil {
		refuse(true, in.Bandwidth.Origin, "bandwidth")
	}
	if n.Mode.V == "host" || n.Mode.V == "none" {
		refuse(n.Name.Set, n.Name.Origin, "name")
		if in.DNS != nil {
			refuse(true, in.DNS.Origin, "dns")
		}
	}
	refuse(n.Uplink.Set, n.Uplink.Origin, "uplink")
	refuse(in.Address.Set, in.Address.Origin, "address")
	refuse(n.Bridge.Set, n.Bridge.Origin, "bridge")
	refuse(n.MACVLAN.Set, n.MACVLAN.Origin, "macvlan")
	refuse(n.IPVLAN.Set, n.IPVLAN.Origin, "ipvlan")
	refuse(n.CNI.Set, n.CNI.Origin, "cni")
	refuse(n.MAC.Set, n.MAC.Origin, "mac")
	refuse(n.MTU.Set, n.MTU.Origin, "mtu")
}

func (r *resolver) publish(n *Network, from int) {
	items := mergeList(r, "network.publish",
		func(f *Fragment) *List[Item] { return &f.Network.Publish },
		func(f *Fragment) *List[Text] { return &f.Without.Publish },
		itemWhen, itemIs)
	for _, e := range active(items) {
		v := e.item.Value
		if !v.Set {
			continue
		}
		p, err := parsePublish(v.V)
		if err != nil {
			r.fail(v.Origin, e.key, err.cause, err.fix)
			continue
		}
		if e.rank < from {
			continue
		}
		p.Origin = v.Origin
		if i := slices.IndexFunc(n.Publish, func(o Publish) bool { return overlaps(o, p) }); i >= 0 {
			r.fail(v.Origin, e.key, "port "+strconv.Itoa(int(p.HostPort))+"/"+p.Proto+" of the host is published already by "+quote(n.Publish[i].Text)+" ("+n.Publish[i].Origin.String()+")", "choose another port")
			continue
		}
		n.Publish = append(n.Publish, p)
	}
}

// overlaps tells whether two entries would listen at one place. A wildcard
// address covers its own family; no address is both loopbacks.
func overlaps(a, b Publish) bool {
	if a.HostPort != b.HostPort || a.Proto != b.Proto {
		return false
	}
	return slices.ContainsFunc(a.listens(), func(x netip.Addr) bool {
		return slices.ContainsFunc(b.listens(), func(y netip.Addr) bool {
			return x == y || x.Is4() == y.Is4() && (x.IsUnspecified() || y.IsUnspecified())
		})
	})
}

func (p Publish) listens() []netip.Addr {
	if p.HostIP == "" {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return []netip.Addr{netip.MustParseAddr(p.HostIP)}
}

// parsePublish reads [ADDRESS:]PORT:PORT[/tcp|udp].
func parsePublish(s string) (Publish, *varError) {
	const fix = "as 8080:80, 127.0.0.1:8080:80/tcp or [::1]:8080:80"
	p := Publish{Text: s, Proto: "tcp"}
	rest, proto, has := strings.Cut(s, "/")
	if has {
		if proto != "tcp" && proto != "udp" {
			return p, &varError{"unknown protocol " + quote(proto) + " in " + quote(s), "tcp or udp"}
		}
		p.Proto = proto
	}
	inside := strings.LastIndexByte(rest, ':')
	if inside < 0 {
		return p, &varError{quote(s) + " does not name two ports", fix}
	}
	host, hostPort := "", rest[:inside]
	if i := strings.LastIndexByte(hostPort, ':'); i >= 0 {
		host, hostPort = hostPort[:i], hostPort[i+1:]
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		if err != nil {
			return p, &varError{quote(host) + " is not an address of the host", fix}
		}
		if addr.Zone() != "" {
			return p, &varError{quote(host) + " names a link of this machine", "leave out what stands behind %"}
		}
		p.HostIP = addr.Unmap().String()
	}
	var err *varError
	if p.HostPort, err = parsePort(hostPort); err == nil {
		p.Port, err = parsePort(rest[inside+1:])
	}
	if err != nil {
		return p, &varError{err.cause + " in " + quote(s), fix}
	}
	return p, nil
}

// Bounds of network.bandwidth. Below the least rate not one packet a second would pass, and above the largest and the
// longest the kernel's numbers (tc-tbf(8), tc-netem(8)) end. The network has the same bounds for those who write its
// configuration themselves.
const (
	leastRate, largestRate = 8000, 100_000_000_000
	longestDelay           = 10 * time.Second
)

func (r *resolver) bandwidth(n *Network, in *BandwidthSection) {
	if in == nil {
		return
	}
	n.Bandwidth.Down = r.number(in.Down, "network.bandwidth.down", parseLinkRate)
	n.Bandwidth.Up = r.number(in.Up, "network.bandwidth.up", parseLinkRate)
	if in.Delay.Set {
		d, err := parseDuration(in.Delay.V, false)
		if err == nil && d > longestDelay {
			err = &varError{quote(in.Delay.V) + " is longer than a packet can be held back", "from 0s to 10s"}
		}
		if err != nil {
			r.fail(in.Delay.Origin, "network.bandwidth.delay", err.cause, err.fix)
			return
		}
		n.Bandwidth.Delay.V, n.Bandwidth.Delay.Set, n.Bandwidth.Delay.Origin = d, true, in.Delay.Origin
	}
}

// parseLinkRate reads a rate that a link can have.
func parseLinkRate(s string) (int64, *varError) {
	n, err := parseBitrate(s)
	switch {
	case err != nil:
		return 0, err
	case n < leastRate:
		return 0, &varError{quote(s) + " is less than one packet a second", "write 8kbit/s or more"}
	case n > largestRate:
		return 0, &varError{quote(s) + " is more than a link can be limited to", "write 100Gbit/s or less, or leave the key out"}
	}
	return n, nil
}

func (r *resolver) dns(n *Network, in *DNSSection) {
	if in == nil {
		return
	}
	for i, t := range in.Servers.Items {
		if t.Set && !isServer(t.V) {
			r.fail(t.Origin, "network.dns.servers["+strconv.Itoa(i)+"]", quote(t.V)+" is not an address", "as 9.9.9.9, 2620:fe::fe or, with a port, 192.0.2.1:5353")
			continue
		}
		n.DNS.Servers = append(n.DNS.Servers, Named{t.V, t.Origin})
	}
	for i, t := range in.Search.Items {
		if cause := badHost(t.V); cause != "" && t.Set {
			r.fail(t.Origin, "network.dns.search["+strconv.Itoa(i)+"]", quote(t.V)+" is not a domain: "+cause, asciiFix(t.V, "as example.org"))
			continue
		}
		n.DNS.Search = append(n.DNS.Search, Named{t.V, t.Origin})
	}
	for _, e := range in.Hosts.Entries {
		key := "network.dns.hosts." + e.Key
		if cause := badHost(e.Key); cause != "" {
			r.fail(e.KeyOrigin, key, quote(e.Key)+" is not a name: "+cause, asciiFix(e.Key, "as db.example.org"))
			continue
		}
		if _, err := netip.ParseAddr(e.Value.V); err != nil && e.Value.Set {
			r.fail(e.Value.Origin, key, quote(e.Value.V)+" is not an address", "as 10.0.0.5")
			continue
		}
		n.DNS.Hosts = append(n.DNS.Hosts, HostName{strings.ToLower(e.Key), e.Value.V, e.Value.Origin})
	}
}

// isServer takes an address, alone or with a port.
func isServer(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	p, err := netip.ParseAddrPort(s)
	return err == nil && p.Port() != 0
}

// links checks what only root can have.
func (r *resolver) links(n *Network, in *NetworkSection) {
	kinds := 0
	for _, l := range [...]struct {
		Text
		key string
	}{{n.Bridge, "bridge"}, {n.MACVLAN, "macvlan"}, {n.IPVLAN, "ipvlan"}, {n.CNI, "cni"}} {
		if !l.Set {
			continue
		}
		if kinds++; kinds > 1 {
			r.fail(l.Origin, "network."+l.key, "more than one of bridge, macvlan, ipvlan and cni", "keep one of them")
		}
		r.rootOnly(l.Text, "network."+l.key)
		if l.key == "cni" {
			if !validName(l.V) {
				r.fail(l.Origin, "network.cni", quote(l.V)+" is not a name", nameRule)
			}
			continue
		}
		r.hostLink(l.Text, l.key)
	}
	lan := n.Bridge.Set || n.MACVLAN.Set || n.IPVLAN.Set
	for i, t := range in.Address.Items {
		if t.Set {
			r.address(n, t, "network.address["+strconv.Itoa(i)+"]", lan)
		}
	}
	for _, l := range [...]struct {
		Text
		key string
	}{{n.Bridge, "bridge"}, {n.MACVLAN, "macvlan"}, {n.IPVLAN, "ipvlan"}} {
		if l.Set && !in.Address.Set && r.host.UID == 0 {
			r.fail(l.Origin, "network."+l.key, "the sandbox needs an address on it", "add 'address: [10.1.2.3/24]', one that nobody there has")
		}
	}
	if n.Uplink.Set && kinds > 0 {
		r.fail(n.Uplink.Origin, "network.uplink", "a second way out beside bridge, macvlan, ipvlan or cni", "keep one of them")
	} else if n.Uplink.V == "nat" {
		r.rootOnly(n.Uplink, "network.uplink")
	}
	if n.MAC.Set && !validMAC(n.MAC.V) {
		r.fail(n.MAC.Origin, "network.mac", quote(n.MAC.V)+" is not a hardware address of one machine", "as 02:00:00:00:00:01")
	}
}

// address takes one address of the sandbox's own.
func (r *resolver) address(n *Network, t Text, key string, lan bool) {
	p, err := netip.ParsePrefix(t.V)
	r.rootOnly(t, key)
	switch {
	case err != nil:
		r.fail(t.Origin, key, quote(t.V)+" is not an address with its length", "as 10.1.2.3/24")
		return
	case p.Bits() < p.Addr().BitLen()-1 && p.Addr() == p.Masked().Addr():
		r.fail(t.Origin, key, quote(t.V)+" is the number of a network, not of a machine in it", "as 10.1.2.3/24")
		return
	case !p.Addr().IsGlobalUnicast():
		r.fail(t.Origin, key, "no machine can have the address "+quote(t.V), "as 10.1.2.3/24")
		return
	case !lan:
		r.fail(t.Origin, key, "there is no link to have the address on", "add bridge, macvlan or ipvlan with the name of one")
	}
	for _, have := range n.Addresses {
		if o := netip.MustParsePrefix(have.Name); o.Addr().Is4() == p.Addr().Is4() {
			r.fail(t.Origin, key, "a second address beside "+quote(have.Name)+" ("+have.Origin.String()+")", "at most one IPv4 and one IPv6 address")
			return
		}
	}
	n.Addresses = append(n.Addresses, Named{p.String(), t.Origin})
}

func (r *resolver) rootOnly(t Text, key string) {
	if r.host.UID != 0 {
		r.fail(t.Origin, key, "only root can have it", "take it out; an ordinary user's network needs no address or link of the host")
	}
}

// hostLink checks a link of the host. Names are at most 15 bytes (IFNAMSIZ). What kind of link it is, the start asks the
// kernel (netlink): the files that tell, in /sys/class/net, are those of the network namespace that sysfs was mounted in,
// which in a container may be another. /proc/sys/net is that of whoever looks.
func (r *resolver) hostLink(t Text, kind string) {
	const links = "/proc/sys/net/ipv4/conf"
	key := "network." + kind
	switch {
	case len(t.V) > 15 || !validName(t.V):
		r.fail(t.Origin, key, quote(t.V)+" is not the name of a link", "'ip link' lists them")
	case r.look.walk(links).err == nil && r.look.walk(links+"/"+t.V).err != nil:
		r.fail(t.Origin, key, "this machine has no link "+quote(t.V), "'ip link' lists them")
	}
}

// validMAC takes six bytes in hexadecimal that are no group address.
func validMAC(s string) bool {
	parts := strings.Split(s, ":")
	for i, p := range parts {
		b, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) != 2 || i == 0 && b&1 != 0 {
			return false
		}
	}
	return len(parts) == 6
}
