package integration

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A compositor that has the protocol security-context-v1, as far as its clients here ask: it announces interfaces, answers
// wl_display.sync, and takes the sockets that are handed to it. What connects there is told of other interfaces than
// the rest. Numbers of requests are those of wayland.xml and security-context-v1.xml.
type compositor struct {
	mu       sync.Mutex
	contexts []confined
}

// confined is a context that a client has made.
type confined struct {
	words  []string // engine, application, instance
	closer *os.File
}

const (
	managerInterface = "wp_security_context_manager_v1"
	// secretInterface is told of to clients of the session, confinedInterface to those of a context. jail's own filter
	// knows neither and would pass neither on.
	secretInterface, confinedInterface = "zwlr_screencopy_manager_v1", "org_example_confined_v1"
)

// startCompositor puts one into the user's session.
func startCompositor(t *testing.T, u *user) *compositor {
	t.Helper()
	runtime := filepath.Join(u.home, "run")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", runtime+"/wayland-0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u.env = append(u.env, "XDG_RUNTIME_DIR="+runtime, "WAYLAND_DISPLAY=wayland-0")
	c := new(compositor)
	go c.accept(l, []string{"wl_compositor", managerInterface, secretInterface})
	return c
}

func (c *compositor) accept(l net.Listener, interfaces []string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go c.serve(conn.(*net.UnixConn), interfaces)
	}
}

// all gives the contexts that were committed.
func (c *compositor) all() []confined {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.contexts)
}

// serve reads a client's requests to the end: header of object, size and number, then arguments of words.
func (c *compositor) serve(conn *net.UnixConn, interfaces []string) {
	defer conn.Close()
	le := binary.NativeEndian
	event := func(object uint32, number uint16, args ...any) {
		var body []byte
		for _, a := range args {
			switch a := a.(type) {
			case int:
				body = le.AppendUint32(body, uint32(a))
			case string:
				body = le.AppendUint32(body, uint32(len(a)+1))
				body = append(body, a...)
				body = append(body, make([]byte, 4-len(a)%4)...)
			}
		}
		head := le.AppendUint32(le.AppendUint32(nil, object), uint32(len(body)+8)<<16|uint32(number))
		_, _ = conn.Write(append(head, body...))
	}
	var registry, manager, made uint32
	var now confined
	var pending []byte
	var fds []int
	buffer, beside := make([]byte, 4096), make([]byte, 256)
	for {
		n, nb, _, _, err := conn.ReadMsgUnix(buffer, beside)
		if err != nil || n == 0 {
			return
		}
		if messages, err := unix.ParseSocketControlMessage(beside[:nb]); err == nil {
			for i := range messages {
				if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
					fds = append(fds, got...)
				}
			}
		}
		pending = append(pending, buffer[:n]...)
		for len(pending) >= 8 && len(pending) >= int(le.Uint32(pending[4:])>>16) {
			object, number, size := le.Uint32(pending), le.Uint32(pending[4:])&0xffff, int(le.Uint32(pending[4:])>>16)
			args := pending[8:size]
			pending = pending[size:]
			switch {
			case object == 1 && number == 0: // wl_display.sync
				event(le.Uint32(args), 0, 0)
			case object == 1 && number == 1: // wl_display.get_registry
				registry = le.Uint32(args)
				for i, name := range interfaces {
					event(registry, 0, i+1, name, 1)
				}
			case object == registry && number == 0 && le.Uint32(args) == 2: // wl_registry.bind
				manager = le.Uint32(args[len(args)-4:])
			case manager != 0 && object == manager && number == 1: // create_listener
				made = le.Uint32(args)
			case made != 0 && object == made && number == 4 && len(fds) == 2: // commit
				file := os.NewFile(uintptr(fds[0]), "listener")
				if l, err := net.FileListener(file); err == nil {
					go c.accept(l, []string{"wl_compositor", confinedInterface})
				}
				file.Close()
				now.closer = os.NewFile(uintptr(fds[1]), "closer")
				c.mu.Lock()
				c.contexts = append(c.contexts, now)
				c.mu.Unlock()
				fds, now = nil, confined{}
			case made != 0 && object == made && number > 0: // set_sandbox_engine, set_app_id, set_instance_id
				now.words = append(now.words, string(args[4:4+le.Uint32(args)-1]))
			}
		}
	}
}

// Where the compositor has security contexts, it is the one to decide: a program's connection is its own, under the
// profile's name, and the context ends with the sandbox, however that ends.
func TestWaylandSecurityContext(t *testing.T) {
	need.Program(t, "wayland-info")
	u := newUser(t)
	c := startCompositor(t, u)

	// The control: a program of the session finds what there is.
	cmd := u.jail()
	cmd.Path, cmd.Args = need.Program(t, "wayland-info"), []string{"wayland-info"}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), secretInterface) || !strings.Contains(string(out), managerInterface) {
		t.Fatalf("control: %v %s", err, out)
	}

	u.profile("window", "extends: [base]\ndesktop: {wayland: true}\n")
	inside := u.must("--profile", "window", "wayland-info")
	if !strings.Contains(inside, confinedInterface) || strings.Contains(inside, secretInterface) || strings.Contains(inside, managerInterface) {
		t.Errorf("a program is offered\n%s", inside)
	}
	all := c.all()
	if len(all) != 1 || len(all[0].words) != 3 || all[0].words[0] != "dev.jail" || all[0].words[1] != "dev.jail.window" || all[0].words[2] == "" {
		t.Fatalf("the compositor was told %v", all)
	}
	ended := func(c confined, within time.Duration) bool {
		poll := []unix.PollFd{{Fd: int32(c.closer.Fd())}}
		for end := time.Now().Add(within); ; {
			n, err := unix.Poll(poll, int(time.Until(end).Milliseconds()))
			if !errors.Is(err, unix.EINTR) {
				return n == 1 && poll[0].Revents&unix.POLLHUP != 0
			}
		}
	}
	if !ended(all[0], 30*time.Second) {
		t.Error("the context did not end with the sandbox")
	}

	run := u.jail("--profile", "window", "sh", "-c", "wayland-info >/dev/null && echo up && sleep 1000")
	up, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := up.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	all = c.all()
	if len(all) != 2 || all[0].words[2] == all[1].words[2] {
		t.Fatalf("the compositor was told %v", all)
	}
	if ended(all[1], 0) {
		t.Error("the context ended before the sandbox")
	}
	_ = run.Process.Kill()
	_ = run.Wait()
	if !ended(all[1], 30*time.Second) {
		t.Error("the context outlives a supervisor that is killed")
	}
}
