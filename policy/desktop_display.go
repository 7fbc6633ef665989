package policy

import (
	"io/fs"
	"path"
	"strings"
)

// wayland gives the program a Wayland display behind which jail stands, where
// the session has one: wl_display_connect(3) takes a name in the runtime
// directory or an absolute path.
func (d *display) wayland(o Origin) {
	socket := d.compositor()
	if socket == "" {
		return
	}
	dir := d.runtimeDir(o)
	d.room(dir+"/jail-wayland", "wayland", o, "Wayland")
	d.link(dir+"/wayland-0", "jail-wayland/wayland-0", o, "Wayland")
	d.env("WAYLAND_DISPLAY", "wayland-0", o)
	d.tree.r.out.Desktop.Compositor = &Compositor{socket, o}
}

// compositor gives the socket of the session's compositor, or "".
func (d *display) compositor() string {
	r := d.tree.r
	name := r.host.Env["WAYLAND_DISPLAY"]
	switch {
	case name == "" || strings.Contains(name, ".."):
		return ""
	case strings.HasPrefix(name, "/"):
		name = path.Clean(name)
	case strings.Contains(name, "/") || r.host.RuntimeDir == "":
		return ""
	default:
		name = path.Join(r.host.RuntimeDir, name)
	}
	f := r.look.walk(name)
	if f.err != nil || f.stat.Mode&fs.ModeSocket == 0 {
		return ""
	}
	return f.path
}

// Folders in which helper programs are looked for. Not the caller's PATH: a
// helper stands between the program and the session, so it must come from where
// only the system's administrator writes.
var helperDirs = [...]string{"/usr/bin", "/usr/local/bin", "/run/current-system/sw/bin"}

// helper gives the path of a helper program, or "" where it is not installed.
func (r *resolver) helper(name string) string {
	for _, dir := range helperDirs {
		if f := r.look.walk(dir + "/" + name); f.err == nil && f.stat.Mode.IsRegular() && f.stat.Mode&0o111 != 0 {
			return dir + "/" + name
		}
	}
	return ""
}

// nested gives the program an X server of its own, which shows all of it in one
// window: X11 has no way to keep the clients of one server apart.
func (d *display) nested(o Origin) {
	r := d.tree.r
	x := &Display{Origin: o}
	number, hasX := localDisplay(r.host.Env["DISPLAY"])
	socket := "/tmp/.X11-unix/X" + number
	if f := r.look.walk(socket); f.err != nil || f.stat.Mode&fs.ModeSocket == 0 {
		hasX = false
	}
	compositor := d.compositor()
	switch {
	case !hasX && compositor == "":
		return
	case hasX && r.helper("Xephyr") != "":
		x.Server, x.Socket, x.Number, x.Authority = r.helper("Xephyr"), socket, number, d.authorityFile()
	case compositor != "" && r.helper("Xwayland") != "":
		x.Server, x.Compositor = r.helper("Xwayland"), compositor
	default:
		what, fix := "Xephyr", "apt install xserver-xephyr"
		if !hasX {
			what, fix = "Xwayland", "apt install xwayland"
		}
		r.fail(o, "desktop.x11", "an X11 display of its own needs "+what+", which is not installed",
			fix+"; or write 'x11: shared' to give the program the session's own display, where it reads every key and sees every window")
		return
	}
	if r.out.Network.Mode.V == "host" && r.abstractSocket("@/tmp/.X11-unix/X"+number) && hasX {
		r.warn(o, "desktop.x11", "network.mode host leaves the abstract socket of the session's X server in reach, so the program may get around its own display",
			"take another network mode, or start the X server with '-nolisten local'")
	}
	r.out.Desktop.Display = x
	if auth := d.authorityFile(); auth != "" && r.look.walk(auth).err == nil {
		// The keys of the session's display are of no use without a way to it, and none of the program's business.
		d.tree.hides = append(d.tree.hides, &hideItem{pattern: auth, key: "desktop.x11", rank: r.rankOf(o), active: true, origin: o})
	}
	d.room("/tmp/.X11-unix", "x11", o, "X11")
	d.env("DISPLAY", ":0", o)
}

// abstractSocket tells whether a name of the abstract namespace is listened on,
// as far as this network namespace sees (proc_net_unix, proc(5)).
func (r *resolver) abstractSocket(name string) bool {
	text, err := r.host.FS.ReadFile("/proc/net/unix", 16<<20)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(strings.TrimRight(line, "\n"), " "+name) {
			return true
		}
	}
	return false
}

// shared grants the socket of the session's own display, and its key.
func (d *display) shared(o Origin) {
	r := d.tree.r
	name := r.host.Env["DISPLAY"]
	number, ok := localDisplay(name)
	socket := "/tmp/.X11-unix/X" + number
	if !ok || !d.socket(socket, o, "X11") {
		return
	}
	r.warn(o, "desktop.x11", "shared: the program can read every key typed in this session, see and steer every window",
		"write 'x11: true' for a display of its own in a window")
	d.env("DISPLAY", name, o)
	if auth := d.authorityFile(); auth != "" {
		d.authority(auth, number, o)
	}
	r.out.Desktop.Display = &Display{Socket: socket, Number: number, Origin: o}
}

// authorityFile is where the session keeps the keys of its displays (Xau(3)).
func (d *display) authorityFile() string {
	h := d.tree.r.host
	auth := orElse(h.Env["XAUTHORITY"], h.Home+"/.Xauthority")
	if !strings.HasPrefix(auth, "/") {
		return ""
	}
	return path.Clean(auth)
}

// localDisplay gives the number of a display on this machine: ":1.0" is "1".
func localDisplay(s string) (string, bool) {
	s, ok := strings.CutPrefix(s, ":")
	if !ok {
		s, ok = strings.CutPrefix(s, "unix:")
	}
	if !ok {
		return "", false
	}
	number, _, _ := strings.Cut(s, ".")
	if number == "" || len(number) > 5 || strings.Trim(number, "0123456789") != "" {
		return "", false
	}
	return number, true
}
