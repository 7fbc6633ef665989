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
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"jail/netsetup/egress"
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
	checkRoutes(t)
}

// checkRoutes looks for what only a route makes the host's own, in a namespace with the networks below.
func checkRoutes(t *testing.T) {
	t.Helper()
	for _, r := range []string{
		"local 203.0.113.64/28 dev lo src 192.0.2.12 table local", "local 203.0.113.80/28 dev lo table 100", "unicast 203.0.113.96/28 dev a0",
		"broadcast 203.0.113.96/32 dev a0 table local", "blackhole 203.0.113.112/28", "prohibit 203.0.113.128/28", "unreachable 203.0.113.144/28",
		"throw 203.0.113.160/28", "local 203.0.113.176/32 dev lo table 101", "local 203.0.113.192/32 dev lo table 102",
		"local 2001:db8:77::/64 dev lo table local", "local 2001:db8:78::/64 dev lo table 100", "anycast 2001:db8:79::1/128 dev lo table local",
		"unreachable 2001:db8:7a::/64", "unicast 2001:db8:7b::/64 dev a0", "unicast 203.0.113.176/28 dev a0", "10.9.9.9 dev a1",
	} {
		addRoute(t, r)
	}
	for _, r := range []string{"-4 rule add lookup 100", "-6 rule add lookup 100", "-4 rule add from 10.9.9.9 iif a1 lookup 101", "-4 rule add ipproto tcp dport 8080 lookup 102"} {
		if out, err := exec.Command("ip", strings.Fields(r)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", r, err, out)
		}
	}
	a1, err := netlink.LinkByName("a1")
	if err != nil {
		t.Fatal(err)
	}
	fromSocket := &ownAddrs{}
	forwarded := &ownAddrs{entry: a1.Attrs().Index, senders: []netip.Prefix{netip.MustParsePrefix("10.9.9.9/32")}}
	for _, c := range []struct {
		from           *ownAddrs
		to             string
		own, broadcast bool
	}{
		{fromSocket, "203.0.113.241:80", true, false}, {fromSocket, "203.0.113.255:80", true, true}, {fromSocket, "[2001:db8:6::]:80", true, false},
		{fromSocket, "203.0.113.242:80", false, false}, {fromSocket, "192.0.2.11:80", false, false}, {fromSocket, "[2001:db8:7::]:80", false, false},
		{fromSocket, "203.0.113.65:80", true, false}, {fromSocket, "203.0.113.81:80", true, false}, {fromSocket, "203.0.113.97:80", false, false},
		{fromSocket, "203.0.113.96:80", true, true}, {fromSocket, "203.0.113.113:80", false, false}, {fromSocket, "203.0.113.129:80", false, false},
		{fromSocket, "203.0.113.145:80", false, false}, {fromSocket, "203.0.113.161:80", false, false},
		{fromSocket, "203.0.113.176:80", false, false}, {forwarded, "203.0.113.176:80", true, false},
		{fromSocket, "203.0.113.192:80", false, false}, {fromSocket, "203.0.113.192:8080", true, false}, {forwarded, "203.0.113.65:80", true, false},
		{fromSocket, "[2001:db8:77::5]:80", true, false}, {fromSocket, "[2001:db8:78::5]:80", true, false}, {fromSocket, "[2001:db8:79::1]:80", true, false},
		{fromSocket, "[2001:db8:7a::5]:80", false, false}, {fromSocket, "[2001:db8:7b::5]:80", false, false},
	} {
		if own, broadcast := c.from.look(egress.TCP, netip.MustParseAddrPort(c.to)); own != c.own || broadcast != c.broadcast {
			t.Errorf("%s: own %t, broadcast %t", c.to, own, broadcast)
		}
	}
	// A route that comes later is heeded as soon as an address of a link would be.
	late := netip.MustParseAddrPort("203.0.113.98:80")
	if own, _ := fromSocket.look(egress.TCP, late); own {
		t.Errorf("%s is the host's own already", late)
	}
	addRoute(t, "local 203.0.113.98/32 dev lo table local")
	begun := time.Now()
	for own := false; !own; own, _ = fromSocket.look(egress.TCP, late) {
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("%s is not the host's own after %v", late, time.Since(begun))
		}
		time.Sleep(10 * time.Millisecond)
	}
	for port := range uint16(2 * maxSaid) {
		fromSocket.look(egress.UDP, netip.AddrPortFrom(late.Addr().Prev(), port))
	}
	if n := len(fromSocket.said); n == 0 || n > maxSaid {
		t.Errorf("%d answers of the kernel are kept", n)
	}
	// A kernel that cannot be asked: a socket takes a descriptor.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	listed := &ownAddrs{have: fromSocket.have, at: time.Now()}
	for _, o := range []*ownAddrs{{}, listed} {
		if own, _ := o.look(egress.TCP, netip.MustParseAddrPort("203.0.113.97:80")); !own {
			t.Error("what cannot be found out does not count as the host's own")
		}
	}
}

// addRoute adds one in the words of ip(8).
func addRoute(t *testing.T, words string) {
	t.Helper()
	f := strings.Fields("route add " + words)
	if strings.Contains(words, "::") {
		f = append([]string{"-6"}, f...)
	}
	if out, err := exec.Command("ip", f...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(f, " "), err, out)
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
