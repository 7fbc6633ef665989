package net_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// The world's addresses. Those of the internet are from the documentation ranges;
// the private and the metadata ones are there to be refused.
var internet = []string{
	"203.0.113.10/32", "203.0.113.11/32", "203.0.113.12/32", "203.0.113.13/32", "203.0.113.20/32", "203.0.113.30/32", "203.0.113.53/32", "203.0.113.99/32",
	"10.99.0.1/32", "192.168.77.1/32", "100.64.9.9/32", "169.254.169.254/32", "192.88.99.9/32",
	"2001:db8:2::10/128", "2001:db8:2::11/128", "2001:db8:2::20/128", "fd99::1/128", "2002:cb00:710b::1/128", "2001:0:cb00:710b::1/128",
	"64:ff9b::a63:1/128", "fec0::1/128",
}

// zone is what the world's name server knows, with a TTL of a second.
var zone = []string{
	"good.test. 1 A 203.0.113.10", "good.test. 1 AAAA 2001:db8:2::10", "bad.test. 1 A 203.0.113.11",
	"good.test. 1 TXT hello", "web.test. 1 A 203.0.113.30", "good.test. 1 HTTPS 1 . ipv4hint=203.0.113.11",
	"shared.test. 1 A 203.0.113.12", "sharedbad.test. 1 A 203.0.113.12",
	"alias.good.test. 1 CNAME bad.test.", "cdn.good.test. 1 CNAME cdn.test.", "cdn.test. 1 A 203.0.113.13",
	"private.rebind.test. 1 A 192.168.77.1", "loop.rebind.test. 1 A 127.0.0.1", "meta.rebind.test. 1 A 169.254.169.254",
	"own.rebind.test. 1 A 198.51.100.2", "ula.rebind.test. 1 AAAA fd99::1", "mapped.rebind.test. 1 AAAA ::ffff:192.168.77.1",
	"absent.jail.internal. 1 A 203.0.113.10", "nat64.rebind.test. 1 AAAA 64:ff9b::a63:1",
}

var makeWorld = sync.OnceValue(func() error {
	// The thread that runs this is in H and may be any thread of the process:
	// the process was started in it.
	script := `
		set -e
		mount --make-rprivate /
		mount -t tmpfs none /mnt && echo nameserver 203.0.113.53 > /mnt/resolv.conf && mount --bind /mnt/resolv.conf /etc/resolv.conf
		ip link set lo up
		ip link add h0 type veth peer name w0
		ip link set w0 netns "$W"
		ip addr add 198.51.100.2/24 dev h0; ip addr add 2001:db8:1::2/64 dev h0 nodad
		ip link set h0 up
		ip link add bait0 type veth peer name bait1
		# Another network of the host: where nobody is but the host itself, which hears every address of that network for it.
		echo 1 > /proc/sys/net/ipv6/conf/bait0/forwarding
		ip link set bait0 up; ip link set bait1 up
		ip addr add 203.0.113.241/28 brd 203.0.113.250 dev bait0; ip addr add 2001:db8:6::1/64 dev bait0 nodad
		ip route add broadcast 203.0.113.206 dev bait0 table local; ip route add prohibit 203.0.113.207
		# What only routes make the host's own, and with them connections that go out under another address than they come in at.
		ip route add local 203.0.113.64/28 dev lo; ip route add local 203.0.113.80/28 dev lo src 198.51.100.2
		ip rule add to 203.0.113.112/28 lookup 100; ip route add local 203.0.113.112/28 dev lo src 198.51.100.2 table 100
		ip route add local 2001:db8:77::/64 dev lo; ip route add anycast 2001:db8:78::7 dev bait0 table local
		ip -6 rule add to 2001:db8:79::/64 lookup 100; ip route add local 2001:db8:79::/64 dev lo table 100
		ip route add default via 198.51.100.1; ip route add default via 2001:db8:1::1
		echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range || echo "$(id -g) $(id -g)" > /proc/sys/net/ipv4/ping_group_range`
	inside := `
		set -e
		ip link set lo up
		ip addr add 198.51.100.1/24 dev w0; ip addr add 2001:db8:1::1/64 dev w0 nodad
		ip link set w0 up
		ip route add default via 198.51.100.2; ip route add default via 2001:db8:1::2`
	for _, a := range internet {
		nodad := ""
		if strings.Contains(a, ":") {
			nodad = " nodad"
		}
		inside += "\nip addr add " + a + " dev lo" + nodad
	}
	return inWorld(func() error {
		var err error
		if internetNS, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		// A process that stays in W, for the script to name it.
		stay := exec.Command("sleep", "infinity")
		if err := stay.Start(); err != nil {
			return err
		}
		hold := fmt.Sprint(stay.Process.Pid)
		done := make(chan error)
		go func() { done <- shell(script, "W="+hold) }()
		if err := <-done; err != nil {
			return err
		}
		if err := shell(inside); err != nil {
			return err
		}
		defer stay.Process.Kill()
		return serveInternet()
	})
})

func shell(script string, env ...string) error {
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// inWorld runs f on a thread in W, which it makes.
func inWorld(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // ends with the goroutine; sockets stay where they were made
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// internetNS is W.
var internetNS *os.File

// inInternet runs f on a thread in W.
func inInternet(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // as above
		if err := unix.Setns(int(internetNS.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// serveInternet listens on every address of W.
func serveInternet() error {
	for _, port := range []string{"22", "80", "443", "853", "8080"} {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go greet(l)
	}
	// One socket an address: answers come from where the question went.
	for _, a := range internet {
		host, _, _ := strings.Cut(a, "/")
		for _, port := range []string{"7", "443"} {
			c, err := net.ListenPacket("udp", net.JoinHostPort(host, port))
			if err != nil {
				return err
			}
			go echo(c)
		}
	}
	if err := serveLoads(); err != nil {
		return err
	}
	late, err := net.Listen("tcp", ":9999")
	if err != nil {
		return err
	}
	go greet(late)
	u, err := net.ListenPacket("udp", ":53")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":53")
	if err != nil {
		return err
	}
	go func() { _ = (&dns.Server{PacketConn: u, Handler: dns.HandlerFunc(resolve)}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{Listener: l, Handler: dns.HandlerFunc(resolve)}).ActivateAndServe() }()
	return nil
}

func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("hello"))
		c.Close()
	}
}

func echo(c net.PacketConn) {
	buf := make([]byte, 65535)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

func resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	name, kind := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	for range 4 {
		next := ""
		for _, s := range zone {
			rr, err := dns.NewRR(s)
			if err != nil {
				panic(err)
			}
			if rr.Header().Name != name {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok {
				next = c.Target
			}
			if t := rr.Header().Rrtype; t == kind || t == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
		if name = next; name == "" {
			break
		}
	}
	_ = w.WriteMsg(m)
}

// world makes the world, once.
func world(t testing.TB) {
	t.Helper()
	for _, p := range []string{"ip", "nsenter", "unshare", "setpriv", "sh"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("need %s: %v (run: make deps)", p, err)
		}
	}
	if err := makeWorld(); err != nil {
		t.Fatalf("make the world: %v", err)
	}
}
