package net_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long a probe waits before it counts as a time-out; refusals are
// to come well before.
const patience = 6 * time.Second

// probeRole makes attempts, each an argument such as "tcp 203.0.113.10:80", and
// prints for each whether it reached anything and how long that took.
func probeRole(attempts []string) int {
	readNames()
	for _, a := range attempts {
		begin := time.Now()
		f := strings.Fields(os.ExpandEnv(a))
		probe := probes[f[0]]
		if probe == nil {
			return failed(fmt.Errorf("unknown probe %q", a))
		}
		err := probe(f[1:]...)
		what := "reached"
		if err != nil {
			what = "refused"
		}
		fmt.Printf("%s\t%s\t%d\t%v\n", what, a, time.Since(begin).Milliseconds(), err)
	}
	return 0
}

// readNames finds the gateway's and the host's address inside where the caller does not say them.
func readNames() {
	if os.Getenv("GATEWAY4") != "" {
		return
	}
	for _, f := range [][3]string{{"/etc/resolv.conf", "GATEWAY4", "nameserver "}, {"/etc/hosts", "HOST4", " host.jail.internal"}} {
		text, _ := os.ReadFile(f[0])
		for line := range strings.Lines(string(text)) {
			if value := strings.Replace(strings.TrimSpace(line), f[2], "", 1); value != strings.TrimSpace(line) {
				_ = os.Setenv(f[1], value)
				break
			}
		}
	}
}

var probes = map[string]func(...string) error{
	"tcp":      func(a ...string) error { return hello("tcp", a[0]) },
	"tcp4":     func(a ...string) error { return hello("tcp4", a[0]) },
	"tcp6":     func(a ...string) error { return hello("tcp6", a[0]) },
	"twice":    twice,
	"udp":      func(a ...string) error { return datagram(a[0], 10) },
	"bigudp":   func(a ...string) error { return datagram(a[0], 60000) },
	"heard":    heard,
	"lookup":   lookup,
	"query":    func(a ...string) error { return query("udp", a[0], a[1], dns.TypeA) },
	"querytcp": func(a ...string) error { return query("tcp", a[0], a[1], dns.TypeA) },
	"https":    func(a ...string) error { return query("udp", a[0], a[1], dns.TypeHTTPS) },
	"any":      func(a ...string) error { return query("udp", a[0], a[1], dns.TypeANY) },
	"ping":     ping,
	"abstract": func(a ...string) error { return hello("unix", "@"+a[0]) },
	"raw":      func(...string) error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
	"raw6":     func(...string) error { return socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW) },
	"packet":   func(...string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"addaddr":  addAddress,
	"addroute": addRoute,
	"setmac":   setMAC,
	"neigh":    addNeighbour,
	"dummy": func(...string) error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "x0"}, PeerName: "x1"})
	},
	"sysctl":   func(a ...string) error { return os.WriteFile("/proc/sys/net/"+a[0], []byte(a[1]), 0) },
	"freebind": freebind,
	"tproxy":   transparent,
	"mark":     mark,
	"sctp":     func(a ...string) error { return socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP) },
	"joinhost": joinHost,
	"mapped":   mapped,
	"serve":    serve,
	"listen":   listen,
}

func hello(network, addr string) error {
	d := net.Dialer{Timeout: patience}
	c, err := d.Dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	b := make([]byte, 5)
	if _, err := c.Read(b); err != nil {
		return err
	}
	return nil
}

// twice connects to an address after a lookup of another name that has it.
func twice(a ...string) error {
	if err := lookup(a[0]); err != nil {
		return err
	}
	return hello("tcp", a[1])
}

func datagram(addr string, size int) error {
	c, err := net.DialTimeout("udp", addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for range 2 { // the first may only fetch the refusal
		if _, err = c.Write(make([]byte, size)); err != nil {
			return err
		}
		var n int
		b := make([]byte, 65535)
		if n, err = c.Read(b); err == nil && n == size {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return errors.New("another answer")
}

// heard sends a datagram, and asks the host whether it has come.
func heard(a ...string) error {
	c, err := net.Dial("udp", a[0])
	if err != nil {
		return err
	}
	defer c.Close()
	token := fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())
	for range 2 {
		if _, err := c.Write([]byte(token)); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(make([]byte, 10)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	ask, err := net.DialTimeout("tcp", net.JoinHostPort(os.Getenv("HOST4"), "9002"), patience)
	if err != nil {
		return fmt.Errorf("nobody can be asked: %w", err)
	}
	defer ask.Close()
	_ = ask.SetDeadline(time.Now().Add(patience))
	if _, err := ask.Write([]byte(token + "\n")); err != nil {
		return err
	}
	if answer, _ := io.ReadAll(ask); string(answer) != "heard" {
		return errors.New("it has not come")
	}
	return nil
}

func lookup(a ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := net.Resolver{PreferGo: true}
	got, err := r.LookupNetIP(ctx, "ip", a[0]+".")
	if err == nil && len(got) == 0 {
		err = errors.New("no address")
	}
	return err
}

// query asks a name server directly. Reached means that it gave records.
func query(network, server, name string, kind uint16) error {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	c := dns.Client{Net: network, Timeout: patience}
	m, _, err := c.Exchange(q, server)
	if err == nil && len(m.Answer) == 0 {
		err = fmt.Errorf("answer %s without records", dns.RcodeToString[m.Rcode])
	}
	return err
}

func ping(a ...string) error {
	to := netip.MustParseAddr(a[0])
	domain, proto, kind := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	var sa unix.Sockaddr
	if to.Is6() {
		domain, proto, kind = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		sa = &unix.SockaddrInet6{Addr: to.As16()}
	} else {
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM, proto)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	tv := unix.NsecToTimeval(int64(patience))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err := unix.Connect(fd, sa); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte{kind, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}); err != nil {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 100))
	return err
}

func socket(domain, kind, proto int) error {
	fd, err := unix.Socket(domain, kind, proto)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// link is the sandbox's eth0, or in the control run a link of the host that nothing
// else uses.
func link() (netlink.Link, error) {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		l, err = netlink.LinkByName("bait0")
	}
	return l, err
}

func addAddress(a ...string) error {
	l, err := link()
	if err != nil {
		return err
	}
	n, err := netlink.ParseAddr(a[0])
	if err != nil {
		return err
	}
	return netlink.AddrAdd(l, n)
}

func addRoute(a ...string) error {
	l, err := link()
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(a[0])
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK})
}

func setMAC(a ...string) error {
	l, err := link()
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(a[0])
	if err != nil {
		return err
	}
	return netlink.LinkSetHardwareAddr(l, mac)
}

func addNeighbour(a ...string) error {
	l, err := link()
	if err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: net.ParseIP(a[0]), State: netlink.NUD_PERMANENT,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}})
}

// freebind sends from an address that is not one's own.
func freebind(a ...string) error {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.UDPAddr{IP: net.ParseIP(a[0])}, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
		return err
	}}
	c, err := d.Dial("udp", a[1])
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("hi")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 10))
	return err
}

func transparent(...string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
}

func mark(...string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 7)
}

// joinHost enters the network namespace of the process that made the sandbox.
func joinHost(...string) error {
	fd, err := unix.Open("/proc/"+os.Getenv("HOSTPID")+"/ns/net", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNET)
}

// mapped connects an IPv6 socket to an IPv4-mapped address.
func mapped(a ...string) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	port, err := strconv.Atoi(a[1])
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr("::ffff:" + a[0]).As16()})
}

// serve listens inside, and asks the process that made the world to come in by the
// host's ports: through its network namespace, which only the test can enter.
func serve(a ...string) error {
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	go greet(l)
	u, err := net.ListenPacket("udp", ":7")
	if err != nil {
		return err
	}
	go echo(u)
	if err := os.WriteFile(os.Getenv("JAIL_DIAL"), []byte("ready"), 0o600); err != nil {
		return err
	}
	for range 300 {
		if b, err := os.ReadFile(os.Getenv("JAIL_DIAL") + ".answer"); err == nil {
			if string(b) == "ok" {
				return nil
			}
			return errors.New(string(b))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("nobody came in")
}

// listen serves until a file says that it is enough, and tells by one that it does.
func listen(a ...string) error {
	port := "80"
	if len(a) > 1 {
		port = a[1]
	}
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	go greet(l)
	if err := os.WriteFile(a[0]+".up", nil, 0o600); err != nil {
		return err
	}
	for range 1200 {
		if _, err := os.Stat(a[0] + ".stop"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("nobody said stop")
}
