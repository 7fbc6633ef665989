package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/netsetup/firewall"
)

// acceptRouted leads what comes to a port of the host inside.
func (m *member) acceptRouted(l *netsetup.Listener) {
	if l.UDP != nil {
		serveDatagrams(l.UDP, func(from netip.AddrPort) (*member, net.Conn, *flow) {
			to := m.inside(l)
			c, err := inSpace(m.g, func() (*net.UDPConn, error) { return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) })
			if err != nil {
				return nil, nil, nil
			}
			return m, c, &flow{to: destination{proto: "udp", addr: from.Addr().Unmap(), port: to.Port(), published: true}}
		})
		return
	}
	acceptEach(l.TCP, func(c *net.TCPConn) {
		in, err := m.g.dialInside(m.inside(l))
		if err != nil {
			_ = c.SetLinger(0)
			c.Close()
			return
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		f := &flow{to: destination{proto: "tcp", addr: from.Addr().Unmap(), port: l.Publish.Port, published: true}}
		m.splice(f, in, c)
	})
}

// inside is where a listener's connections go, in its own family.
func (m *member) inside(l *netsetup.Listener) netip.AddrPort {
	if l.Addr.Is6() {
		return netip.AddrPortFrom(m.plan.Addr6, l.Publish.Port)
	}
	return netip.AddrPortFrom(m.plan.Addr4, l.Publish.Port)
}

// dialTime is for a connection to a member.
const dialTime = 20 * time.Second

// dialInside connects to a member from the gateway's namespace. Only the socket is made
// on the thread that is there, which others need too.
func (g *gateway) dialInside(to netip.AddrPort) (*net.TCPConn, error) {
	f, err := inSpace(g, func() (*os.File, error) { return beginConnect(to) })
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_ = f.SetWriteDeadline(time.Now().Add(dialTime))
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var result error
	err = rc.Write(func(fd uintptr) bool {
		// The peer is there once the connection stands (connect(2), EINPROGRESS).
		if _, err := unix.Getpeername(int(fd)); err == nil {
			return true
		}
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || n != 0 {
			result = errors.Join(err, unix.Errno(n))
			return true
		}
		return false
	})
	if err = errors.Join(err, result); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func beginConnect(to netip.AddrPort) (*os.File, error) {
	domain := unix.AF_INET
	var sa unix.Sockaddr
	if to.Addr().Is6() {
		domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inside"), nil
}

// forwards tells the kernel which ports of the network's own addresses lead to whom.
func (g *gateway) forwards() error {
	g.mu.Lock()
	var list []firewall.Forward
	taken := map[firewall.Forward]bool{}
	var clash error
	for _, m := range g.list {
		for _, p := range m.config.Publish {
			a, err := netip.ParseAddr(p.Address)
			if err != nil || !m.config.Owns(a) {
				continue
			}
			to := m.plan.Addr4
			if a.Is6() {
				to = m.plan.Addr6
			}
			f := firewall.Forward{Proto: p.Proto, From: netip.AddrPortFrom(a, p.HostPort)}
			if taken[f] {
				clash = fmt.Errorf("publish %s: another sandbox of the network has that port", p)
			}
			taken[f] = true
			f.To = netip.AddrPortFrom(to, p.Port)
			list = append(list, f)
		}
	}
	g.mu.Unlock()
	if clash != nil {
		return clash
	}
	return g.space.Do(func() error { return g.router.table.SetForwards(list) })
}
