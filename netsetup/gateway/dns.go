package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"jail/netsetup"
	"jail/netsetup/egress"
	"jail/netsetup/names"
)

const (
	// maxQueries bounds the lookups under way, of all members.
	maxQueries = 512
	dnsPort    = 53
	// dnsIdle is for a connection to the resolver without a query.
	dnsIdle = 10 * time.Second
)

// serveDNS listens on the gateway's addresses, over UDP and TCP.
func (g *gateway) serveDNS() error {
	for _, a := range []netip.Addr{g.plan.Gateway4, g.plan.Gateway6} {
		proto := header.IPv4ProtocolNumber
		if a.Is6() {
			proto = header.IPv6ProtocolNumber
		}
		at := tcpip.FullAddress{NIC: nicID, Addr: fromAddr(a), Port: dnsPort}
		u, err := gonet.DialUDP(g.stack, &at, nil, proto)
		if err != nil {
			return fmt.Errorf("resolver: udp: %w", err)
		}
		l, err := gonet.ListenTCP(g.stack, at, proto)
		if err != nil {
			return fmt.Errorf("resolver: tcp: %w", err)
		}
		go g.serveDNSPackets(u)
		go g.serveDNSStreams(l)
	}
	return nil
}

func (g *gateway) serveDNSPackets(u net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		m := g.member(addrOf(from))
		if m == nil {
			continue
		}
		select {
		case g.queries <- struct{}{}:
		default:
			continue // the program asks again
		}
		query := append([]byte(nil), buf[:n]...)
		go func() {
			defer func() { <-g.queries }()
			if b := m.resolver.Answer(asker(egress.UDP, from), query, true); b != nil {
				_, _ = u.WriteTo(b, from)
			}
		}()
	}
}

func (g *gateway) serveDNSStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		m := g.member(addrOf(c.RemoteAddr()))
		if m == nil || m.streams.Add(1) > maxStreams {
			if m != nil {
				m.streams.Add(-1)
			}
			c.Close()
			continue
		}
		go func() {
			defer m.streams.Add(-1)
			defer c.Close()
			for m.answerStream(c) == nil {
			}
		}()
	}
}

// maxStreams bounds a member's connections to the resolver.
const maxStreams = 64

func (m *member) answerStream(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(dnsIdle)); err != nil {
		return err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, query); err != nil {
		return err
	}
	b := m.resolver.Answer(asker(egress.TCP, c.RemoteAddr()), query, false)
	if b == nil {
		return errors.New("not a query")
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

// socketInside is who asks: a port inside.
type socketInside struct {
	proto egress.Proto
	port  uint16
}

type askerKey struct{}

// asker gives the context of a query.
func asker(proto egress.Proto, from net.Addr) context.Context {
	ap, _ := netip.ParseAddrPort(from.String())
	return context.WithValue(context.Background(), askerKey{}, socketInside{proto, ap.Port()})
}

func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}

// newResolver makes the resolver of a member.
func (m *member) newResolver(host []netip.AddrPort, out *sender) (*names.Resolver, error) {
	var servers []netip.AddrPort
	fixed := map[string][]netip.Addr{}
	if d := m.config.DNS; d != nil {
		for _, s := range d.Servers {
			ap, err := netsetup.ParseServer(s)
			if err != nil {
				return nil, err
			}
			servers = append(servers, ap)
		}
		for name, addrs := range d.Hosts {
			clean, err := egress.CleanName(name)
			if err != nil {
				return nil, err
			}
			for _, s := range addrs {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return nil, err
				}
				fixed[clean] = append(fixed[clean], a.Unmap())
				// /etc/hosts has it too: it may be used without a lookup.
				m.leases.Pin(clean, a)
			}
		}
	}
	upstream := names.NewUpstream(servers)
	if servers == nil {
		upstream = names.NewUpstream(host)
		upstream.Refresh = func() { _ = out.send(netsetup.Reply{Resolvers: true}) }
	}
	return &names.Resolver{
		Policy: m.policy, Leases: &m.leases, Upstream: upstream,
		Fixed: fixed, Local: m.local, Own: m.g.own.contains,
		Refused: func(ctx context.Context, name string, v egress.Verdict) {
			e := netsetup.Event{Kind: "name", Name: name, Why: v.Why, Write: v.Write}
			if v.Rule != nil {
				e.Rule = v.Rule.String()
			}
			s, _ := ctx.Value(askerKey{}).(socketInside)
			if len(m.g.queries) > maxQueries/2 {
				// Those who wait here would keep others from asking.
				m.report(e, m.whose(s.proto, s.port))
				return
			}
			known := make(chan struct{})
			m.reportThen(e, m.whose(s.proto, s.port), func() { close(known) })
			<-known
		},
	}, nil
}

// local answers for the names that exist in this network only: NAME.jail.internal,
// and NAME alone where it cannot be taken for a name of the internet.
func (m *member) local(name string) []netip.Addr {
	if name == netsetup.HostName {
		return []netip.Addr{m.plan.Host4, m.plan.Host6}
	}
	short, here := strings.CutSuffix(name, netsetup.Domain)
	if !here && strings.Contains(name, ".") {
		return nil
	}
	if addrs := m.g.memberAddrs(short); len(addrs) > 0 || !here {
		return addrs
	}
	return []netip.Addr{} // nobody's
}
