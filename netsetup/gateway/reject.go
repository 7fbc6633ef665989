package gateway

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// unreachable is why a packet goes no further.
type unreachable int

const (
	prohibited unreachable = iota // by the rules
	noHost                        // the host's network cannot reach it
	noPort                        // nobody listens
)

// codes of ICMP destination unreachable (RFC 792, RFC 1812) and of its ICMPv6
// sibling (RFC 4443).
var codes = map[unreachable]struct {
	v4 header.ICMPv4Code
	v6 header.ICMPv6Code
}{
	prohibited: {header.ICMPv4AdminProhibited, header.ICMPv6Prohibited},
	noHost:     {header.ICMPv4HostUnreachable, header.ICMPv6AddressUnreachable},
	noPort:     {header.ICMPv4PortUnreachable, header.ICMPv6PortUnreachable},
}

// original is the start of a packet that may have to be answered with an error.
type original struct {
	proto    tcpip.NetworkProtocolNumber
	src, dst netip.Addr
	head     []byte
}

// originalOf copies what an error quotes: the IP header and the transport ports.
func originalOf(pkt *stack.PacketBuffer) original {
	o := original{proto: pkt.NetworkProtocolNumber}
	n := pkt.Network()
	o.src, o.dst = toAddr(n.SourceAddress()), toAddr(n.DestinationAddress())
	o.head = append(o.head, pkt.NetworkHeader().Slice()...)
	o.head = append(o.head, pkt.TransportHeader().Slice()...)
	o.head = append(o.head, pkt.Data().AsRange().Capped(64).ToSlice()...)
	return o
}

// reject answers a packet with an ICMP error, in the name of its destination: a
// program sees at once that there is no way, and why.
func (d *device) reject(o original, why unreachable) {
	head := o.head[:min(len(o.head), 128)]
	if o.proto == header.IPv4ProtocolNumber {
		d.reject4(o, head, codes[why].v4)
		return
	}
	d.reject6(o, head, codes[why].v6)
}

func (d *device) reject4(o original, head []byte, code header.ICMPv4Code) {
	b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize+len(head))
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: tcpip.AddrFrom4(o.dst.As4()), DstAddr: tcpip.AddrFrom4(o.src.As4()),
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	icmp := header.ICMPv4(b[header.IPv4MinimumSize:])
	icmp.SetType(header.ICMPv4DstUnreachable)
	icmp.SetCode(code)
	copy(icmp[header.ICMPv4MinimumSize:], head)
	icmp.SetChecksum(^checksum.Checksum(icmp, 0))
	d.inject(header.IPv4ProtocolNumber, o.src, b)
}

func (d *device) reject6(o original, head []byte, code header.ICMPv6Code) {
	b := make([]byte, header.IPv6MinimumSize+header.ICMPv6MinimumSize+len(head))
	src, dst := tcpip.AddrFrom16(o.dst.As16()), tcpip.AddrFrom16(o.src.As16())
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(b) - header.IPv6MinimumSize), TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit: 64, SrcAddr: src, DstAddr: dst,
	})
	icmp := header.ICMPv6(b[header.IPv6MinimumSize:])
	icmp.SetType(header.ICMPv6DstUnreachable)
	icmp.SetCode(code)
	copy(icmp[header.ICMPv6MinimumSize:], head)
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: src, Dst: dst}))
	d.inject(header.IPv6ProtocolNumber, o.src, b)
}

func toAddr(a tcpip.Address) netip.Addr {
	if a.Len() == 4 {
		return netip.AddrFrom4(a.As4())
	}
	return netip.AddrFrom16(a.As16())
}

func fromAddr(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}
