package gateway

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"

	"jail/netsetup"
	"jail/netsetup/egress"
)

const (
	pingWait = 10 * time.Second
	// maxPings bounds the echo requests that wait for an answer.
	maxPings = 256
	// icmpEchoLen is the header of an echo message in both versions.
	icmpEchoLen = 8
)

// servePing sends echo requests on through the host's unprivileged ICMP sockets
// (icmp(7)); the gateway answers for itself.
func (g *gateway) servePing() {
	handle := func(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool { return g.ping(pkt) }
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, handle)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, handle)
}

// ping is called by the reader of packets and does not wait.
func (g *gateway) ping(pkt *stack.PacketBuffer) bool {
	h := pkt.TransportHeader().Slice()
	if len(h) < icmpEchoLen {
		return false
	}
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber && header.ICMPv4(h).Type() != header.ICMPv4Echo ||
		pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber && header.ICMPv6(h).Type() != header.ICMPv6EchoRequest {
		return false
	}
	o := originalOf(pkt)
	m := g.member(o.src)
	if m == nil {
		return true
	}
	if o.dst == m.plan.Gateway4 || o.dst == m.plan.Gateway6 {
		return false // the stack answers
	}
	p, no := m.judge(egress.ICMP, binary.BigEndian.Uint16(h[4:]), netip.AddrPortFrom(o.dst, 0))
	if no != nil {
		m.refuse(no, func() { g.device.reject(o, prohibited) })
		return true
	}
	body := append([]byte(nil), h[:icmpEchoLen]...)
	body = append(body, pkt.Data().AsRange().ToSlice()...)
	if m.pings.Add(1) > maxPings {
		m.pings.Add(-1)
		return true
	}
	go func() {
		defer m.pings.Add(-1)
		g.forwardPing(m, o, p.dial[0].Addr(), body)
	}()
	return true
}

// forwardPing sends one echo request on and the answer back under the program's
// own identifier (the kernel puts the socket's into the request).
func (g *gateway) forwardPing(m *member, o original, dst netip.Addr, body []byte) {
	ident := binary.BigEndian.Uint16(body[4:])
	conn, err := pingSocket(dst)
	if at := (*os.SyscallError)(nil); errors.As(err, &at) {
		if errors.Is(err, unix.EACCES) {
			m.refuse(m.barred(egress.ICMP, ident, netip.AddrPortFrom(dst, 0)), func() { g.device.reject(o, prohibited) })
			return
		}
		g.device.reject(o, noHost)
		return
	}
	if err != nil {
		m.report(netsetup.Event{Kind: "notice", Proto: "icmp", Addr: dst,
			Why: "this host lets its user send no ping (" + err.Error() + "); set the sysctl net.ipv4.ping_group_range to 0 2147483647"}, nil)
		g.device.reject(o, prohibited)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(pingWait))
	if _, err := conn.Write(body); err != nil {
		g.device.reject(o, noHost)
		return
	}
	buf := make([]byte, len(body)+64)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			if !os.IsTimeout(err) {
				g.device.reject(o, noHost)
			}
			return
		}
		if n >= icmpEchoLen && binary.BigEndian.Uint16(buf[6:]) == binary.BigEndian.Uint16(body[6:]) {
			binary.BigEndian.PutUint16(buf[4:], ident)
			g.echoReply(o, buf[:n])
			return
		}
	}
}

// pingSocket makes a socket that sends echo requests to an address. An error of connect(2) is an [os.SyscallError]; any
// other means that the host lets its user have no such socket.
func pingSocket(dst netip.Addr) (net.Conn, error) {
	domain, proto := unix.AF_INET, unix.IPPROTO_ICMP
	var to unix.Sockaddr
	if dst.Is6() {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		to = &unix.SockaddrInet6{Addr: dst.As16()}
	} else {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "ping")
	if err := unix.Connect(fd, to); err != nil {
		f.Close()
		return nil, os.NewSyscallError("connect", err)
	}
	// net.FileConn does not know ICMP sockets; a file with the poller behind it
	// reads and writes them as well.
	return fileConn{f}, nil
}

// echoReply gives the program its answer.
func (g *gateway) echoReply(o original, body []byte) {
	if o.proto == header.IPv4ProtocolNumber {
		b := make([]byte, header.IPv4MinimumSize+len(body))
		header.IPv4(b).Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
			SrcAddr: fromAddr(o.dst), DstAddr: fromAddr(o.src),
		})
		header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
		h := header.ICMPv4(b[header.IPv4MinimumSize:])
		copy(h, body)
		h.SetType(header.ICMPv4EchoReply)
		h.SetChecksum(0)
		h.SetChecksum(^checksum.Checksum(h, 0))
		g.device.inject(header.IPv4ProtocolNumber, o.src, b)
		return
	}
	b := make([]byte, header.IPv6MinimumSize+len(body))
	src, dst := tcpip.AddrFrom16(o.dst.As16()), tcpip.AddrFrom16(o.src.As16())
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(body)), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 64, SrcAddr: src, DstAddr: dst,
	})
	h := header.ICMPv6(b[header.IPv6MinimumSize:])
	copy(h, body)
	h.SetType(header.ICMPv6EchoReply)
	h.SetChecksum(0)
	h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: h, Src: src, Dst: dst}))
	g.device.inject(header.IPv6ProtocolNumber, o.src, b)
}

// fileConn is a connected socket that package net has no type for.
type fileConn struct{ *os.File }

// LocalAddr implements net.Conn.
func (fileConn) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (fileConn) RemoteAddr() net.Addr { return nil }
