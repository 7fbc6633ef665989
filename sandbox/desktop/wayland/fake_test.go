package wayland

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fake is a compositor that announces globals and takes note of what is asked of it. It speaks the messages that
// the tests need.
type fake struct {
	t       *testing.T
	socket  string
	globals []string
	refuse  string // an error to answer the first request after the registry with

	mu       sync.Mutex
	binds    []string
	context  []string // engine, application and instance of a security context
	listener *os.File // handed over with it, once committed
	closer   *os.File
	got      []string // contents of descriptors that came with messages
}

func newFake(t *testing.T, globals ...string) *fake {
	t.Helper()
	f := &fake{t: t, socket: filepath.Join(t.TempDir(), "compositor"), globals: globals}
	fd, err := listen(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	l := os.NewFile(uintptr(fd), "fake")
	t.Cleanup(func() { l.Close() })
	go f.accept(l)
	return f
}

func (f *fake) accept(l *os.File) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	for {
		fd := -1
		if err := raw.Read(func(l uintptr) bool {
			fd, _, err = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(err, unix.EAGAIN)
		}); err != nil || fd < 0 {
			return
		}
		if c, err := newConn(fd); err == nil {
			go f.serve(c)
		}
	}
}

func (f *fake) serve(c *conn) {
	defer c.close()
	t := &talk{conn: c}
	registries := map[uint32]bool{}
	var manager, context uint32
	var fds []int
	b := make([]byte, 4096)
	for {
		n, more, err := c.read(b)
		if err != nil || n == 0 {
			return
		}
		fds = append(fds, more...)
		t.pending = append(t.pending, b[:n]...)
		for {
			m, rest, ok, err := next(t.pending)
			if err != nil || !ok {
				break
			}
			t.pending = rest
			a := m.args()
			switch {
			case m.object() == display && m.opcode() == displayGetRegistry:
				id := a.word()
				registries[id] = true
				for i, name := range f.globals {
					_ = t.send(nil, newMessage(id, registryGlobal).word(uint32(i+1)).text(name).word(1))
				}
			case m.object() == display && m.opcode() == displaySync:
				_ = t.send(nil, newMessage(a.word(), callbackDone).word(0))
			case registries[m.object()] && m.opcode() == registryBind:
				a.word()
				iface := a.text()
				a.word()
				f.note(&f.binds, iface)
				if iface == securityManagerName {
					manager = a.word()
				}
				f.mu.Lock()
				refuse := f.refuse
				f.mu.Unlock()
				if refuse != "" {
					_ = t.send(nil, newMessage(display, displayError).word(m.object()).word(0).text(refuse))
				}
			case manager != 0 && m.object() == manager && m.opcode() == managerListener:
				context = a.word()
			case context != 0 && m.object() == context && m.opcode() == contextCommit:
				f.mu.Lock()
				f.listener, f.closer = os.NewFile(uintptr(fds[0]), "listener"), os.NewFile(uintptr(fds[1]), "closer")
				f.mu.Unlock()
				fds = nil
			case context != 0 && m.object() == context:
				f.note(&f.context, a.text())
			default:
				// Some request of an ordinary interface, with a descriptor.
				for _, fd := range fds {
					file := os.NewFile(uintptr(fd), "from a client")
					text, _ := io.ReadAll(file)
					file.Close()
					f.note(&f.got, string(text))
				}
				fds = nil
			}
		}
	}
}

func (f *fake) note(list *[]string, s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, s)
}

func (f *fake) list(list *[]string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, *list...)
}

// offer runs Offer and gives the socket for programs.
func (f *fake) offer() (string, io.Closer) {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "wayland-0")
	c, err := Offer(f.socket, path, "dev.jail.test")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return path, c
}

// A program is a client of what Offer made.
type program struct {
	*talk
	t       *testing.T
	globals map[string]uint32
	last    uint32
}

func connectProgram(t *testing.T, path string) *program {
	t.Helper()
	c, err := dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	_ = c.f.SetDeadline(time.Now().Add(20 * time.Second))
	p := &program{talk: &talk{conn: c}, t: t, globals: map[string]uint32{}, last: 2}
	if err := p.send(nil, newMessage(display, displayGetRegistry).word(2)); err != nil {
		t.Fatal(err)
	}
	if err := p.roundtrip(); err != nil {
		t.Fatal(err)
	}
	return p
}

// roundtrip waits until the compositor has seen all that was sent.
func (p *program) roundtrip() error {
	p.last++
	if err := p.send(nil, newMessage(display, displaySync).word(p.last)); err != nil {
		return err
	}
	return p.until(p.last, func(m message) {
		if m.object() == 2 && m.opcode() == registryGlobal {
			a := m.args()
			name := a.word()
			p.globals[a.text()] = name
		}
	})
}

func (p *program) bind(name uint32, iface string) error {
	p.last++
	if err := p.send(nil, newMessage(2, registryBind).word(name).text(iface).word(1).word(p.last)); err != nil {
		return err
	}
	return p.roundtrip()
}
