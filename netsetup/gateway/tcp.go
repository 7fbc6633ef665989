package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"jail/netsetup/egress"
)

// keepAliveAfter is when the other side of an idle connection is first asked whether it is still there. What ends sooner
// needs no keep-alive, and saves the four calls that turn it on.
const keepAliveAfter = 10 * time.Second

// serveTCP answers connection attempts: a refused one with a reset at once, an
// allowed one when the connection it stands for is there, so that the program
// sees "refused" and "unreachable" as it would outside.
func (g *gateway) serveTCP() {
	fwd := tcp.NewForwarder(g.stack, 0, maxHandshakes, func(r *tcp.ForwarderRequest) {
		o, _ := g.syns.LoadAndDelete(r.ID())
		if o == nil {
			r.Complete(true)
			return
		}
		g.workers.run(func() { g.connect(r, o.(original)) })
	})
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		flags := header.TCP(pkt.TransportHeader().Slice()).Flags()
		if flags&(header.TCPFlagSyn|header.TCPFlagAck) == header.TCPFlagSyn {
			g.syns.LoadOrStore(id, originalOf(pkt))
		}
		return fwd.HandlePacket(id, pkt)
	})
}

func (g *gateway) connect(r *tcp.ForwarderRequest, o original) {
	id := r.ID()
	m := g.member(o.src)
	dst := netip.AddrPortFrom(o.dst, id.LocalPort)
	if m == nil {
		r.Complete(true)
		return
	}
	p, ok := m.decide(egress.TCP, id.RemotePort, dst)
	if !ok {
		r.Complete(true)
		return
	}
	conn, err := dialTCP(p.dial)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			r.Complete(true)
		} else {
			g.device.reject(o, noHost)
			r.Complete(false)
		}
		return
	}
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if m.ownAgain(egress.TCP, id.RemotePort, local, remote) {
		conn.Close()
		r.Complete(true)
		return
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	r.Complete(terr != nil)
	if terr != nil {
		conn.Close()
		return
	}
	f := &flow{to: destination{proto: "tcp", addr: dst.Addr(), port: dst.Port(), name: p.name}}
	m.carry(f, ep, &wq, conn)
}

// carry relays a TCP flow until it ends.
func (m *member) carry(f *flow, ep tcpip.Endpoint, wq *waiter.Queue, conn *net.TCPConn) {
	ep.SocketOptions().SetDelayOption(false)
	ep.SocketOptions().SetKeepAlive(true)
	resize := func(size int64) { ep.SocketOptions().SetSendBufferSize(size, true) }
	r := &relay{
		ep: ep, wq: wq, conn: conn, out: &f.out, in: &f.in,
		work: m.g.workers.run, pace: pace{speed: m.g.speed, resize: resize},
	}
	f.stop = r.abort
	if !m.flows.add(f) {
		return
	}
	ask := time.AfterFunc(keepAliveAfter, func() { _ = conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) })
	r.run()
	ask.Stop()
	m.flows.remove(f)
}

// dialTCP makes a connection of the host. How long the other side may take to answer is the kernel's to say, as
// outside (tcp_syn_retries, tcp(7)); a limit of Go's would take a timer and a goroutine for each connection.
func dialTCP(to []netip.AddrPort) (*net.TCPConn, error) {
	var last error
	for _, a := range to {
		d := net.Dialer{KeepAlive: -1}
		c, err := d.DialContext(context.Background(), "tcp", a.String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		last = err
	}
	return nil, last
}
