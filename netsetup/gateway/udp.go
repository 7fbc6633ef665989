package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"jail/netsetup"
	"jail/netsetup/egress"
)

const (
	// udpIdle is how long a flow without packets is kept, as RFC 4787 (REQ-5)
	// asks of a NAT.
	udpIdle = 2 * time.Minute
	// maxUDP bounds a sandbox's flows: each holds a socket of the host.
	maxUDP = 1024
)

// serveUDP opens a socket of the host for each pair of ports that may talk.
func (g *gateway) serveUDP() {
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		g.openUDP(id, pkt)
		return true
	})
}

// openUDP is called by the reader of packets and does not wait.
func (g *gateway) openUDP(id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	o := originalOf(pkt)
	m := g.member(o.src)
	if m == nil {
		return
	}
	dst := netip.AddrPortFrom(o.dst, id.LocalPort)
	p, no := m.judge(egress.UDP, id.RemotePort, dst)
	if no != nil {
		m.refuse(no, func() { g.device.reject(o, prohibited) })
		return
	}
	if m.udp.Add(1) > maxUDP {
		m.udp.Add(-1)
		m.report(netsetup.Event{Kind: "notice", Why: "more than 1024 UDP flows at once: new ones are refused"}, nil)
		g.device.reject(o, prohibited)
		return
	}
	conn, err := dialUDP(p.dial[0])
	if errors.Is(err, unix.EACCES) {
		m.udp.Add(-1)
		m.refuse(m.barred(egress.UDP, id.RemotePort, p.dial[0]), func() { g.device.reject(o, prohibited) })
		return
	}
	if err != nil {
		m.udp.Add(-1)
		g.device.reject(o, noHost)
		return
	}
	if no := m.judgeOwn(egress.UDP, id.RemotePort, conn.LocalAddr().(*net.UDPAddr).AddrPort(), p.dial[0]); no != nil {
		m.udp.Add(-1)
		conn.Close()
		m.refuse(no, func() { g.device.reject(o, prohibited) })
		return
	}
	var wq waiter.Queue
	ep, terr := udp.NewForwarderRequest(g.stack, id, pkt.Clone()).CreateEndpoint(&wq)
	if terr != nil {
		m.udp.Add(-1)
		conn.Close()
		return
	}
	inner := gonet.NewUDPConn(&wq, ep)
	f := &flow{to: destination{proto: "udp", addr: dst.Addr(), port: dst.Port(), name: p.name}}
	f.stop = func() { inner.Close(); conn.Close() }
	if !m.flows.add(f) {
		m.udp.Add(-1)
		return
	}
	go func() {
		defer m.udp.Add(-1)
		// A closed port of the other side is told to the program as outside.
		carryDatagrams(inner, conn, &f.out, &f.in, func() { g.device.reject(o, noPort) })
		f.stop()
		m.flows.remove(f)
	}()
}

// dialUDP makes a socket of the host that sends to one address, and not to a broadcast address: Go sets SO_BROADCAST on
// every socket for datagrams, without which connect(2) is EACCES there (ip(7)). A broadcast is heard by the host itself.
func dialUDP(to netip.AddrPort) (*net.UDPConn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0) }); e != nil {
			return e
		}
		return os.NewSyscallError("setsockopt", err)
	}}
	c, err := d.Dial("udp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// carryDatagrams copies datagrams both ways until the flow is idle or closed.
// Each direction has one buffer of the largest datagram, taken from a pool while
// something is under way.
func carryDatagrams(inner, outer net.Conn, out, in *atomic.Uint64, unreachable func()) {
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var both sync.WaitGroup
	copyAll := func(dst, src net.Conn, count *atomic.Uint64, refused func()) {
		defer dst.Close()
		buf := datagrams.Get().(*[65535]byte)
		defer datagrams.Put(buf)
		for {
			_ = src.SetReadDeadline(time.Now().Add(udpIdle))
			n, err := src.Read(buf[:])
			if err != nil {
				switch {
				case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, last.Load())) < udpIdle:
					continue
				case errors.Is(err, unix.ECONNREFUSED):
					refused()
					continue
				}
				return
			}
			last.Store(time.Now().UnixNano())
			count.Add(uint64(n))
			if _, err := dst.Write(buf[:n]); err != nil {
				if errors.Is(err, unix.ECONNREFUSED) {
					refused()
				} else if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
					return
				}
			}
		}
	}
	both.Go(func() { copyAll(outer, inner, out, unreachable) })
	copyAll(inner, outer, in, unreachable)
	both.Wait()
}

var datagrams = sync.Pool{New: func() any { return new([65535]byte) }}
