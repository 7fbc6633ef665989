package gateway

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"jail/netsetup"
)

// frameOf is a frame from the member to the gateway.
func frameOf(p *netsetup.Plan, kind uint16, packet ...byte) []byte {
	b := append(append([]byte{}, p.GatewayMAC[:]...), p.MAC[:]...)
	return append(append(b, byte(kind>>8), byte(kind)), packet...)
}

// Whatever frame a sandbox sends: what is not its own does not enter the stack, and what does is refused, for there
// are no rules. The kernel's question about a packet has an answer that fits the packet.
func FuzzPackets(f *testing.F) {
	m, peer := refusingMember(f)
	g, plan := m.g, m.plan
	g.serveTCP()
	a4, to4, a6, to6 := plan.Addr4.AsSlice(), []byte{203, 0, 113, 1}, plan.Addr6.AsSlice(), netip.IPv6Loopback().AsSlice()
	ip4 := func(proto byte, payload ...byte) []byte {
		h := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, 0, 64, proto, 0, 0}
		return append(append(append(h, a4...), to4...), payload...)
	}
	ip6 := func(next byte, payload ...byte) []byte {
		h := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 64}
		return append(append(append(h, a6...), to6...), payload...)
	}
	syn := []byte{0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}
	udp := []byte{0x80, 0, 0, 53, 0, 9, 0, 0, 'x'}
	for _, s := range [][]byte{
		frameOf(plan, 0x0800, ip4(6, syn...)...), frameOf(plan, 0x0800, ip4(17, udp...)...), frameOf(plan, 0x0800, ip4(1, 8, 0, 0, 0, 0, 1, 0, 1)...),
		frameOf(plan, 0x86dd, ip6(6, syn...)...), frameOf(plan, 0x86dd, ip6(0, append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, syn...)...)...),
		frameOf(plan, 0x86dd, ip6(43, append([]byte{6, 2, 0, 1, 0, 0, 0, 0}, make([]byte, 36)...)...)...), frameOf(plan, 0x86dd, ip6(58, 128, 0, 0, 0, 0, 1, 0, 1)...),
		frameOf(plan, 0x0806, make([]byte, 28)...),
	} {
		f.Add(byte(vnetNeedsCsum), s)
	}
	answers := make([]byte, frameLen)
	f.Fuzz(func(t *testing.T, flags byte, frame []byte) {
		if len(frame) > frameLen {
			return
		}
		if len(frame) > ethernetLen {
			if src, dst, proto, ok := readPacket(frame[ethernetLen:]); ok && (!src.IsValid() || !dst.IsValid() || src.Addr().Is4() != dst.Addr().Is4() || proto == 0) {
				t.Fatalf("read as %v from %s to %s", proto, src, dst)
			}
		}
		if len(frame) >= ethernetLen+header.IPv4MinimumSize {
			if _, ok := g.device.admit(frame, len(frame)); ok && tcpip.LinkAddress(frame[6:12]) != tcpip.LinkAddress(plan.MAC[:]) {
				t.Fatal("a frame of somebody else's is let in")
			}
		}
		view := buffer.NewViewSize(frameLen)
		copy(view.AsSlice(), frame)
		g.device.frame(flags, view, len(frame), nil)
		if len(m.flows.all) > 0 || m.udp.Load() > 0 {
			t.Fatal("a flow stands that no rule allows")
		}
		for { // what the stack answers would fill the socket
			if _, err := unix.Read(peer, answers); err != nil {
				break
			}
		}
	})
}
