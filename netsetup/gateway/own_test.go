package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestOwnAddrs compares the addresses at which the host answers with those that the kernel has routes to itself for, in a
// network namespace with every kind of network.
func TestOwnAddrs(t *testing.T) {
	if os.Getenv("JAIL_TEST_OWN") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOwnAddrs$", "-test.v")
		cmd.Env = append(os.Environ(), "JAIL_TEST_OWN=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOwnAddrs") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	makeNetworks(t)
	have, err := readHearers()
	if err != nil {
		t.Fatal(err)
	}
	want := hearers{}
	for _, line := range strings.Fields(`
		127.0.0.1 ::1 127.0.0.0 127.255.255.255=all
		203.0.113.241 203.0.113.240 203.0.113.255=all 203.0.113.250=all
		192.0.2.1 198.51.100.8 198.51.100.15=all
		192.0.2.10 192.0.2.12 192.0.2.16 192.0.2.19=all
		2001:db8:6::1 2001:db8:6:: 2001:db8:6::77 2001:db8:7::1 2001:db8:8::1`) {
		addr, all := strings.CutSuffix(line, "=all")
		want[netip.MustParseAddr(addr)] = all
	}
	if !maps.Equal(have, want) {
		t.Errorf("the host answers at\n%v\nnot at\n%v", have, want)
	}
	o := ownAddrs{}
	for _, c := range []struct {
		addr           string
		own, broadcast bool
	}{
		{"203.0.113.241", true, false}, {"203.0.113.255", true, true}, {"2001:db8:6::", true, false},
		{"203.0.113.242", false, false}, {"192.0.2.11", false, false}, {"2001:db8:7::", false, false},
	} {
		if own, broadcast := o.look(netip.MustParseAddr(c.addr)); own != c.own || broadcast != c.broadcast {
			t.Errorf("%s: own %t, broadcast %t", c.addr, own, broadcast)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[int]int{}
	for _, r := range routes {
		to, _ := netip.ParsePrefix(r.Dst.String())
		if !to.IsSingleIP() || r.Type == unix.RTN_MULTICAST {
			continue // 127.0.0.0/8 and ff00::/8
		}
		kinds[r.Type]++
		if all, known := have[to.Addr()]; !known || r.Type == unix.RTN_BROADCAST && !all && to.Addr() != netip.PrefixFrom(to.Addr(), 28).Masked().Addr() {
			t.Errorf("the kernel has a route of type %d to %s, which is missing", r.Type, to)
		}
	}
	if kinds[unix.RTN_LOCAL] < 7 || kinds[unix.RTN_BROADCAST] < 4 || kinds[unix.RTN_ANYCAST] < 1 {
		t.Errorf("the kernel has too few routes to itself to prove anything: by type %v", kinds)
	}
}

// makeNetworks gives this network namespace links with addresses.
func makeNetworks(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0))
	must(os.WriteFile("/proc/sys/net/ipv6/conf/default/forwarding", []byte("1"), 0))
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a0"}, PeerName: "a1"}))
	var links []netlink.Link
	for _, name := range []string{"lo", "a1", "a0"} {
		l, err := netlink.LinkByName(name)
		must(err)
		must(netlink.LinkSetUp(l))
		links = append(links, l)
	}
	a0 := links[2]
	for _, c := range []struct{ addr, peer, broadcast string }{
		{addr: "203.0.113.241/28", broadcast: "203.0.113.250"},
		{addr: "192.0.2.1/32", peer: "198.51.100.9/29", broadcast: "198.51.100.15"},
		{addr: "192.0.2.10/31"}, {addr: "192.0.2.12/32"}, {addr: "192.0.2.16/30"}, // which is its network's number
		{addr: "2001:db8:6::1/64"}, {addr: "2001:db8:7::1/127"}, {addr: "2001:db8:8::1/128"},
	} {
		a, err := netlink.ParseAddr(c.addr)
		must(err)
		if c.peer != "" {
			peer, err := netlink.ParseAddr(c.peer)
			must(err)
			a.Peer = peer.IPNet
		}
		a.Flags, a.Broadcast = unix.IFA_F_NODAD, net.ParseIP(c.broadcast).To4()
		if a.IP.To4() != nil {
			a.Flags = 0
		}
		must(netlink.AddrAdd(a0, a))
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // until this process ends
	must(err)
	must(unix.SetsockoptIPv6Mreq(fd, unix.SOL_IPV6, unix.IPV6_JOIN_ANYCAST, &unix.IPv6Mreq{
		Multiaddr: netip.MustParseAddr("2001:db8:6::77").As16(), Interface: uint32(a0.Attrs().Index),
	}))
}

// A socket for datagrams to one address sends none to all of a network: not even when only a route of the host's says that
// it is one.
func TestNoBroadcast(t *testing.T) {
	c, err := dialUDP(netip.MustParseAddrPort("127.255.255.255:9"))
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("a broadcast address: %v", err)
	}
	control, err := net.Dial("udp", "127.255.255.255:9")
	if err != nil {
		t.Fatalf("the control run is refused too, so this proves nothing: %v", err)
	}
	control.Close()
	if c, err = dialUDP(netip.MustParseAddrPort("127.0.0.1:9")); err != nil {
		t.Fatal(fmt.Errorf("an address of one host: %w", err))
	}
	c.Close()
}
