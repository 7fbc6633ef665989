package gateway

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup"
)

// acceptHostUDP gives each sender inside a socket to a port of the host's loopback.
func (g *gateway) acceptHostUDP(u *net.UDPConn) {
	at := u.LocalAddr().(*net.UDPAddr).AddrPort()
	port := at.Port()
	serveDatagrams(u, func(from netip.AddrPort) (*member, net.Conn, *flow) {
		m := g.member(from.Addr().Unmap())
		if m == nil {
			return nil, nil, nil
		}
		// Nothing tells which of the two loopbacks somebody listens on.
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(loopbackOf(port)[0]))
		if err != nil {
			return nil, nil, nil
		}
		return m, c, &flow{to: destination{proto: "udp", addr: at.Addr().Unmap(), port: port, name: netsetup.HostName}}
	})
}

// serveDatagrams gives each sender a connection of its own, which dial makes.
func serveDatagrams(u *net.UDPConn, dial func(netip.AddrPort) (*member, net.Conn, *flow)) {
	var mu sync.Mutex
	open := map[netip.AddrPort]net.Conn{}
	buf := make([]byte, 65535)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		mu.Lock()
		c := open[from]
		mu.Unlock()
		if c == nil {
			var m *member
			var f *flow
			if m, c, f = dial(from); m == nil {
				continue
			}
			if m.udp.Add(1) > maxUDP {
				m.udp.Add(-1)
				c.Close()
				continue
			}
			mu.Lock()
			open[from] = c
			mu.Unlock()
			f.stop = func() { c.Close() }
			go func() {
				defer m.udp.Add(-1)
				if m.flows.add(f) {
					answerDatagrams(u, c, from, f)
					m.flows.remove(f)
				}
				c.Close()
				mu.Lock()
				delete(open, from)
				mu.Unlock()
			}()
		}
		_, _ = c.Write(buf[:n])
	}
}

func answerDatagrams(u *net.UDPConn, c net.Conn, to netip.AddrPort, f *flow) {
	buf := datagrams.Get().(*[65535]byte)
	defer datagrams.Put(buf)
	for {
		_ = c.SetReadDeadline(time.Now().Add(udpIdle))
		n, err := c.Read(buf[:])
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return
		}
		f.in.Add(uint64(n))
		if _, err := u.WriteToUDPAddrPort(buf[:n], to); err != nil {
			return
		}
	}
}
