package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Listener is where a published port is waited for.
type Listener struct {
	Publish Publish
	Addr    netip.Addr
	// One of them.
	TCP *net.TCPListener
	UDP *net.UDPConn
}

// Close stops listening.
func (l *Listener) Close() {
	if l.TCP != nil {
		l.TCP.Close()
	} else {
		l.UDP.Close()
	}
}

// Listen opens the host's ports that an entry publishes; a port that is taken is an
// error. Addresses that are the sandbox's own need none.
func (c *Config) Listen(p Publish) ([]*Listener, error) {
	addrs, err := c.hostAddresses(p)
	if err != nil {
		return nil, err
	}
	var out []*Listener
	for _, a := range addrs {
		l := &Listener{Publish: p, Addr: a}
		if err = l.open(); err == nil {
			out = append(out, l)
			continue
		}
		// The default is both loopbacks; a host without IPv6 has one.
		if p.Address == "" && a.Is6() && errors.Is(err, unix.EADDRNOTAVAIL) {
			continue
		}
		for _, l := range out {
			l.Close()
		}
		return nil, fmt.Errorf("%spublish %s: listen on %s: %w%s", place(p.Origin), p, netip.AddrPortFrom(a, p.HostPort), err, listenHint(err))
	}
	return out, nil
}

// hostAddresses are those of the host that an entry is waited for on.
func (c *Config) hostAddresses(p Publish) ([]netip.Addr, error) {
	addrs, err := p.Addresses()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(addrs, c.Owns), nil
}

// Owns reports whether an address is the sandbox's own on a link of the host.
func (c *Config) Owns(a netip.Addr) bool {
	own, _ := c.Addresses()
	return slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr() == a })
}

// open opens the port. The family is spelled, so that package net does not open both.
func (l *Listener) open() error {
	at := netip.AddrPortFrom(l.Addr, l.Publish.HostPort)
	family := "4"
	if l.Addr.Is6() {
		family = "6"
	}
	var err error
	if l.Publish.Proto == "tcp" {
		l.TCP, err = net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(at))
	} else {
		l.UDP, err = net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(at))
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err // the place is named already
	}
	return err
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return "\nanother program listens there; choose another port, or end it (ss -ltnup shows it)"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return "\nthis host has no such address"
	case errors.Is(err, unix.EACCES):
		return "\nports below 1024 are for root; choose a higher one, or lower the sysctl net.ipv4.ip_unprivileged_port_start"
	}
	return ""
}

// maxListeners is how many descriptors one message can carry (SCM_MAX_FD is 253),
// beside its others.
const maxListeners = 240

// file is the socket, for the gateway.
func (l *Listener) file() (*os.File, error) {
	if l.TCP != nil {
		return l.TCP.File()
	}
	return l.UDP.File()
}

// listenFirst opens all published ports in this process. Root's gateway has no right to ports
// below 1024: it is root of its own user namespace only.
func (s *Setup) listenFirst() (files []*os.File, err error) {
	fail := func(err error) ([]*os.File, error) {
		closeAll(files)
		return nil, err
	}
	s.Opened = true
	for i, p := range s.Config.Publish {
		ls, err := s.Config.Listen(p)
		if err != nil {
			return fail(err)
		}
		for _, l := range ls {
			f, err := l.file()
			l.Close()
			if err != nil {
				return fail(fmt.Errorf("publish %s: %w", p, err))
			}
			files = append(files, f)
			s.Listening = append(s.Listening, ListenAt{i, l.Addr})
		}
	}
	if len(files) > maxListeners {
		return fail(fmt.Errorf("publish: more than %d ports", maxListeners))
	}
	return files, nil
}

// Listeners opens the published ports, or makes listeners of the sockets that came with
// the request.
func (s *Setup) Listeners(files []*os.File) ([]*Listener, error) {
	var out []*Listener
	if !s.Opened {
		for _, p := range s.Config.Publish {
			ls, err := s.Config.Listen(p)
			if err != nil {
				for _, l := range out {
					l.Close()
				}
				return nil, err
			}
			out = append(out, ls...)
		}
		return out, nil
	}
	for i, at := range s.Listening {
		if i >= len(files) || at.Entry >= len(s.Config.Publish) {
			return nil, errors.New("setup message: a socket is missing")
		}
		l := &Listener{Publish: s.Config.Publish[at.Entry], Addr: at.Addr}
		var err error
		if l.Publish.Proto == "tcp" {
			var any net.Listener
			if any, err = net.FileListener(files[i]); err == nil {
				l.TCP = any.(*net.TCPListener)
			}
		} else {
			var any net.PacketConn
			if any, err = net.FilePacketConn(files[i]); err == nil {
				l.UDP = any.(*net.UDPConn)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("publish %s: %w", l.Publish, err)
		}
		out = append(out, l)
	}
	return out, nil
}
