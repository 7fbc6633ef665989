package wayland

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	screencopy = "zwlr_screencopy_manager_v1"
	keyboards  = "zwp_virtual_keyboard_manager_v1"
)

// A compositor with security contexts is handed the socket, told who is behind it, and hears when it is over.
func TestSecurityContext(t *testing.T) {
	f := newFake(t, "wl_compositor", screencopy, securityManagerName)
	path, closer := f.offer()
	if got := f.list(&f.context); len(got) != 3 || got[0] != "dev.jail" || got[1] != "dev.jail.test" || !strings.HasPrefix(got[2], "dev.jail.test.") {
		t.Errorf("the compositor was told %q", got)
	}
	f.mu.Lock()
	listener, closed := f.listener, f.closer
	f.mu.Unlock()
	if listener == nil {
		t.Fatal("no socket was handed over")
	}
	// What a program connects to is that socket, and nobody but the compositor listens on it.
	c, err := dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if fd, _, err := unix.Accept4(int(listener.Fd()), unix.SOCK_CLOEXEC); err != nil {
		t.Errorf("accept: %v", err)
	} else {
		_ = unix.Close(fd)
	}
	poll := []unix.PollFd{{Fd: int32(closed.Fd()), Events: unix.POLLIN}}
	if n, _ := unix.Poll(poll, 0); n != 0 {
		t.Errorf("the compositor is told to stop before the end: %#x", poll[0].Revents)
	}
	_ = closer.Close()
	if n, _ := unix.Poll(poll, 5000); n != 1 || poll[0].Revents&unix.POLLHUP == 0 {
		t.Errorf("the compositor is not told to stop: %#x", poll[0].Revents)
	}
}

func TestRefusedContext(t *testing.T) {
	f := newFake(t, securityManagerName)
	const words = "nested security contexts are forbidden"
	f.mu.Lock()
	f.refuse = words
	f.mu.Unlock()
	if _, err := Offer(f.socket, t.TempDir()+"/wayland-0", "dev.jail.test"); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v", err)
	}
}

func TestNoCompositor(t *testing.T) {
	if _, err := Offer(t.TempDir()+"/none", t.TempDir()+"/wayland-0", "dev.jail.test"); err == nil {
		t.Error("no error")
	}
}

// Without security contexts a program is offered what is on the list, and cannot have the rest.
func TestFilter(t *testing.T) {
	f := newFake(t, "wl_compositor", screencopy, "xdg_wm_base", keyboards, "wl_seat", "made_up_v1", "wl_fixes")
	path, _ := f.offer()

	// The control: a program that connects directly gets everything.
	direct := connectProgram(t, f.socket)
	if len(direct.globals) != len(f.globals) || direct.bind(direct.globals[screencopy], screencopy) != nil || !slices.Contains(f.list(&f.binds), screencopy) {
		t.Fatalf("control: %v, bound %v", direct.globals, f.list(&f.binds))
	}

	p := connectProgram(t, path)
	if want := map[string]uint32{"wl_compositor": 1, "xdg_wm_base": 3, "wl_seat": 5}; fmt.Sprint(p.globals) != fmt.Sprint(want) {
		t.Errorf("offered %v, want %v", p.globals, want)
	}
	if err := p.bind(p.globals["xdg_wm_base"], "xdg_wm_base"); err != nil || !slices.Contains(f.list(&f.binds), "xdg_wm_base") {
		t.Errorf("an ordinary interface: %v", err)
	}
	for _, tt := range []struct {
		what  string
		name  uint32
		iface string
	}{
		{"a number that was not offered", 2, screencopy},
		{"a number that was not offered, under another name", 4, "wl_seat"},
		{"an offered number under another name", 1, keyboards},
		{"a number that there is not", 77, "wl_compositor"},
		{"no name", 1, ""},
	} {
		before := len(f.list(&f.binds))
		p := connectProgram(t, path)
		if err := p.bind(tt.name, tt.iface); err == nil {
			t.Errorf("%s: the connection goes on", tt.what)
		}
		if got := f.list(&f.binds); len(got) != before {
			t.Errorf("%s: the compositor was asked for %q", tt.what, got[before:])
		}
	}
	// A second registry tells no more than the first.
	second := connectProgram(t, path)
	if err := second.send(nil, newMessage(display, displayGetRegistry).word(50)); err != nil {
		t.Fatal(err)
	}
	seen := 0
	second.last = 60
	_ = second.send(nil, newMessage(display, displaySync).word(60))
	if err := second.until(60, func(m message) {
		if m.object() == 50 {
			seen++
		}
	}); err != nil || seen != 3 {
		t.Errorf("a second registry shows %d, %v", seen, err)
	}
}

// Bytes and descriptors pass through whole, however they are cut.
func TestFilterPasses(t *testing.T) {
	f := newFake(t, "wl_shm")
	path, _ := f.offer()
	p := connectProgram(t, path)
	const object = 9
	want := []string{}
	for i := range 40 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint("content ", i)
		_, _ = w.WriteString(text)
		w.Close()
		m := newMessage(object, 3).text(strings.Repeat("x", i*100)).bytes()
		cut := len(m) / 2 &^ 1
		if err := p.write(m[:cut], []int{int(r.Fd())}); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := p.write(m[cut:], nil); err != nil {
			t.Fatal(err)
		}
		r.Close()
		want = append(want, text)
	}
	if err := p.roundtrip(); err != nil {
		t.Fatal(err)
	}
	if got := f.list(&f.got); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Closing the filter ends what goes through it.
func TestFilterCloses(t *testing.T) {
	f := newFake(t, "wl_shm")
	path, closer := f.offer()
	p := connectProgram(t, path)
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.roundtrip(); err == nil {
		t.Error("the connection goes on")
	}
	if _, err := dial(path); err == nil {
		t.Error("a new connection is taken")
	}
}

// A program cannot hold more of jail than so many connections, nor make it keep a message without end.
func TestFilterBounds(t *testing.T) {
	f := newFake(t, "wl_shm")
	path, _ := f.offer()
	for _, bad := range [][]byte{
		newMessage(1, 0).b,       // size 0
		{1, 0, 0, 0, 0, 0, 7, 0}, // a size that is no multiple of four
		{2, 0, 0, 0, 0, 0, 8, 0}, // a bind that is cut off
		newMessage(2, registryBind).word(1).word(1 << 31).bytes(), // a string beyond the message
	} {
		p := connectProgram(t, path)
		if err := p.write(bad, nil); err != nil {
			t.Fatal(err)
		}
		if err := p.roundtrip(); err == nil {
			t.Errorf("%v: the connection goes on", bad)
		}
	}
	var open []*conn
	for range maxClients + 10 {
		c, err := dial(path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		open = append(open, c)
	}
	last := &talk{conn: open[len(open)-1]}
	_ = last.f.SetDeadline(time.Now().Add(10 * time.Second))
	_ = last.send(nil, newMessage(display, displaySync).word(3))
	if err := last.until(3, func(message) {}); err == nil {
		t.Error("no bound on connections")
	}
}

// Whatever a program sends, reading it neither fails nor reads beyond it.
func FuzzMessages(f *testing.F) {
	f.Add(newMessage(2, registryBind).word(1).text("wl_shm").word(1).word(3).bytes())
	f.Add(newMessage(display, displayGetRegistry).word(2).bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &link{registries: map[uint32]bool{2: true}, names: map[uint32]string{1: "wl_shm"}}
		for {
			m, rest, ok, err := next(b)
			if err != nil || !ok {
				return
			}
			b = rest
			bound, err := l.request(m)
			if a := m.args(); bound && err == nil && l.registries[m.object()] && m.object() != display {
				if name, iface := a.word(), a.text(); l.names[name] != iface || !allowed(iface) {
					t.Fatalf("%v binds %d as %q", m, name, iface)
				}
			}
			_, _ = l.event(m)
		}
	})
}
