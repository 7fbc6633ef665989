package wayland

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// engine names jail to the compositor: with the application it is what a compositor's rules go by.
const engine = "dev.jail"

// patience is how long a compositor may take to answer.
const patience = 10 * time.Second

// Offer makes a socket at path through which programs reach the compositor that listens at socket, without what
// would let them watch or steer others. app is the program's name as D-Bus has names. It ends when the result is
// closed or this process is gone; connections that the compositor has taken itself stay.
func Offer(socket, path, app string) (io.Closer, error) {
	listener, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("make the socket for the program: %w", err)
	}
	closer, err := confine(socket, app, listener)
	if err == nil {
		_ = unix.Close(listener) // the compositor has it
		return closer, nil
	}
	if !errors.Is(err, errNoContext) {
		_ = unix.Close(listener)
		return nil, err
	}
	f, err := newFilter(socket, listener)
	if err != nil {
		_ = unix.Close(listener)
		return nil, err
	}
	go f.serve()
	return f, nil
}

func listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil {
		// The program's user may be another one inside; nobody else sees the socket.
		err = unix.Chmod(path, 0o666)
	}
	if err == nil {
		err = unix.Listen(fd, 128)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

var errNoContext = errors.New("the compositor has no security contexts")

// HasContexts tells whether the compositor that listens at socket sets programs in a sandbox apart itself. Offer filters what
// they ask of the others.
func HasContexts(socket string) (bool, error) {
	t, g, err := ask(socket)
	if err != nil {
		return false, err
	}
	t.close()
	return g.iface != "", nil
}

// Ids of a conversation's objects.
const registry, firstSync, manager, context, secondSync = 2, 3, 4, 5, 6

// ask begins a conversation with a compositor, and finds its security contexts: no global where it has none.
func ask(socket string) (*talk, global, error) {
	c, err := dial(socket)
	if err != nil {
		return nil, global{}, fmt.Errorf("connect to the compositor at %s: %w", socket, err)
	}
	_ = c.f.SetDeadline(time.Now().Add(patience))
	t := &talk{conn: c}
	var contexts global
	err = t.send(nil, newMessage(display, displayGetRegistry).word(registry), newMessage(display, displaySync).word(firstSync))
	if err == nil {
		err = t.until(firstSync, func(m message) {
			if m.object() == registry && m.opcode() == registryGlobal {
				a := m.args()
				g := global{name: a.word(), iface: a.text(), version: a.word()}
				if !a.short && g.iface == securityManagerName {
					contexts = g
				}
			}
		})
	}
	if err != nil {
		c.close()
		return nil, global{}, fmt.Errorf("ask the compositor at %s what it offers: %w", socket, err)
	}
	return t, contexts, nil
}

// confine asks the compositor to listen on a socket for clients in a sandbox (security-context-v1.xml).
func confine(socket, app string, listener int) (io.Closer, error) {
	t, g, err := ask(socket)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if g.iface == "" {
		return nil, errNoContext
	}
	// When the other end is closed, the compositor stops listening.
	watched, held, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer watched.Close()
	err = t.send(nil, newMessage(registry, registryBind).word(g.name).text(g.iface).word(1).word(manager))
	if err == nil {
		err = t.send([]int{listener, int(watched.Fd())}, newMessage(manager, managerListener).word(context))
	}
	if err == nil {
		err = t.send(nil,
			newMessage(context, contextSetEngine).text(engine),
			newMessage(context, contextSetApp).text(app),
			newMessage(context, contextSetInstance).text(fmt.Sprintf("%s.%d", app, os.Getpid())),
			newMessage(context, contextCommit),
			newMessage(display, displaySync).word(secondSync))
	}
	if err == nil {
		err = t.until(secondSync, func(message) {})
	}
	if err != nil {
		_ = held.Close()
		return nil, fmt.Errorf("ask the compositor for a security context: %w", err)
	}
	return held, nil
}

type global struct {
	name    uint32
	iface   string
	version uint32
}

// talk is a conversation with a compositor.
type talk struct {
	*conn
	pending []byte
}

func (t *talk) send(fds []int, messages ...*builder) error {
	var all []byte
	for _, m := range messages {
		all = append(all, m.bytes()...)
	}
	return t.write(all, fds)
}

// until reads events until the callback is done, and gives each to see.
func (t *talk) until(callback uint32, see func(message)) error {
	b := make([]byte, 4096)
	for {
		for {
			m, rest, ok, err := next(t.pending)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			t.pending = rest
			switch {
			case m.object() == display && m.opcode() == displayError:
				a := m.args()
				a.word()
				a.word()
				return fmt.Errorf("the compositor refused: %s", a.text())
			case m.object() == callback && m.opcode() == callbackDone:
				return nil
			}
			see(m)
		}
		n, fds, err := t.read(b)
		closeAll(fds)
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		t.pending = append(t.pending, b[:n]...)
	}
}
