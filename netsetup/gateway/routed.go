package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/netsetup/egress"
	"jail/netsetup/firewall"
	"jail/netsetup/link"
)

// router is a gateway whose packets the kernel forwards. Rules in its namespace
// hand the first packet of each flow to this process, which decides by the same code
// as for flows that it carries itself.
type router struct {
	host  *net.UnixConn // the host process of a way out that is root's
	up    *netsetup.Uplink
	table firewall.Gateway
	ports map[hostPort]bool // of the host's loopback, that somebody listens for
}

// newRouter makes the gateway's namespace and asks the host process for the way out.
func (g *gateway) newRouter(s *netsetup.Setup, host *net.UnixConn) error {
	space, err := link.NewSpace()
	if err != nil {
		return err
	}
	g.space = space
	var up *netsetup.Uplink
	switch {
	case s.Config.ByProgram():
		up, err = g.startProgram(s)
	case host != nil:
		up, err = askHost(host, s, space.File)
	default:
		err = errors.New("there is no host process to ask for the way out")
	}
	if err != nil {
		return err
	}
	g.way = up.Way
	g.own.entry, g.own.senders = up.Entry, up.Addresses
	if s.Config.MTU == 0 {
		// What is larger than the way out would be cut up here.
		g.plan.MTU = min(g.plan.MTU, up.MTU)
	}
	r := &router{host: host, up: up, ports: map[hostPort]bool{}}
	p := g.plan
	own := []netip.Prefix{
		netip.PrefixFrom(p.Gateway4, p.Subnet4.Bits()), netip.PrefixFrom(p.Gateway6, p.Subnet6.Bits()),
		netip.PrefixFrom(p.Host4, 32), netip.PrefixFrom(p.Host6, 128),
	}
	if err := space.Router(p.MTU, p.GatewayMAC, own); err != nil {
		return err
	}
	if !up.Ready {
		err := space.Outer(up.Link, up.Addresses, up.Next, up.NextMAC, up.Shared)
		if errors.Is(err, link.ErrTaken) {
			return fmt.Errorf("%snetwork address %w\nchoose one that nobody has", s.Config.Origin("address"), err)
		}
		if err != nil {
			return err
		}
	}
	r.table = firewall.Gateway{Inner: link.Hub, Outer: up.Link, Own: []netip.Addr{p.Gateway4, p.Gateway6},
		Members: []netip.Prefix{p.Subnet4, p.Subnet6}}
	g.router = r
	if err := g.listenQueue(); err != nil {
		return err
	}
	if err := space.Do(r.table.Apply); err != nil {
		return err
	}
	for _, a := range r.table.Own {
		if err := g.serveRoutedDNS(a); err != nil {
			return err
		}
	}
	if host == nil {
		return nil
	}
	go func() {
		// Without the host process the rules of the host are gone.
		var r netsetup.Reply
		for {
			if _, err := netsetup.Receive(host, &r); err != nil {
				os.Exit(1)
			}
		}
	}()
	return nil
}

func askHost(host *net.UnixConn, s *netsetup.Setup, netns *os.File) (*netsetup.Uplink, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("setup", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	mem := os.NewFile(uintptr(fd), "setup")
	defer mem.Close()
	if _, err := mem.Write(b); err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	if err := netsetup.Send(host, netsetup.Request{Op: "uplink"}, mem, netns); err != nil {
		return nil, fmt.Errorf("the network's host process: %w", err)
	}
	var r netsetup.Reply
	if _, err := netsetup.Receive(host, &r); err != nil {
		return nil, fmt.Errorf("the network's host process: %w", err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	if r.Uplink == nil {
		return nil, errors.New("the network's host process: no answer")
	}
	return r.Uplink, nil
}

// route connects a member to a gateway that routes.
func (g *gateway) route(m *member) error {
	if err := g.space.Enslave(m.outer); err != nil {
		return err
	}
	for _, a := range []netip.Addr{m.plan.Addr4, m.plan.Addr6} {
		if err := g.space.Neighbour(link.Hub, a, m.plan.MAC[:]); err != nil {
			return err
		}
	}
	if err := g.forwards(); err != nil {
		return err
	}
	return g.serveHostPorts(m)
}

// inSpace makes a socket in the gateway's namespace.
func inSpace[T any](g *gateway, f func() (T, error)) (T, error) {
	var made T
	err := g.space.Do(func() (err error) {
		made, err = f()
		return err
	})
	return made, err
}

func (g *gateway) serveRoutedDNS(a netip.Addr) error {
	at := netip.AddrPortFrom(a, dnsPort)
	u, err := inSpace(g, func() (*net.UDPConn, error) { return net.ListenUDP("udp"+family(a), net.UDPAddrFromAddrPort(at)) })
	if err != nil {
		return fmt.Errorf("resolver: udp: %w", err)
	}
	l, err := inSpace(g, func() (*net.TCPListener, error) { return net.ListenTCP("tcp"+family(a), net.TCPAddrFromAddrPort(at)) })
	if err != nil {
		return fmt.Errorf("resolver: tcp: %w", err)
	}
	go g.serveDNSPackets(u)
	go g.serveDNSStreams(l)
	return nil
}

// hostPort is a port of the host's loopback, as sandboxes see it.
type hostPort struct {
	addr  netip.Addr
	port  uint16
	proto egress.Proto
}

// maxHostPorts bounds the ports of the host that a routed network can open: each has
// four listeners.
const maxHostPorts = 256

// serveHostPorts listens for the ports of the host's loopback that a member's rules
// open: the host's loopback is in no namespace that packets could be sent to. Who may
// reach a listener is decided by the rules, as for every flow.
func (g *gateway) serveHostPorts(m *member) error {
	ports, err := m.policy.HostPorts(maxHostPorts)
	if err != nil {
		return err
	}
	for _, p := range ports {
		for _, a := range []netip.Addr{m.plan.Host4, m.plan.Host6} {
			at := hostPort{a, p.Port, p.Proto}
			if g.router.ports[at] {
				continue
			}
			g.router.ports[at] = true
			where := netip.AddrPortFrom(a, p.Port)
			if p.Proto == egress.TCP {
				l, err := inSpace(g, func() (*net.TCPListener, error) {
					return net.ListenTCP("tcp"+family(a), net.TCPAddrFromAddrPort(where))
				})
				if err != nil {
					return fmt.Errorf("listen for the host's port %d: %w", p.Port, err)
				}
				go g.acceptHost(l)
				continue
			}
			u, err := inSpace(g, func() (*net.UDPConn, error) { return net.ListenUDP("udp"+family(a), net.UDPAddrFromAddrPort(where)) })
			if err != nil {
				return fmt.Errorf("listen for the host's port %d: %w", p.Port, err)
			}
			go g.acceptHostUDP(u)
		}
	}
	return nil
}

// loopbackOf is where a port of the host's loopback is tried.
func loopbackOf(port uint16) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port),
		netip.AddrPortFrom(netip.IPv6Loopback(), port),
	}
}

func (g *gateway) acceptHost(l *net.TCPListener) {
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	acceptEach(l, func(c *net.TCPConn) {
		defer c.Close()
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		m := g.member(from.Addr().Unmap())
		if m == nil {
			return
		}
		out, err := dialTCP(loopbackOf(port))
		if err != nil {
			_ = c.SetLinger(0)
			return
		}
		f := &flow{to: destination{proto: "tcp", addr: l.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap(), port: port, name: netsetup.HostName}}
		m.splice(f, c, out)
	})
}

// splice carries a TCP connection between two sockets of the kernel.
func (m *member) splice(f *flow, inside, outside *net.TCPConn) {
	f.stop = func() {
		for _, c := range []*net.TCPConn{inside, outside} {
			_ = c.SetLinger(0)
			c.Close()
		}
	}
	if !m.flows.add(f) {
		return
	}
	defer m.flows.remove(f)
	one := func(dst, src *net.TCPConn, done chan<- error) {
		_, err := io.Copy(dst, src)
		if err == nil {
			err = dst.CloseWrite()
		}
		done <- err
	}
	done := make(chan error, 2)
	go one(outside, inside, done)
	go one(inside, outside, done)
	if err := errors.Join(<-done, <-done); err != nil {
		f.stop()
		return
	}
	inside.Close()
	outside.Close()
}

// carried sums up what the kernel carries for a member; nothing where it carries
// nothing. What this process relays is counted there.
func (g *gateway) carried(m *member) map[destination]netsetup.Total {
	if g.router == nil {
		return nil
	}
	all, err := g.space.Flows()
	if err != nil {
		return nil
	}
	out := map[destination]netsetup.Total{}
	p := m.plan
	relayed := []netip.Addr{p.Gateway4, p.Gateway6, p.Host4, p.Host6}
	for _, c := range all {
		src, dst := unwrap(c.Forward.SrcIP), unwrap(c.Forward.DstIP)
		inside := unwrap(c.Reverse.SrcIP) // of a published port: who answers
		to := destination{proto: protoName(c.Forward.Protocol), addr: dst, port: c.Forward.DstPort}
		t := netsetup.Total{Open: 1, Out: c.Forward.Bytes, In: c.Reverse.Bytes}
		switch {
		case slices.Contains(relayed, src) || slices.Contains(relayed, dst):
			continue
		case src == p.Addr4 || src == p.Addr6:
			to.name = m.nameOf(dst)
		case inside == p.Addr4 || inside == p.Addr6:
			to.addr, to.port, to.published = src, c.Reverse.SrcPort, true
			t.Out, t.In = t.In, t.Out
		default:
			continue
		}
		have := out[to]
		have.Open++
		have.Out += t.Out
		have.In += t.In
		out[to] = have
	}
	return out
}

// nameOf is what an address was handed out for.
func (m *member) nameOf(a netip.Addr) string {
	if names, _ := m.leases.Names(a, time.Now()); len(names) > 0 {
		return names[0]
	}
	return ""
}

func unwrap(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func protoName(number uint8) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	}
	return "icmp"
}
