package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"jail/netsetup"
)

// listen opens the host's ports that lead to a member. Somebody may connect from now on.
func (m *member) listen(s *netsetup.Setup, files []*os.File) (err error) {
	m.listeners, err = s.Listeners(files)
	return err
}

// servePublished serves them, once there is a stack and a link to lead them to.
func (m *member) servePublished() {
	for _, l := range m.listeners {
		switch {
		case m.g.router != nil:
			go m.acceptRouted(l)
		case l.TCP != nil:
			go m.accept(l.TCP, l.Publish)
		default:
			go m.publishUDP(l.UDP, l.Publish)
		}
	}
}

// family is the suffix that keeps package net from opening both families.
func family(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// target is the member's address in the family of the listener, and the gateway's
// address that a connection seems to come from.
func (m *member) target(host netip.AddrPort, port uint16) (local, remote tcpip.FullAddress, proto tcpip.NetworkProtocolNumber) {
	gw, own := m.plan.Gateway4, m.plan.Addr4
	proto = header.IPv4ProtocolNumber
	if host.Addr().Is6() && !host.Addr().Is4In6() {
		gw, own, proto = m.plan.Gateway6, m.plan.Addr6, header.IPv6ProtocolNumber
	}
	return tcpip.FullAddress{NIC: nicID, Addr: fromAddr(gw)}, tcpip.FullAddress{NIC: nicID, Addr: fromAddr(own), Port: port}, proto
}

func (m *member) accept(l *net.TCPListener, p netsetup.Publish) {
	acceptEach(l, func(c *net.TCPConn) { m.inbound(c, p) })
}

// acceptEach serves the connections of a listener, each in a goroutine of its own, until the listener is closed.
func acceptEach(l *net.TCPListener, serve func(*net.TCPConn)) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		go serve(c)
	}
}

func (m *member) inbound(c *net.TCPConn, p netsetup.Publish) {
	if !m.oneMore() {
		_ = c.SetLinger(0)
		c.Close()
		return
	}
	defer m.tcp.Add(-1)
	host := c.LocalAddr().(*net.TCPAddr).AddrPort()
	local, remote, proto := m.target(host, p.Port)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var wq waiter.Queue
	ep, err := m.g.connectInside(ctx, &wq, local, remote, proto)
	if err != nil {
		_ = c.SetLinger(0)
		c.Close()
		return
	}
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	f := &flow{to: destination{proto: "tcp", addr: from.Addr().Unmap(), port: p.Port, published: true}}
	m.carry(f, ep, &wq, c)
}

// connectInside opens a connection of the stack to a member.
func (g *gateway) connectInside(ctx context.Context, wq *waiter.Queue, local, remote tcpip.FullAddress, proto tcpip.NetworkProtocolNumber) (tcpip.Endpoint, error) {
	ep, terr := g.stack.NewEndpoint(tcp.ProtocolNumber, proto, wq)
	if terr != nil {
		return nil, errors.New(terr.String())
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if terr = ep.Bind(local); terr == nil {
		terr = ep.Connect(remote)
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Close()
			return nil, ctx.Err()
		case <-ready:
			terr = ep.LastError()
		}
	}
	if terr != nil {
		ep.Close()
		return nil, errors.New(terr.String())
	}
	return ep, nil
}

// publishUDP gives each sender on the host a flow of its own inside.
func (m *member) publishUDP(c *net.UDPConn, p netsetup.Publish) {
	var mu sync.Mutex
	inside := map[netip.AddrPort]*gonet.UDPConn{}
	buf := make([]byte, 65535)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		mu.Lock()
		in := inside[from]
		mu.Unlock()
		if in == nil {
			if m.udp.Add(1) > maxUDP {
				m.udp.Add(-1)
				continue
			}
			local, remote, proto := m.target(c.LocalAddr().(*net.UDPAddr).AddrPort(), p.Port)
			if in, err = gonet.DialUDP(m.g.stack, &local, &remote, proto); err != nil {
				m.udp.Add(-1)
				continue
			}
			f := &flow{to: destination{proto: "udp", addr: from.Addr().Unmap(), port: p.Port, published: true}}
			f.stop = func() { in.Close() }
			mu.Lock()
			inside[from] = in
			mu.Unlock()
			go func() {
				defer m.udp.Add(-1)
				if m.flows.add(f) {
					m.answer(c, in, from, f)
					m.flows.remove(f)
				}
				in.Close()
				mu.Lock()
				delete(inside, from)
				mu.Unlock()
			}()
		}
		_, _ = in.Write(buf[:n])
	}
}

func (m *member) answer(c *net.UDPConn, in *gonet.UDPConn, to netip.AddrPort, f *flow) {
	buf := datagrams.Get().(*[65535]byte)
	defer datagrams.Put(buf)
	for {
		_ = in.SetReadDeadline(time.Now().Add(udpIdle))
		n, err := in.Read(buf[:])
		if err != nil && strings.Contains(err.Error(), "refused") {
			continue
		}
		if err != nil {
			return
		}
		f.out.Add(uint64(n))
		if _, err := c.WriteToUDPAddrPort(buf[:n], to); err != nil {
			return
		}
	}
}
