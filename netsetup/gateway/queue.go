package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/netsetup/egress"
	"jail/netsetup/firewall"
)

// queueLength bounds the first packets that wait for a decision; what comes on top is
// dropped, and its sender tries again.
const queueLength = 4096

// decisions bounds those under way at one time.
const decisions = 64

// listenQueue answers the kernel's questions.
func (g *gateway) listenQueue() error {
	q, err := inSpace(g, func() (*nfqueue.Nfqueue, error) {
		return nfqueue.Open(&nfqueue.Config{
			NfQueue: firewall.Queue, MaxQueueLen: queueLength, MaxPacketLen: 256, // headers are all that counts
			Copymode: nfqueue.NfQnlCopyPacket, Flags: nfqueue.NfQaCfgFlagGSO,
		})
	})
	if err != nil {
		return fmt.Errorf("queue of packets: %w\nthe kernel may lack it (modprobe nfnetlink_queue); the builtin uplink does without", err)
	}
	// Questions that came too fast for the socket are lost, not a reason to stop.
	_ = q.SetOption(netlink.NoENOBUFS, true)
	// The list of the host's addresses may have to be read for one; the next need not wait for that.
	slots := make(chan struct{}, decisions)
	err = q.RegisterWithErrorFunc(context.Background(), func(a nfqueue.Attribute) int {
		if a.PacketID == nil {
			return 0
		}
		id, packet := *a.PacketID, []byte(nil)
		if a.Payload != nil {
			packet = slices.Clone(*a.Payload)
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			g.judgePacket(packet, func(ok bool) {
				mark := firewall.Refused
				if ok {
					mark = firewall.Allowed
				}
				_ = q.SetVerdictWithOption(id, nfqueue.NfRepeat, nfqueue.WithMark(uint32(mark)))
			})
		}()
		return 0
	}, func(err error) int {
		if op := (*netlink.OpError)(nil); errors.As(err, &op) && (op.Temporary() || op.Timeout()) {
			return 0
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOBUFS) {
			return 0 // a packet whose sender is gone
		}
		return 1
	})
	if err != nil {
		return fmt.Errorf("queue of packets: %w", err)
	}
	return nil
}

// judgePacket decides about the first packet of a flow, and does not wait for the search for the program that is refused
// one: all members share the places for decisions. What cannot be read is refused.
func (g *gateway) judgePacket(packet []byte, answer func(ok bool)) {
	src, dst, proto, ok := readPacket(packet)
	m := (*member)(nil)
	if ok {
		m = g.member(src.Addr())
	}
	if m == nil {
		answer(false)
		return
	}
	p, no := m.judge(proto, src.Port(), dst)
	if no != nil {
		m.refuse(no, func() { answer(false) })
		return
	}
	if p.name != netsetup.HostName { // that one is relayed, and counted there
		m.flows.count(destination{proto: proto.String(), name: p.name, addr: dst.Addr(), port: dst.Port()})
	}
	answer(true)
}

// readPacket finds out what the first packet of a flow is about. The kernel has put
// fragments together before.
func readPacket(b []byte) (src, dst netip.AddrPort, proto egress.Proto, ok bool) {
	if len(b) < 20 {
		return
	}
	var number byte
	var from, to netip.Addr
	switch b[0] >> 4 {
	case 4:
		size := int(b[0]&0xf) * 4
		if size < 20 || len(b) < size {
			return
		}
		from, to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		number, b = b[9], b[size:]
	case 6:
		if len(b) < 40 {
			return
		}
		from, to = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		number, b = b[6], b[40:]
		var found bool
		if number, b, found = transport(number, b); !found {
			return
		}
	default:
		return
	}
	switch {
	case (number == unix.IPPROTO_TCP || number == unix.IPPROTO_UDP) && len(b) >= 8:
		proto = egress.UDP
		if number == unix.IPPROTO_TCP {
			proto = egress.TCP
		}
		return netip.AddrPortFrom(from, binary.BigEndian.Uint16(b)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:])), proto, true
	case len(b) >= 8 && (number == unix.IPPROTO_ICMP && to.Is4() && b[0] == 8 || number == unix.IPPROTO_ICMPV6 && to.Is6() && b[0] == 128):
		return netip.AddrPortFrom(from, binary.BigEndian.Uint16(b[4:])), netip.AddrPortFrom(to, 0), egress.ICMP, true // its identifier
	}
	return src, dst, 0, false
}

// transport walks over the extension headers of IPv6 (RFC 8200, section 4) that a packet
// may have in front of its transport header.
func transport(number byte, b []byte) (byte, []byte, bool) {
	for range 8 {
		switch number {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_DSTOPTS:
			if len(b) < 8 || len(b) < 8+int(b[1])*8 {
				return 0, nil, false
			}
			number, b = b[0], b[8+int(b[1])*8:]
		case unix.IPPROTO_FRAGMENT:
			if len(b) < 8 {
				return 0, nil, false
			}
			number, b = b[0], b[8:]
		case unix.IPPROTO_ROUTING:
			return 0, nil, false // the address in front is not where it goes
		default:
			return number, b, true
		}
	}
	return 0, nil, false
}
