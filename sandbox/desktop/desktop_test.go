package desktop

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const good = `{"app":"dev.jail.x","wayland":{"socket":"/run/w"},"x11":{"server":"/usr/bin/Xephyr","socket":"/tmp/.X11-unix/X0","number":"0"},` +
		`"dbus":{"proxy":"/usr/bin/xdg-dbus-proxy","session":{"socket":"/run/bus","rules":["--talk=org.a.b"]},"system":{"abstract":"/tmp/x","rules":[]}},"links":"/run/l"}`
	c, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Rooms(); !slices.Equal(got, []string{RoomWayland, RoomX11, RoomDBus, RoomLinks}) {
		t.Errorf("rooms %q", got)
	}
	for what, change := range map[string][2]string{
		"a rule that is another option":          {"--talk=org.a.b", "--fd=7"},
		"a rule that is no option":               {"--talk=org.a.b", "unix:path=/run/other"},
		"a rule without a name":                  {"--talk=org.a.b", "--talk="},
		"a relative path":                        {"/usr/bin/Xephyr", "Xephyr"},
		"a path with ..":                         {"/run/w", "/run/../w"},
		"two displays":                           {`"number":"0"`, `"compositor":"/run/w"`},
		"an abstract name with more in it":       {"/tmp/x", "/tmp/x,path=/run/bus"},
		"a key that is not known":                {`"app"`, `"apps":"x","app"`},
		"an application with lines":              {"dev.jail.x", `x\n[Context]`},
		"an application with keys":               {"dev.jail.x", "a=b"},
		"a bus with neither socket nor a name":   {`"socket":"/run/bus",`, ""},
		"the filter by another name than a path": {"/usr/bin/xdg-dbus-proxy", "sh"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%s: nothing changed", what)
		}
		if _, err := Parse(text); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestCheckLink(t *testing.T) {
	for link, ok := range map[string]bool{
		"https://example.org/":                     true,
		"http://example.org:8080/a?b=c&d=%20#e":    true,
		"HTTPS://EXAMPLE.ORG":                      true,
		"https://[2001:db8::1]/":                   true,
		"mailto:a@example.org?subject=x&body=y%0A": true,
		"mailto:a@example.org?attach=/etc/passwd":  false,
		"mailto:?Attach=~/.ssh/id_ed25519":         false,
		"mailto:?attachment=x":                     false,
		"file:///etc/passwd":                       false,
		"javascript:alert(1)":                      false,
		"data:text/html,x":                         false,
		"steam://run/1":                            false,
		"ssh://host":                               false,
		"-version":                                 false,
		"--new-window https://example.org":         false,
		"https://example.org/ --headless":          false,
		"https:///nothing":                         false,
		"https:opaque":                             false,
		"https://example.org/$(touch x)":           false,
		"https://example.org/`touch x`":            false,
		"https://example.org/\x1b[31m":             false,
		"https://example.org/\u202e":               false,
		"https://user:pw@example.org/":             false,
		"example.org":                              false,
		"":                                         false,
	} {
		if err := checkLink(link); (err == nil) != ok {
			t.Errorf("%q: %v", link, err)
		}
	}
}

// TestLinks writes into the pipe as a program would.
func TestLinks(t *testing.T) {
	room := t.TempDir()
	var mu sync.Mutex
	var opened []string
	s := Connect(&Config{App: "dev.jail.x", Links: "/run/links"}, Options{
		Rooms: map[string]string{RoomLinks: room},
		Open: func(link string) error {
			mu.Lock()
			defer mu.Unlock()
			if opened = append(opened, link); strings.HasSuffix(link, "fails") {
				return errors.New("no browser")
			}
			return nil
		},
	})
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(filepath.Join(room, "links"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	lines := []string{"https://example.org/1", "file:///etc/passwd", strings.Repeat("x", 3*maxLink), "", "https://example.org/fails", "https://example.org/3", "https://example.org/4", "https://example.org/5", "https://example.org/toomany"}
	if _, err := io.WriteString(pipe, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(s.Notices()) < 4 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	mu.Lock()
	want := []string{"https://example.org/1", "https://example.org/fails", "https://example.org/3", "https://example.org/4", "https://example.org/5"}
	if !slices.Equal(opened, want) {
		t.Errorf("opened %q", opened)
	}
	mu.Unlock()
	all := strings.Join(s.Notices(), "\n")
	for _, w := range []string{"only http, https and mailto", "more than 8192 bytes", "no browser", "more links than one every"} {
		if !strings.Contains(all, w) {
			t.Errorf("no %q in\n%s", w, all)
		}
	}
	s.Close()
	for name, mode := range map[string]os.FileMode{"open-link": 0o755, "config/mimeapps.list": 0o644, "share/applications/jail-open-link.desktop": 0o644} {
		if st, err := os.Stat(filepath.Join(room, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	entry, _ := os.ReadFile(filepath.Join(room, "share/applications/jail-open-link.desktop"))
	if !strings.Contains(string(entry), "Exec=/run/links/open-link %u\n") {
		t.Errorf("%s", entry)
	}
}

// A helper that does not come up is an error with its own last words; one that ends later is told of.
func TestHelpers(t *testing.T) {
	config := &Config{App: "dev.jail.x", DBus: &DBus{Proxy: "/usr/bin/xdg-dbus-proxy", Session: &Bus{Socket: "/run/a:b", Rules: []string{"--talk=org.a.b"}}, System: &Bus{Abstract: "x"}}}
	connect := func(launch func(*Helper, <-chan struct{}) error) *Session {
		return Connect(config, Options{Rooms: map[string]string{RoomDBus: t.TempDir()}, Launch: launch})
	}
	s := connect(func(h *Helper, _ <-chan struct{}) error {
		_, _ = h.Streams[2].WriteString("first words\nit does not work\n")
		return errors.New("exit code 1")
	})
	if err := s.Ready(); err == nil || err.Error() != "the filter on the message buses: it does not work" {
		t.Errorf("error %v", err)
	}
	s.Close()
	s = connect(func(*Helper, <-chan struct{}) error { return errors.New("no such profile") })
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "no such profile") || len(s.Notices()) > 0 {
		t.Errorf("error %v, notices %q", err, s.Notices())
	}
	s.Close()

	var got *Helper
	end := make(chan struct{})
	s = connect(func(h *Helper, _ <-chan struct{}) error {
		got = h
		_, _ = h.Streams[0].Write([]byte("x"))
		<-end
		return errors.New("exit code 3")
	})
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr/bin/xdg-dbus-proxy", "--fd=0", "unix:path=/run/outer/session", "/run/room/session", "--filter", "--talk=org.a.b",
		"unix:abstract=x", "/run/room/system", "--filter"}
	if !slices.Equal(got.Args, want) || !got.HostNet || !slices.Equal(got.Binds, []string{`/run/a\:b:/run/outer/session`}) {
		t.Errorf("%+v", got)
	}
	close(end)
	for deadline := time.Now().Add(10 * time.Second); len(s.Notices()) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := s.Notices(); len(n) != 1 || !strings.Contains(n[0], "ended before the program did: exit code 3") {
		t.Errorf("notices %q", n)
	}
	s.Close()

	// Closing ends a helper, and that is nothing to tell of.
	s = connect(func(h *Helper, stop <-chan struct{}) error {
		_, _ = h.Streams[0].Write([]byte("x"))
		<-stop
		return errors.New("killed")
	})
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if n := s.Notices(); len(n) != 0 {
		t.Errorf("notices %q", n)
	}
}

// What a helper says cannot fill the memory.
func TestLogIsBounded(t *testing.T) {
	log, err := newLog()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n, err := log.Write(make([]byte, 2*logSize))
	if err == nil || n > logSize {
		t.Errorf("wrote %d, %v", n, err)
	}
}
