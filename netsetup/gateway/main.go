package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"jail/netsetup"
)

// controlFD is the descriptor of the supervisor's control socket.
const controlFD = 3

// maxSetup bounds a setup message.
const maxSetup = 16 << 20

// Main is the gateway process. It gives its exit code.
func Main() int {
	processors := newSpeed()
	// The main thread stays in the host's network namespace: the threads that
	// enter others are made for it.
	runtime.LockOSThread()
	// Buffers of flows come and go; a heap of a few megabytes need not be
	// collected each time it doubles.
	debug.SetGCPercent(200)
	control, err := socketAt(controlFD)
	if err != nil {
		fmt.Fprintf(os.Stderr, "jail net-gateway: descriptor %d is no control socket: %v\nthis program is started by jail, not by hand\n", controlFD, err)
		return 125
	}
	s := &server{speed: processors, attached: make(chan struct{}), ended: make(chan struct{})}
	if slices.Contains(os.Args[1:], netsetup.RoutedArg) {
		if s.host, err = socketAt(netsetup.HostFD); err != nil {
			fmt.Fprintf(os.Stderr, "jail net-gateway: descriptor %d leads to no host process: %v\n", netsetup.HostFD, err)
			return 125
		}
	}
	s.enter(control, false)
	door, err := socketAt(netsetup.DoorFD)
	if err != nil {
		fmt.Fprintf(os.Stderr, "jail net-gateway: descriptor %d is no door: %v\n", netsetup.DoorFD, err)
		return 125
	}
	go s.serveDoor(door, slices.Contains(os.Args[1:], netsetup.SharedArg))
	<-s.ended
	return 0
}

// socketAt takes over a descriptor that is a unix socket.
func socketAt(fd uintptr) (*net.UnixConn, error) {
	f := os.NewFile(fd, "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("not a unix socket")
	}
	return u, nil
}

// server hands control connections to the gateway. The process ends with the last.
type server struct {
	speed *speed
	host  *net.UnixConn // the host process of a gateway that routes
	mu    sync.Mutex
	g     *gateway
	conns int
	// attached is closed when the first member is, or cannot be.
	attached chan struct{}
	first    sync.Once
	// confined is set once the first member is connected.
	confined bool
	// ended is closed when the last connection is; from then on nobody gets in.
	ended chan struct{}
}

// enter takes in one more control connection; false when it is too late for that.
func (s *server) enter(c *net.UnixConn, welcome bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return false
	default:
	}
	out := &sender{c: c}
	if welcome && out.send(netsetup.Reply{Welcome: true}) != nil {
		return false
	}
	s.conns++
	go s.serve(c, out)
	return true
}

// serveDoor lets other supervisors into a named network, and lookers-on into any.
func (s *server) serveDoor(door *net.UnixConn, shared bool) {
	select {
	case <-s.attached: // a looker-on may be what this process was begun for
	case <-s.ended:
	}
	for {
		var req netsetup.Request
		files, err := netsetup.Receive(door, &req)
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil && len(files) == 1 && (req.Op == "enter" && shared || req.Op == "watch") {
			if c, err := net.FileConn(files[0]); err == nil {
				u, ok := c.(*net.UnixConn)
				if ok && req.Op == "watch" {
					go s.serveWatch(u)
				} else if !ok || !s.enter(u, true) {
					c.Close()
				}
			}
		}
		for _, f := range files {
			f.Close()
		}
	}
}

// leave is called for a connection that is closed, with the member behind it.
func (s *server) leave(m *member) {
	if m != nil {
		m.tellPending() // while others may come, go and be looked at
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns--; s.conns > 0 {
		if m != nil {
			s.g.detach(m)
		}
		return
	}
	if m != nil {
		m.tellLast()
		m.close() // its ports are free when this process is; the links go with it, and sooner than by name
	}
	close(s.ended)
}

// serve answers one control connection until it closes.
func (s *server) serve(c *net.UnixConn, out *sender) {
	var m *member
	defer func() {
		s.leave(m)
		c.Close()
	}()
	for {
		var req netsetup.Request
		files, err := netsetup.Receive(c, &req)
		if err != nil {
			return
		}
		switch {
		case req.Op == "attach" && m == nil && len(files) > 0:
			if m, err = s.attach(files, out); err != nil {
				_ = out.send(netsetup.Reply{Error: err.Error()})
			}
		case req.Op == "resolvers" && m != nil:
			m.resolver.Upstream.SetServers(req.Resolvers)
		default:
			_ = out.send(netsetup.Reply{Error: fmt.Sprintf("unknown request %q", req.Op)})
		}
		for _, f := range files {
			f.Close()
		}
	}
}

func (s *server) attach(files []*os.File, out *sender) (*member, error) {
	defer s.first.Do(func() { close(s.attached) })
	setup := &netsetup.Setup{}
	b, err := io.ReadAll(io.LimitReader(io.NewSectionReader(files[0], 0, maxSetup), maxSetup))
	if err == nil {
		err = json.Unmarshal(b, setup)
	}
	if err == nil && setup.Plan == nil {
		err = errors.New("no plan")
	}
	if err != nil {
		return nil, fmt.Errorf("setup message: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.g == nil {
		g, err := newGateway(setup, s.host, s.speed)
		if err != nil {
			return nil, err
		}
		s.g = g
	}
	m, err := s.g.attach(setup, files[1:], out)
	if err != nil {
		return nil, err
	}
	if !s.confined {
		if err := s.g.confine(); err != nil {
			s.g.detach(m)
			return nil, err
		}
		s.confined = true
		if s.g.device != nil {
			s.g.device.serve()
		}
	}
	ready := &netsetup.Ready{PID: os.Getpid(), Way: s.g.way}
	if s.g.shared {
		ready.Plan = m.plan
	}
	return m, out.send(netsetup.Reply{Ready: ready})
}

// serveWatch answers one looker-on until it leaves.
func (s *server) serveWatch(c *net.UnixConn) {
	defer c.Close()
	out := &sender{c: c}
	for {
		var req netsetup.Request
		files, err := netsetup.Receive(c, &req)
		for _, f := range files {
			f.Close()
		}
		if err != nil || req.Op != "totals" || s.totals(out, req.Addr) != nil {
			return
		}
	}
}

// totalsPerMessage keeps a message below its bound.
const totalsPerMessage = 100

func (s *server) totals(out *sender, addr netip.Addr) error {
	s.mu.Lock()
	var m *member
	if s.g != nil {
		m = s.g.member(addr)
	}
	s.mu.Unlock()
	if m == nil {
		return errors.New("no such member")
	}
	all := m.flows.totals(s.g.carried(m))
	for len(all) > totalsPerMessage {
		if err := out.send(netsetup.Reply{Totals: all[:totalsPerMessage]}); err != nil {
			return err
		}
		all = all[totalsPerMessage:]
	}
	return out.send(netsetup.Reply{Totals: all, Done: true})
}

// sender writes whole messages from several goroutines.
type sender struct {
	mu sync.Mutex
	c  *net.UnixConn
}

func (s *sender) send(r netsetup.Reply, files ...*os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netsetup.Send(s.c, r, files...)
}
