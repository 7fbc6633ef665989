package policy

import (
	"io/fs"
	"path"
	"strings"
)

// rankedVar is a variable of the environment with the rank of what asked for it.
type rankedVar struct {
	EnvVar
	rank int
}

// desktop adds the sockets and variables of the session that the profile
// grants and this session has. What the session does not have is left out: a
// profile for a browser must also start on a console.
func (t *tree) desktop() {
	r := t.r
	in := mergeSection(r, "desktop", func(f *Fragment) *DesktopSection { return &f.Desktop }, func(f *Fragment) *List[Text] { return &f.Without.Desktop })
	out := &r.out.Desktop
	out.Wayland, out.PulseAudio, out.PipeWire, out.Portals = in.Wayland, in.PulseAudio, in.PipeWire, in.Portals
	if in.X11.Set {
		out.X11 = in.X11
		out.X11.V = map[string]string{"true": "on", "false": "off", "fallback": "fallback"}[in.X11.V]
	}
	if in.Portals.V {
		r.available("desktop.portals", in.Portals.Origin)
	}
	if d := in.DBus; d != nil {
		out.DBusTalk, out.DBusOwn, out.DBusSee = r.busNames(d.Talk, "talk"), r.busNames(d.Own, "own"), r.busNames(d.See, "see")
		if len(out.DBusTalk)+len(out.DBusOwn)+len(out.DBusSee) > 0 {
			r.available("desktop.dbus", d.Origin)
		}
	}
	d := &display{tree: t}
	if in.Wayland.V {
		out.UsesWayland = d.wayland(in.Wayland.Origin)
	}
	if out.X11.V == "on" || out.X11.V == "fallback" && !out.UsesWayland {
		out.UsesX11 = d.x11(out.X11.Origin)
	}
	if in.PulseAudio.V {
		d.pulse(in.PulseAudio.Origin)
	}
	if in.PipeWire.V {
		d.runtimeSocket("pipewire-0", in.PipeWire.Origin, "PipeWire")
	}
}

type display struct {
	tree *tree
	dir  bool // the runtime directory has been added
}

func (d *display) env(name, value string, o Origin) {
	r := d.tree.r
	r.desktopEnv = append(r.desktopEnv, rankedVar{EnvVar{name, value, true, o}, r.rankOf(o)})
}

// socket grants a socket of the host under its own name.
func (d *display) socket(p string, o Origin, reason string) bool {
	r := d.tree.r
	f := r.look.walk(p)
	if f.err != nil || f.stat.Mode&fs.ModeSocket == 0 {
		return false
	}
	d.tree.add(r.rankOf(o), o, reason, Entry{Path: p, Kind: KindRW, Source: p})
	return true
}

// runtimeDir gives the program a runtime directory of its own.
func (d *display) runtimeDir(o Origin) bool {
	r := d.tree.r
	if r.host.RuntimeDir == "" {
		return false
	}
	if !d.dir {
		d.dir = true
		d.tree.add(r.rankOf(o), o, "runtime directory", Entry{Path: r.host.RuntimeDir, Kind: KindTmpfs, Mode: 0o700})
		d.env("XDG_RUNTIME_DIR", r.host.RuntimeDir, o)
	}
	return true
}

func (d *display) runtimeSocket(name string, o Origin, reason string) bool {
	dir := d.tree.r.host.RuntimeDir
	return dir != "" && d.socket(path.Join(dir, name), o, reason) && d.runtimeDir(o)
}

// wayland grants the compositor's socket (wl_display_connect(3)): a name in the
// runtime directory, or an absolute path.
func (d *display) wayland(o Origin) bool {
	name := d.tree.r.host.Env["WAYLAND_DISPLAY"]
	switch {
	case name == "" || strings.Contains(name, ".."):
		return false
	case strings.HasPrefix(name, "/"):
		if !d.socket(path.Clean(name), o, "Wayland") {
			return false
		}
	case strings.Contains(name, "/") || !d.runtimeSocket(name, o, "Wayland"):
		return false
	}
	d.runtimeDir(o)
	d.env("WAYLAND_DISPLAY", name, o)
	return true
}

// x11 grants the socket of a local display and its key.
func (d *display) x11(o Origin) bool {
	r := d.tree.r
	name := r.host.Env["DISPLAY"]
	number, ok := localDisplay(name)
	if !ok || !d.socket("/tmp/.X11-unix/X"+number, o, "X11") {
		return false
	}
	d.env("DISPLAY", name, o)
	auth := r.host.Env["XAUTHORITY"]
	if auth == "" {
		auth = r.host.Home + "/.Xauthority"
	}
	if !strings.HasPrefix(auth, "/") {
		return true
	}
	d.authority(path.Clean(auth), number, o)
	return true
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

// pulse grants the PulseAudio socket, and the cookie some servers ask for.
func (d *display) pulse(o Origin) {
	r := d.tree.r
	if !d.runtimeSocket("pulse/native", o, "PulseAudio") {
		return
	}
	d.env("PULSE_SERVER", "unix:"+path.Join(r.host.RuntimeDir, "pulse/native"), o)
	cookie := r.host.ConfigHome + "/pulse/cookie"
	if f := r.look.walk(cookie); f.err == nil && f.stat.Mode.IsRegular() {
		d.tree.add(r.rankOf(o), o, "PulseAudio", Entry{Path: cookie, Kind: KindRO, Source: cookie})
	}
}

// busNames checks names on a bus: a name, or one with .* at its end.
func (r *resolver) busNames(l List[Text], what string) []Named {
	var names []Named
	for _, t := range l.Items {
		if !t.Set {
			continue
		}
		name := strings.TrimSuffix(t.V, ".*")
		if !strings.Contains(name, ".") || !validName(name) || strings.Contains(name, "..") {
			r.fail(t.Origin, "desktop.dbus."+what, quote(t.V)+" is not a name on a bus", "as org.freedesktop.Notifications, or org.example.*")
			continue
		}
		names = append(names, Named{t.V, t.Origin})
	}
	return names
}
