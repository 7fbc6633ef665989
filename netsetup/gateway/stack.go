package gateway

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/qdisc/fifo"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"jail/netsetup"
)

const nicID = 1

// A connection's buffers in the stack are what a slow reader can make the gateway
// hold: receiveBuffer and sendBuffer, 448 KiB in all, a few fast flows fastBuffer, and
// those beyond a sandbox's first roomyTCP twice crowdedBuffer. The
// other end is on this machine, microseconds away; what a far peer needs is held by the
// host's own socket.
const (
	minBuffer     = 16 << 10
	receiveBuffer = 192 << 10
	sendBuffer    = 256 << 10
	crowdedBuffer = 64 << 10
	// queueLen is how many packets may wait to be written; more are dropped, as by a link.
	queueLen = 1024
	// maxHandshakes bounds the connections being made at one time.
	maxHandshakes = 4096
	// timeWait is short: the other end of every connection is on this machine,
	// and no packet of it can be late.
	timeWait = time.Second
)

// newStack makes a TCP/IP stack on the device that takes packets for every
// address: it is the far end of whatever a sandbox connects to.
func newStack(d *device, p *netsetup.Plan) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		HandleLocal:        false,
	})
	fail := func(what string, err tcpip.Error) (*stack.Stack, error) {
		s.Close()
		return nil, fmt.Errorf("network stack: %s: %s", what, err)
	}
	// Packets are written by a goroutine of their own, so that the next bytes are read meanwhile.
	if err := s.CreateNICWithOptions(nicID, d, stack.NICOptions{QDisc: fifo.New(d, 1, queueLen)}); err != nil {
		return fail("link", err)
	}
	if err := s.SetPromiscuousMode(nicID, true); err != nil {
		return fail("taking every address", err)
	}
	if err := s.SetSpoofing(nicID, true); err != nil {
		return fail("answering from every address", err)
	}
	for _, a := range []netip.Addr{p.Gateway4, p.Gateway6} {
		proto := header.IPv4ProtocolNumber
		if a.Is6() {
			proto = header.IPv6ProtocolNumber
		}
		pa := tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: fromAddr(a).WithPrefix()}
		if err := s.AddProtocolAddress(nicID, pa, stack.AddressProperties{}); err != nil {
			return fail("address "+a.String(), err)
		}
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, NIC: nicID},
	})
	return s, tune(s)
}

func tune(s *stack.Stack) error {
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: receiveBuffer, Max: receiveBuffer}
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: sendBuffer, Max: sendBuffer}
	moderate := tcpip.TCPModerateReceiveBufferOption(false)
	sack := tcpip.TCPSACKEnabled(true)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, o := range []tcpip.SettableTransportProtocolOption{&rcv, &snd, &sack, &wait, &moderate} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("network stack: %T: %s", o, err)
		}
	}
	return nil
}
