package gateway

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"jail/netsetup/link"
)

// beginning is a packet that begins a connection from the port.
func beginning(port uint16) (stack.TransportEndpointID, *stack.PacketBuffer) {
	from, to := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("203.0.113.1")
	id := stack.TransportEndpointID{LocalPort: 80, LocalAddress: fromAddr(to), RemotePort: port, RemoteAddress: fromAddr(from)}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: header.IPv4MinimumSize + header.TCPMinimumSize})
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize)).Encode(&header.TCPFields{SrcPort: port, DstPort: 80, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn})
	header.IPv4(pkt.NetworkHeader().Push(header.IPv4MinimumSize)).Encode(&header.IPv4Fields{TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: fromAddr(from), DstAddr: fromAddr(to), TotalLength: 40})
	return id, pkt
}

// TestHandshakes: nothing is kept of packets that begin no connection, however many a program sends.
func TestHandshakes(t *testing.T) {
	var h handshakes
	calls, take := 0, true
	answer := func(port uint16) bool {
		id, pkt := beginning(port)
		defer pkt.DecRef()
		return h.answer(id, pkt, func(stack.TransportEndpointID, *stack.PacketBuffer) bool { calls++; return take })
	}
	if !answer(1) || !answer(1) || calls != 1 {
		t.Errorf("a packet that comes again goes to the forwarder %d times", calls)
	}
	id, _ := beginning(1)
	if o := h.of(id); o.src != netip.MustParseAddr("10.0.0.1") || len(o.head) != 40 {
		t.Errorf("what began the connection is %+v", o)
	}
	take = false
	if answer(2) || len(h.all) != 1 {
		t.Errorf("%d are kept, one of which the forwarder did not take", len(h.all))
	}
	take = true
	for port := range uint16(maxHandshakes + 100) {
		answer(port + 10)
	}
	if len(h.all) != maxHandshakes || calls != 1+1+maxHandshakes-1 {
		t.Errorf("%d are kept and %d were taken, of at most %d", len(h.all), calls, maxHandshakes)
	}
	h.end(id)
	if calls = 0; !answer(1) || calls != 1 {
		t.Error("a connection that has ended is not made again")
	}
}

// TestTooManyConnections: what is refused is not counted.
func TestTooManyConnections(t *testing.T) {
	m := &member{}
	for range maxTCP {
		if !m.oneMore() {
			t.Fatal("refused too early")
		}
	}
	if m.oneMore() || m.tcp.Load() != maxTCP {
		t.Errorf("%d connections", m.tcp.Load())
	}
	m.tcp.Add(-1)
	if !m.oneMore() {
		t.Error("refused when one had ended")
	}
}

// TestWritePackets: a packet that the link refuses does not take others with it.
func TestWritePackets(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10); err != nil {
		t.Fatal(err)
	}
	d := newDevice(&link.Uplink{FD: pair[0]}, 65000, [6]byte{2})
	defer d.Close()
	var list stack.PacketBufferList
	defer list.Reset()
	for _, size := range []int{100, 60000, 200} { // the second is more than the socket holds
		list.PushBack(stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(make([]byte, size))}))
	}
	if n, err := d.WritePackets(list); n != 2 || err == nil {
		t.Errorf("%d written, %v", n, err)
	}
	for _, size := range []int{100, 200} {
		b := make([]byte, 1000)
		if n, err := unix.Read(pair[1], b); err != nil || n != size+vnetLen {
			t.Errorf("read %d bytes (%v), not %d", n, err, size+vnetLen)
		}
	}
}
