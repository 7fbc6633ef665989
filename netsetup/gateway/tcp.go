package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"jail/netsetup"
	"jail/netsetup/egress"
)

// keepAliveAfter is when the other side of an idle connection is first asked whether it is still there. What ends sooner
// needs no keep-alive, and saves the four calls that turn it on.
const keepAliveAfter = 10 * time.Second

// maxTCP bounds a sandbox's connections: each holds a socket of the host, and memory. roomyTCP of them have full buffers.
const (
	maxTCP   = 2048
	roomyTCP = 256
)

// handshakes are the connections that are being made, with the packets that began them. A packet that comes again
// while its connection is being made is passed over, and so are new ones beyond maxHandshakes: what a program that
// sends nothing else can make the gateway hold.
type handshakes struct {
	mu  sync.Mutex
	all map[stack.TransportEndpointID]original
}

// begin enters a connection; false when its packet is to be passed over.
func (h *handshakes) begin(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, again := h.all[id]; again || len(h.all) >= maxHandshakes {
		return false
	}
	if h.all == nil {
		h.all = map[stack.TransportEndpointID]original{}
	}
	h.all[id] = originalOf(pkt)
	return true
}

func (h *handshakes) of(id stack.TransportEndpointID) original {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[id]
}

func (h *handshakes) end(id stack.TransportEndpointID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, id)
}

// serveTCP answers connection attempts: a refused one with a reset at once, an
// allowed one when the connection it stands for is there, so that the program
// sees "refused" and "unreachable" as it would outside.
func (g *gateway) serveTCP() {
	fwd := tcp.NewForwarder(g.stack, 0, maxHandshakes, func(r *tcp.ForwarderRequest) {
		g.workers.run(func() { g.connect(r) })
	})
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return g.handshakes.answer(id, pkt, fwd.HandlePacket)
	})
}

// answer has the stack's forwarder take a packet that begins a connection. What it does not take is refused by the stack.
func (h *handshakes) answer(id stack.TransportEndpointID, pkt *stack.PacketBuffer, forward func(stack.TransportEndpointID, *stack.PacketBuffer) bool) bool {
	flags := header.TCP(pkt.TransportHeader().Slice()).Flags()
	if flags&(header.TCPFlagSyn|header.TCPFlagAck) != header.TCPFlagSyn {
		return forward(id, pkt)
	}
	if !h.begin(id, pkt) {
		return true
	}
	taken := forward(id, pkt)
	if !taken {
		h.end(id)
	}
	return taken
}

func (g *gateway) connect(r *tcp.ForwarderRequest) {
	id := r.ID()
	o := g.handshakes.of(id)
	complete := func(reset bool) {
		r.Complete(reset)
		g.handshakes.end(id)
	}
	m := g.member(o.src)
	dst := netip.AddrPortFrom(o.dst, id.LocalPort)
	if m == nil {
		complete(true)
		return
	}
	p, ok := m.decide(egress.TCP, id.RemotePort, dst)
	if !ok {
		complete(true)
		return
	}
	if !m.oneMore() {
		complete(true)
		return
	}
	defer m.tcp.Add(-1)
	conn, err := dialTCP(p.dial)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			complete(true)
		} else {
			g.device.reject(o, noHost)
			complete(false)
		}
		return
	}
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if m.ownAgain(egress.TCP, id.RemotePort, local, remote) {
		conn.Close()
		complete(true)
		return
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	complete(terr != nil)
	if terr != nil {
		conn.Close()
		return
	}
	f := &flow{to: destination{proto: "tcp", addr: dst.Addr(), port: dst.Port(), name: p.name}}
	m.carry(f, ep, &wq, conn)
}

// oneMore counts a connection, unless there are too many. Whoever is told true takes it back from m.tcp at its end.
func (m *member) oneMore() bool {
	if m.tcp.Add(1) <= maxTCP {
		return true
	}
	m.tcp.Add(-1)
	m.report(netsetup.Event{Kind: "notice", Why: "more than 2048 TCP connections at once: new ones are refused"}, nil)
	return false
}

// carry relays a TCP flow until it ends.
func (m *member) carry(f *flow, ep tcpip.Endpoint, wq *waiter.Queue, conn *net.TCPConn) {
	ep.SocketOptions().SetDelayOption(false)
	ep.SocketOptions().SetKeepAlive(true)
	p := pace{speed: m.g.speed}
	if m.tcp.Load() <= roomyTCP {
		p.resize = func(size int64) { ep.SocketOptions().SetSendBufferSize(size, true) }
	} else {
		ep.SocketOptions().SetSendBufferSize(crowdedBuffer, true)
		ep.SocketOptions().SetReceiveBufferSize(crowdedBuffer, true)
	}
	r := &relay{ep: ep, wq: wq, conn: conn, out: &f.out, in: &f.in, work: m.g.workers.run, pace: p}
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
//
// Of several failures a refusal is the one to tell: it came from where the port would be, while an address that cannot be
// reached, such as ::1 of a host without IPv6, says nothing about the port.
func dialTCP(to []netip.AddrPort) (*net.TCPConn, error) {
	var failure error
	for _, a := range to {
		d := net.Dialer{KeepAlive: -1}
		c, err := d.DialContext(context.Background(), "tcp", a.String())
		if err == nil {
			return c.(*net.TCPConn), nil
		}
		if failure == nil || errors.Is(err, unix.ECONNREFUSED) {
			failure = err
		}
	}
	return nil, failure
}
