package policy

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func envOf(r *Resolved, name string) string {
	for _, v := range r.Environment {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// TestDesktop: what the session has is granted, what it has not is left out.
func TestDesktop(t *testing.T) {
	const text = "version: 1\ndesktop: {wayland: true, x11: fallback, pulseaudio: true, pipewire: true}\n"
	h := fakeHost(t, map[string]string{"p.yaml": text})
	h.Env["WAYLAND_DISPLAY"], h.Env["DISPLAY"] = "wayland-0", ":0"
	r := resolveOn(t, h)
	if r.Desktop.Compositor == nil || r.Desktop.Compositor.Socket != "/run/user/1000/wayland-0" || r.Desktop.Display != nil {
		t.Errorf("wayland %+v, x11 %+v", r.Desktop.Compositor, r.Desktop.Display)
	}
	for path, want := range map[string]string{
		"/run/user/1000": "tmpfs", "/run/user/1000/jail-wayland": "room wayland", "/run/user/1000/wayland-0": "symlink jail-wayland/wayland-0",
		"/run/user/1000/pulse/native": "rw",
		"/run/user/1000/bus":          "nothing", "/tmp/.X11-unix": "nothing", "/run/user/1000/pipewire-0": "nothing",
	} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	delete(h.Env, "WAYLAND_DISPLAY")
	r = resolveOn(t, h)
	if d := r.Desktop.Display; r.Desktop.Compositor != nil || d == nil || d.Server != "/usr/bin/Xephyr" || d.Socket != "/tmp/.X11-unix/X0" ||
		brief(entryAt(r, "/tmp/.X11-unix")) != "room x11" || brief(entryAt(r, "/tmp/.X11-unix/X0")) != "nothing" || envOf(r, "DISPLAY") != ":0" {
		t.Errorf("without Wayland: %+v", d)
	}
	// A value that leads out of the runtime directory grants nothing.
	for _, name := range []string{"../../../home/user/.ssh", "a/b", ""} {
		h.Env["WAYLAND_DISPLAY"] = name
		if r := resolveOn(t, h); r.Desktop.Compositor != nil {
			t.Errorf("WAYLAND_DISPLAY=%s grants a socket", name)
		}
	}
}

// TestX11 goes through what a session can have and a profile can ask for.
func TestX11(t *testing.T) {
	tests := []struct {
		name, x11, display, wayland string
		without                     []string // helpers that are not installed
		server, problem, warning    string
	}{
		{name: "a console", x11: "true"},
		{name: "an X11 session", x11: "true", display: ":0", server: "/usr/bin/Xephyr"},
		{name: "a remote display is none of this machine", x11: "true", display: "elsewhere:0"},
		{name: "a Wayland session without X11", x11: "true", wayland: "wayland-0", server: "/usr/bin/Xwayland"},
		{name: "both, without Xephyr", x11: "true", display: ":0", wayland: "wayland-0", without: []string{"Xephyr"}, server: "/usr/bin/Xwayland"},
		{name: "an X11 session without Xephyr", x11: "true", display: ":0", without: []string{"Xephyr"}, problem: "apt install xserver-xephyr"},
		{name: "fallback without Xephyr", x11: "fallback", display: ":0", without: []string{"Xephyr"}, problem: "write 'x11: shared'"},
		{name: "a Wayland session without Xwayland", x11: "true", wayland: "wayland-0", without: []string{"Xwayland"}, problem: "apt install xwayland"},
		{name: "shared, in so many words", x11: "shared", display: ":0", without: []string{"Xephyr"}, warning: "read every key"},
		{name: "shared on a console", x11: "shared"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\ndesktop: {x11: " + tt.x11 + "}\n"})
			h.Env["DISPLAY"], h.Env["WAYLAND_DISPLAY"] = tt.display, tt.wayland
			for _, name := range tt.without {
				delete(h.FS.(fakeFS), "/usr/bin/"+name)
			}
			p, err := Load("./p.yaml", h)
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Resolve(h)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) || !strings.Contains(err.Error(), "p.yaml:2:") {
					t.Fatalf("problem %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			server := ""
			if r.Desktop.Display != nil {
				server = r.Desktop.Display.Server
			}
			warned := slices.ContainsFunc(r.Warnings, func(p Problem) bool { return tt.warning != "" && strings.Contains(p.Cause, tt.warning) })
			if server != tt.server || warned != (tt.warning != "") {
				t.Errorf("server %q, warnings %v", server, r.Warnings)
			}
		})
	}
}

// TestBuses: what the keys let through, and where the buses are looked for.
func TestBuses(t *testing.T) {
	const all = "version: 1\ndesktop:\n  notifications: true\n  keyring: true\n  dbus: {talk: [org.example.A], own: [org.example.B.*], see: [org.example.C], call: [\"org.example.D=org.example.I.*@/x/*\"]," +
		" broadcast: [\"org.example.E=@/\"], system: {talk: [org.freedesktop.UPower]}}\n"
	h := fakeHost(t, map[string]string{"p.yaml": all})
	h.FS.(fakeFS).put("/run/dbus/system_bus_socket", fakeFile{mode: 0o777 | fs.ModeSocket})
	r := resolveOn(t, h)
	b := r.Desktop.Buses
	if b == nil || b.Session == nil || b.System == nil {
		t.Fatalf("buses %+v", b)
	}
	want := []string{"--talk=org.freedesktop.Notifications", "--talk=org.freedesktop.secrets", "--see=org.example.C", "--talk=org.example.A", "--own=org.example.B.*",
		"--call=org.example.D=org.example.I.*@/x/*", "--broadcast=org.example.E=@/"}
	if !slices.Equal(b.Session.Rules, want) || !slices.Equal(b.System.Rules, []string{"--talk=org.freedesktop.UPower"}) {
		t.Errorf("session %q\nsystem %q", b.Session.Rules, b.System.Rules)
	}
	for address, want := range map[string]Bus{
		"unix:path=/run/user/1000/bus":                       {Socket: "/run/user/1000/bus"},
		"unix:path=%2frun%2fuser%2f1000%2fbus,guid=00":       {Socket: "/run/user/1000/bus"},
		"tcp:host=x;unix:abstract=/tmp/dbus-1,guid=00":       {Abstract: "/tmp/dbus-1"},
		"unix:path=/nowhere":                                 {},
		"unix:path=relative":                                 {},
		"tcp:host=localhost":                                 {},
		"unixexec:path=/bin/sh;unix:path=/run/user/1000/bus": {Socket: "/run/user/1000/bus"},
	} {
		h.Env["DBUS_SESSION_BUS_ADDRESS"] = address
		got := Bus{}
		if s := resolveOn(t, h).Desktop.Buses.Session; s != nil {
			got.Socket, got.Abstract = s.Socket, s.Abstract
		}
		if got.Socket != want.Socket || got.Abstract != want.Abstract {
			t.Errorf("%s: %+v, want %+v", address, got, want)
		}
	}
	// A session without a bus is no reason not to start.
	h = fakeHost(t, map[string]string{"p.yaml": "version: 1\ndesktop: {notifications: true, portals: true}\n"})
	delete(h.FS.(fakeFS), "/run/user/1000/bus")
	if r := resolveOn(t, h); r.Desktop.Buses != nil || envOf(r, "DBUS_SESSION_BUS_ADDRESS") != "" {
		t.Errorf("a bus that is not there: %+v", r.Desktop.Buses)
	}
}

// Without its filter the bus is refused, or left out where the profile says so; never given as it is.
func TestBusWithoutProxy(t *testing.T) {
	for level, refused := range map[string]bool{"require": true, "prefer": false} {
		h := fakeHost(t, map[string]string{"p.yaml": "version: 1\ndesktop: {notifications: true}\nenforcement: {dbus: " + level + "}\n"})
		delete(h.FS.(fakeFS), "/usr/bin/xdg-dbus-proxy")
		p, err := Load("./p.yaml", h)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Resolve(h)
		if refused {
			if err == nil || !strings.Contains(err.Error(), "apt install xdg-dbus-proxy") {
				t.Errorf("%s: %v", level, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", level, err)
		}
		if r.Desktop.Buses != nil || entryAt(r, "/run/user/1000/bus") != nil || (len(r.Warnings) > 0) != (level == "prefer") {
			t.Errorf("%s: %+v, %v", level, r.Desktop.Buses, r.Warnings)
		}
	}
}

// The portals that act outside, or look at what others do, are not among those let through.
func TestPortalRules(t *testing.T) {
	rules := strings.Join(portalRules(), "\n")
	for _, bad := range []string{"OpenURI", "Background", "ScreenCast", "Screenshot", "RemoteDesktop", "GlobalShortcuts", "DynamicLauncher", "Clipboard",
		"InputCapture", "Secret", "Camera", "Device", "Trash", "Email", "--call=org.freedesktop.portal.Desktop=*", "talk="} {
		if strings.Contains(rules, bad) {
			t.Errorf("%s is let through:\n%s", bad, rules)
		}
	}
	for _, rule := range portalRules() {
		_, value, _ := strings.Cut(rule, "=")
		name, call, _ := strings.Cut(value, "=")
		if !validBusName(name) || !validBusRule(call) {
			t.Errorf("%s is no rule that a profile could have", rule)
		}
	}
}

// A name that lets the program out is let through, and told of.
func TestOutlets(t *testing.T) {
	for name, warned := range map[string]bool{
		"org.freedesktop.systemd1": true, "org.kde.*": true, "org.gnome.Shell": true, "org.gnome.Shell.*": true,
		"org.freedesktop.Notifications": false, "org.gnome.ShellX": false, "org.example.systemd1": false,
	} {
		r := resolveText(t, "version: 1\ndesktop: {dbus: {talk: ["+name+"]}}\n")
		if got := len(r.Warnings) > 0; got != warned {
			t.Errorf("%s: warnings %v", name, r.Warnings)
		}
	}
}

// TestSessionParts: files that exist, read-only, and variables that are set.
func TestSessionParts(t *testing.T) {
	h := fakeHost(t, map[string]string{"p.yaml": "version: 1\ndesktop: {fonts: true, themes: true, locale: true, printing: true}\n"})
	files := h.FS.(fakeFS)
	for _, dir := range []string{"/etc/fonts", "/home/user/.themes", "/home/user/.config/gtk-3.0"} {
		files.put(dir, fakeFile{mode: 0o755 | fs.ModeDir})
	}
	files.put("/home/user/.config/gtk-3.0/settings.ini", fakeFile{mode: 0o644})
	files.put("/home/user/.config/gtk-3.0/bookmarks", fakeFile{mode: 0o644})
	files.put("/run/cups/cups.sock", fakeFile{mode: 0o777 | fs.ModeSocket})
	h.Env["LC_TIME"], h.Env["GTK_THEME"] = "de_DE.UTF-8", "Adwaita"
	r := resolveOn(t, h)
	for path, want := range map[string]string{
		"/etc/fonts": "ro", "/home/user/.themes": "ro", "/home/user/.config/gtk-3.0/settings.ini": "ro", "/run/cups/cups.sock": "rw",
		"/home/user/.config/gtk-3.0": "nothing", "/home/user/.icons": "nothing",
	} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if envOf(r, "LC_TIME") == "" || envOf(r, "GTK_THEME") == "" {
		t.Errorf("environment %v", r.Environment)
	}
}

func TestAppID(t *testing.T) {
	for name, want := range map[string]string{"firefox": "dev.jail.firefox", "7z": "dev.jail._7z", "a.b-c": "dev.jail.a_b-c"} {
		if got := appID(name); got != want || !validBusName(got) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
