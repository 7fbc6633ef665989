package wayland

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A filter stands between programs and a compositor that cannot tell clients in a sandbox from others. A client
// reaches an interface of the compositor's in one way only: the compositor announces it as a global of a registry,
// and the client binds it there by its number. So the filter leaves out the announcements of what is not on the
// list, and ends a connection that binds anything else. All other messages pass as they are.
type filter struct {
	socket   string
	listener *os.File

	mu     sync.Mutex
	open   map[*link]bool
	closed bool
}

func newFilter(socket string, listener int) (*filter, error) {
	return &filter{socket: socket, listener: os.NewFile(uintptr(listener), "wayland listener"), open: map[*link]bool{}}, nil
}

// Close stops listening and ends every connection.
func (f *filter) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for l := range f.open {
		l.end()
	}
	return f.listener.Close()
}

// maxClients bounds what one sandbox can hold of jail's descriptors. A browser has a handful.
const maxClients = 128

// serve accepts programs until the filter is closed.
func (f *filter) serve() {
	raw, err := f.listener.SyscallConn()
	if err != nil {
		return
	}
	for {
		var fd int
		var aerr error
		if err := raw.Read(func(l uintptr) bool {
			fd, _, aerr = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(aerr, unix.EAGAIN) && !errors.Is(aerr, unix.EINTR)
		}); err != nil {
			return
		}
		if aerr != nil {
			continue // the program gave up before it was accepted
		}
		if client, err := newConn(fd); err == nil {
			f.begin(client)
		}
	}
}

// begin connects one client to the compositor.
func (f *filter) begin(client *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.open) >= maxClients {
		client.close()
		return
	}
	server, err := dial(f.socket)
	if err != nil {
		client.close()
		return
	}
	l := &link{client: client, server: server, registries: map[uint32]bool{}, names: map[uint32]string{}}
	f.open[l] = true
	for _, pump := range []func() error{l.requests, l.events} {
		go func() {
			_ = pump() // whatever ends one direction ends the connection
			l.end()
			f.mu.Lock()
			delete(f.open, l)
			f.mu.Unlock()
		}()
	}
}

// A link is one client's connection.
type link struct {
	client, server *conn

	mu         sync.Mutex
	registries map[uint32]bool   // ids that the client has given to registries
	names      map[uint32]string // numbers of the globals that were announced, with their interface
}

func (l *link) end() {
	l.client.close()
	l.server.close()
}

func (l *link) requests() error { return pump(l.client, l.server, l.request) }
func (l *link) events() error   { return pump(l.server, l.client, l.event) }

// request looks at what the client asks for.
func (l *link) request(m message) (pass bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := m.args()
	switch {
	case m.object() == display && m.opcode() == displayGetRegistry:
		l.registries[a.word()] = true
	case l.registries[m.object()]:
		name, iface := a.word(), a.text()
		if m.opcode() != registryBind || a.short || l.names[name] != iface || !allowed(iface) {
			return false, fmt.Errorf("a request to bind %q, which was not offered", iface)
		}
	}
	if a.short {
		return false, errors.New("a message that is cut off")
	}
	return true, nil
}

// maxGlobals is far above what any compositor announces.
const maxGlobals = 4096

// event looks at what the compositor announces.
func (l *link) event(m message) (pass bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.registries[m.object()] {
		return true, nil
	}
	a := m.args()
	switch m.opcode() {
	case registryGlobal:
		name, iface := a.word(), a.text()
		if a.short || !allowed(iface) {
			return false, nil
		}
		if len(l.names) >= maxGlobals {
			return false, errors.New("too many globals")
		}
		l.names[name] = iface
		return true, nil
	case registryRemove:
		// Clients may bind a number for a while after it was taken back, so it is kept.
		_, known := l.names[a.word()]
		return known, nil
	}
	return false, nil
}

// pump passes messages on that keep lets through, with all descriptors, until the stream ends.
func pump(from, to *conn, keep func(message) (bool, error)) error {
	b := make([]byte, 0, 4096)
	var held []int // descriptors whose message has not arrived as a whole
	defer func() { closeAll(held) }()
	for {
		if len(b) == cap(b) {
			if cap(b) > 1<<16 {
				return errors.New("a message without end")
			}
			b = append(b, make([]byte, cap(b))...)[:len(b)]
		}
		n, fds, err := from.read(b[len(b):cap(b)])
		held = append(held, fds...)
		if err != nil || n == 0 {
			return err
		}
		if len(held) > 4*maxFDs {
			return errTruncated
		}
		b = b[:len(b)+n]
		out := make([]byte, 0, len(b))
		rest := b
		for {
			m, after, ok, err := next(rest)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			rest = after
			pass, err := keep(m)
			if err != nil {
				return err
			}
			if pass {
				out = append(out, m...)
			}
		}
		b = append(b[:0], rest...)
		if held, err = forward(to, out, held); err != nil {
			return err
		}
	}
}

// forward sends bytes with the descriptors held so far, and gives those that must wait for bytes. The other side
// takes no more than maxFDs at once, so many are spread over several writes.
func forward(to *conn, out []byte, held []int) ([]int, error) {
	for len(out) > 0 {
		now := held[:min(len(held), maxFDs)]
		chunk := out
		if len(held) > maxFDs {
			chunk = out[:min(4, len(out))]
		}
		if err := to.write(chunk, now); err != nil {
			return held, err
		}
		closeAll(now)
		out, held = out[len(chunk):], held[len(now):]
	}
	return held, nil
}
