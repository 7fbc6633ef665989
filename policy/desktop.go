package policy

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// rankedVar is a variable of the environment with the rank of what asked for it.
type rankedVar struct {
	EnvVar
	rank int
}

// desktop adds the sockets, files and variables of the session that the profile
// grants and this session has. What the session does not have is left out: a
// profile for a browser must also start on a console. What would protect the
// session (the filter on its buses, the nested X server) is never left out.
func (t *tree) desktop() {
	r := t.r
	in := mergeSection(r, "desktop", func(f *Fragment) *DesktopSection { return &f.Desktop }, func(f *Fragment) *List[Text] { return &f.Without.Desktop })
	out := &r.out.Desktop
	out.Wayland, out.PulseAudio, out.PipeWire, out.Portals = in.Wayland, in.PulseAudio, in.PipeWire, in.Portals
	out.Notifications, out.Keyring, out.Links = in.Notifications, in.Keyring, in.Links
	out.Fonts, out.Themes, out.Locale, out.Printing = in.Fonts, in.Themes, in.Locale, in.Printing
	if in.X11.Set {
		out.X11 = in.X11
		out.X11.V = map[string]string{"true": "on", "false": "off", "fallback": "fallback", "shared": "shared"}[in.X11.V]
	}
	d := &display{tree: t}
	if in.Wayland.V {
		d.wayland(in.Wayland.Origin)
	}
	switch out.X11.V {
	case "on":
		d.nested(out.X11.Origin)
	case "fallback":
		if out.Compositor == nil {
			d.nested(out.X11.Origin)
		}
	case "shared":
		d.shared(out.X11.Origin)
	}
	if in.PulseAudio.V {
		d.pulse(in.PulseAudio.Origin)
	}
	if in.PipeWire.V {
		d.runtimeSocket("pipewire-0", in.PipeWire.Origin, "PipeWire")
	}
	d.buses(in.DBus)
	if in.Links.V {
		d.links(in.Links.Origin)
	}
	for i := range sessionParts {
		if part := &sessionParts[i]; part.asked(&in).V {
			d.part(part, part.asked(&in).Origin)
		}
	}
}

type display struct {
	tree *tree
	dir  bool // the runtime directory has been added
}

func (d *display) env(name, value string, o Origin) {
	r := d.tree.r
	r.desktopEnv = append(r.desktopEnv, rankedVar{EnvVar{name, value, r.host.Env[name] == value, o}, r.rankOf(o)})
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

// runtimeDir gives the program a runtime directory of its own, and its path:
// that of the session, or the one that every distribution has.
func (d *display) runtimeDir(o Origin) string {
	r := d.tree.r
	dir := orElse(r.host.RuntimeDir, "/run/user/"+strconv.Itoa(r.host.UID))
	if !d.dir {
		d.dir = true
		d.tree.add(r.rankOf(o), o, "runtime directory", Entry{Path: dir, Kind: KindTmpfs, Mode: 0o700})
		d.env("XDG_RUNTIME_DIR", dir, o)
	}
	return dir
}

func (d *display) runtimeSocket(name string, o Origin, reason string) bool {
	dir := d.tree.r.host.RuntimeDir
	if dir == "" || !d.socket(path.Join(dir, name), o, reason) {
		return false
	}
	d.runtimeDir(o)
	return true
}

// room gives the program a folder in which a helper outside offers sockets. In
// the runtime directory links lead to them from where programs look.
func (d *display) room(at, name string, o Origin, reason string) {
	d.tree.add(d.tree.r.rankOf(o), o, reason, Entry{Path: at, Kind: KindRoom}).Source = name
}

func (d *display) link(at, target string, o Origin, reason string) {
	d.tree.add(d.tree.r.rankOf(o), o, reason, Entry{Path: at, Kind: KindSymlink, Target: target})
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

// links gives the program a way to ask for a link to be opened outside: a folder
// with a small program that writes the link into a pipe, and the settings by
// which desktop libraries and xdg-open find that program.
func (d *display) links(o Origin) {
	r := d.tree.r
	at := d.runtimeDir(o) + "/jail-links"
	r.out.Desktop.LinksAt = at
	d.room(at, "links", o, "opening links")
	d.env("BROWSER", at+"/open-link", o)
	d.env("XDG_CONFIG_DIRS", at+"/config:"+orElse(r.host.Env["XDG_CONFIG_DIRS"], "/etc/xdg"), o)
	d.env("XDG_DATA_DIRS", at+"/share:"+orElse(r.host.Env["XDG_DATA_DIRS"], "/usr/local/share:/usr/share"), o)
}

// sessionPart is a key of `desktop` that stands for files and variables only.
type sessionPart struct {
	asked   func(*DesktopSection) Flag
	reason  string
	files   []string // read-only, where they exist; ~ is the home directory
	sockets []string
	keep    []string // variables taken over from the caller, by name or pattern
}

var sessionParts = [...]sessionPart{
	{
		asked: func(s *DesktopSection) Flag { return s.Fonts }, reason: "fonts",
		files: []string{
			"/etc/fonts", "~/.config/fontconfig", "~/.fonts", "~/.fonts.conf", "~/.local/share/fonts",
			// The index of /usr's fonts; without it every start reads all of them.
			"/var/cache/fontconfig",
			// NixOS.
			"/run/current-system/sw/share/X11/fonts",
		},
	},
	{
		asked: func(s *DesktopSection) Flag { return s.Themes }, reason: "themes",
		files: []string{
			"/etc/gtk-2.0", "/etc/gtk-3.0", "/etc/gtk-4.0", "/etc/xdg/qt5ct", "/etc/xdg/qt6ct",
			// Not the whole folders: bookmarks of the file chooser lie beside.
			"~/.config/gtk-3.0/settings.ini", "~/.config/gtk-3.0/gtk.css", "~/.config/gtk-3.0/colors.css",
			"~/.config/gtk-4.0/settings.ini", "~/.config/gtk-4.0/gtk.css", "~/.gtkrc-2.0",
			"~/.config/kdeglobals", "~/.config/Kvantum", "~/.config/qt5ct", "~/.config/qt6ct",
			"~/.icons", "~/.themes", "~/.local/share/icons", "~/.local/share/themes",
		},
		keep: []string{
			"XCURSOR_THEME", "XCURSOR_SIZE", "GTK_THEME", "GDK_SCALE", "GDK_DPI_SCALE", "QT_QPA_PLATFORMTHEME", "QT_STYLE_OVERRIDE",
			"QT_SCALE_FACTOR", "QT_AUTO_SCREEN_SCALE_FACTOR", "XDG_CURRENT_DESKTOP", "XDG_SESSION_TYPE",
		},
	},
	{
		asked: func(s *DesktopSection) Flag { return s.Locale }, reason: "locale",
		files: []string{"/etc/locale.conf", "/etc/default/locale", "/etc/locale.alias", "/etc/localtime", "/etc/timezone", "/run/current-system/sw/lib/locale"},
		keep:  []string{"LANG", "LANGUAGE", "LC_*", "TZ", "LOCALE_ARCHIVE"},
	},
	{
		asked: func(s *DesktopSection) Flag { return s.Printing }, reason: "printing",
		files:   []string{"/etc/cups/client.conf", "/etc/cups/lpoptions", "~/.cups/client.conf", "~/.cups/lpoptions", "/etc/papersize"},
		sockets: []string{"/run/cups/cups.sock", "/var/run/cups/cups.sock"},
		keep:    []string{"PRINTER", "LPDEST", "PAPERSIZE"},
	},
}

// part grants the files, sockets and variables of one key.
func (d *display) part(p *sessionPart, o Origin) {
	r := d.tree.r
	rank := r.rankOf(o)
	for _, name := range p.files {
		name := strings.Replace(name, "~", r.host.Home, 1)
		f := r.look.walk(name)
		if f.err != nil || !f.stat.Mode.IsDir() && !f.stat.Mode.IsRegular() || !r.look.readable(r.host, f.path, f.stat) {
			continue
		}
		d.tree.add(rank, o, p.reason, Entry{Path: name, Kind: KindRO, Source: name})
	}
	for _, name := range p.sockets {
		if d.socket(name, o, p.reason) {
			break // the others are older names of the same
		}
	}
	for _, pattern := range p.keep {
		for name, value := range r.host.Env {
			if matchWord(pattern, name) && validEnvValue(value) {
				d.env(name, value, o)
			}
		}
	}
}
