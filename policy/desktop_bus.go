package policy

import (
	"encoding/hex"
	"hash/fnv"
	"io/fs"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// portalCalls are the portals that a program may use: those that ask the user,
// or do nothing but tell. Left out are those that would act for the program
// outside (starting programs, autostart, opening files and links) or look at
// what others do (screenshots, screen casts, remote control, the clipboard,
// global shortcuts). Opening links has a key of its own.
var portalCalls = [...]string{
	"org.freedesktop.portal.FileChooser.*", "org.freedesktop.portal.Settings.*", "org.freedesktop.portal.Notification.*",
	"org.freedesktop.portal.Print.*", "org.freedesktop.portal.Inhibit.*", "org.freedesktop.portal.Account.*",
	"org.freedesktop.portal.NetworkMonitor.*", "org.freedesktop.portal.ProxyResolver.*", "org.freedesktop.portal.MemoryMonitor.*",
	"org.freedesktop.portal.PowerProfileMonitor.*",
	"org.freedesktop.DBus.Properties.*", "org.freedesktop.DBus.Introspectable.*", "org.freedesktop.DBus.Peer.*",
}

const (
	portalName = "org.freedesktop.portal.Desktop"
	portalPath = "/org/freedesktop/portal/desktop"
)

func portalRules() []string {
	rules := make([]string, 0, len(portalCalls)+4)
	for _, call := range portalCalls {
		rules = append(rules, "--call="+portalName+"="+call+"@"+portalPath)
	}
	return append(rules,
		// A request that waits for the user, to take it back.
		"--call="+portalName+"=org.freedesktop.portal.Request.*@"+portalPath+"/request/*",
		"--call="+portalName+"=org.freedesktop.portal.Session.*@"+portalPath+"/session/*",
		"--broadcast="+portalName+"=*@"+portalPath+"/*",
		// Where the chosen files appear.
		"--call=org.freedesktop.portal.Documents=org.freedesktop.portal.Documents.GetMountPoint@/org/freedesktop/portal/documents")
}

// outlets are names on the session bus through which a program can do outside
// what the sandbox keeps it from. A profile may name them, and the user is told.
var outlets = [...]struct{ name, why string }{
	{"org.freedesktop.systemd1", "it starts programs outside"},
	{"org.freedesktop.Flatpak", "it starts programs outside"},
	{"org.freedesktop.portal.Desktop", "it starts programs outside and opens files; 'portals: true' lets the harmless part of it through"},
	{"org.freedesktop.portal.Flatpak", "it starts programs outside"},
	{"org.freedesktop.FileManager1", "it opens files outside"},
	{"ca.desrt.dconf", "it changes settings of the desktop, the commands behind keyboard shortcuts among them"},
	{"org.gnome.Shell", "it steers the desktop and runs extensions"},
	{"org.gnome.Terminal", "it starts programs outside"},
	{"org.gnome.SessionManager", "it starts programs with the session"},
	{"org.gtk.vfs.Daemon", "it reads and writes files outside"},
	{"org.kde.klauncher5", "it starts programs outside"},
	{"org.kde.klauncher6", "it starts programs outside"},
	{"org.kde.kded5", "it steers the desktop"},
	{"org.kde.kded6", "it steers the desktop"},
	{"org.kde.KWin", "it runs scripts in the window manager"},
	{"org.kde.plasmashell", "it runs scripts in the desktop"},
	{"org.kde.krunner", "it starts programs outside"},
	{"org.a11y.Bus", "it leads to the bus of screen readers, which read and steer every window"},
}

// buses grants the buses of the session and the system, through xdg-dbus-proxy.
func (d *display) buses(in *DBusSection) {
	r := d.tree.r
	out := &r.out.Desktop
	if in != nil {
		out.Session = r.busAccess(&in.BusRules, in.Origin, "desktop.dbus.", true)
		if in.System != nil {
			out.System = r.busAccess(&in.System.BusRules, in.System.Origin, "desktop.dbus.system.", false)
		}
	}
	var session []string
	o := out.Session.Origin
	ask := func(f Flag, rules ...string) {
		if f.V {
			session = append(session, rules...)
			o = f.Origin
		}
	}
	ask(out.Notifications, "--talk=org.freedesktop.Notifications")
	ask(out.Keyring, "--talk=org.freedesktop.secrets")
	ask(out.Portals, portalRules()...)
	session = append(session, out.Session.rules()...)
	system := out.System.rules()
	b := &Buses{Origin: o}
	if len(session) > 0 {
		b.Session = r.sessionBus()
	}
	if len(system) > 0 {
		b.System = r.systemBus()
		b.Origin = out.System.Origin
	}
	if b.Session == nil && b.System == nil {
		return // nothing asked for, or no bus on this machine
	}
	if b.Proxy = r.helper("xdg-dbus-proxy"); b.Proxy == "" {
		r.noProxy(b.Origin)
		return
	}
	out.Buses = b
	d.busRoom(b, session, system)
}

// noProxy refuses the bus without the filter, or leaves it out with a warning
// where the profile has said so.
func (r *resolver) noProxy(o Origin) {
	const cause, fix = "the filter on the message buses is xdg-dbus-proxy, which is not installed", "apt install xdg-dbus-proxy"
	if r.out.level("dbus") == "prefer" {
		r.warn(o, "desktop.dbus", cause+"; the program gets no bus", fix)
		return
	}
	r.fail(o, "desktop.dbus", cause, fix+"; or write 'enforcement: {dbus: prefer}' to start without the bus where it is missing")
}

func (d *display) busRoom(b *Buses, session, system []string) {
	o := b.Origin
	dir := d.runtimeDir(o)
	const reason = "D-Bus, filtered"
	d.room(dir+"/jail-dbus", "dbus", o, reason)
	d.tree.add(d.tree.r.rankOf(o), o, reason, Entry{Path: "/etc/machine-id", Kind: KindContent, Content: machineID(d.tree.r.profile.Name)})
	if b.Session != nil {
		b.Session.Rules = session
		d.link(dir+"/bus", "jail-dbus/session", o, reason)
		d.env("DBUS_SESSION_BUS_ADDRESS", "unix:path="+dir+"/jail-dbus/session", o)
		d.documents(o)
	}
	if b.System != nil {
		b.System.Rules = system
		d.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+dir+"/jail-dbus/system", o)
	}
}

// machineID is what D-Bus libraries want to know before they talk to a bus
// (machine-id(5)). The machine's own would let programs tell by it who is who.
func machineID(profile string) []byte {
	h := fnv.New128a()
	h.Write([]byte("jail\x00" + profile))
	return append(hex.AppendEncode(nil, h.Sum(nil)), '\n')
}

// documents shows the files that the user gives the program through the file
// chooser, and no others: the document portal has a folder for each program.
func (d *display) documents(o Origin) {
	r := d.tree.r
	if !r.out.Desktop.Portals.V || r.host.RuntimeDir == "" {
		return
	}
	source := r.host.RuntimeDir + "/doc/by-app/" + appID(r.profile.Name)
	if f := r.look.walk(source); f.err == nil && f.stat.Mode.IsDir() {
		d.tree.add(r.rankOf(o), o, "files chosen by the user", Entry{Path: d.runtimeDir(o) + "/doc", Kind: KindRW, Source: source})
	}
}

// appID is what the session's services know the program by: portals want at
// least two dots, and no element that begins with a digit.
func appID(profile string) string {
	b := []byte("dev.jail.")
	for i := range len(profile) {
		switch c := profile[i]; {
		case c == '.':
			b = append(b, '_')
		case i == 0 && c >= '0' && c <= '9':
			b = append(b, '_', c)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// sessionBus finds the session bus as libraries do (D-Bus specification, "Well-known
// Message Bus Instances"), or gives nil.
func (r *resolver) sessionBus() *Bus {
	if address := r.host.Env["DBUS_SESSION_BUS_ADDRESS"]; address != "" {
		return r.busAt(address)
	}
	if r.host.RuntimeDir == "" {
		return nil
	}
	return r.busSocket(r.host.RuntimeDir + "/bus")
}

func (r *resolver) systemBus() *Bus {
	if address := r.host.Env["DBUS_SYSTEM_BUS_ADDRESS"]; address != "" {
		return r.busAt(address)
	}
	for _, p := range []string{"/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"} {
		if b := r.busSocket(p); b != nil {
			return b
		}
	}
	return nil
}

// busAt takes the first address of a list that is a unix socket:
// "unix:path=/run/user/1000/bus,guid=...;tcp:...".
func (r *resolver) busAt(addresses string) *Bus {
	for address := range strings.SplitSeq(addresses, ";") {
		options, ok := strings.CutPrefix(address, "unix:")
		if !ok {
			continue
		}
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			value, err := url.PathUnescape(value)
			if err != nil || value == "" || !validEnvValue(value) {
				continue
			}
			switch key {
			case "path":
				if strings.HasPrefix(value, "/") {
					return r.busSocket(path.Clean(value))
				}
			case "abstract":
				return &Bus{Abstract: value}
			}
		}
	}
	return nil
}

func (r *resolver) busSocket(p string) *Bus {
	f := r.look.walk(p)
	if f.err != nil || f.stat.Mode&fs.ModeSocket == 0 {
		return nil
	}
	return &Bus{Socket: f.path}
}

// busAccess checks the lists of one bus.
func (r *resolver) busAccess(in *BusRules, o Origin, key string, session bool) BusAccess {
	a := BusAccess{Origin: o}
	for _, list := range []struct {
		name string
		in   *List[Text]
		out  *[]Named
	}{{"talk", &in.Talk, &a.Talk}, {"own", &in.Own, &a.Own}, {"see", &in.See, &a.See}, {"call", &in.Call, &a.Call}, {"broadcast", &in.Broadcast, &a.Broadcast}} {
		for i, t := range list.in.Items {
			at := key + list.name + "[" + strconv.Itoa(i) + "]"
			if !t.Set {
				continue
			}
			name, rule, hasRule := strings.Cut(t.V, "=")
			wantsRule := list.name == "call" || list.name == "broadcast"
			switch {
			case wantsRule && !hasRule:
				r.fail(t.Origin, at, quote(t.V)+" does not say what of the name", "NAME=METHOD@PATH, as org.example.App=org.example.Player.*@/org/example/*")
			case !validBusName(name) || !wantsRule && hasRule:
				r.fail(t.Origin, at, quote(t.V)+" is not a name on a bus", "as org.freedesktop.Notifications, or org.example.*")
			case wantsRule && !validBusRule(rule):
				r.fail(t.Origin, at, quote(rule)+" is no rule for calls", "METHOD@PATH, as org.example.Player.Play@/org/example; .* and /* at the end stand for all below")
			case busNameCovers(name, "org.freedesktop.DBus") && list.name != "see":
				r.fail(t.Origin, at, "org.freedesktop.DBus is the bus itself, which the filter answers for", "take the entry out")
			default:
				*list.out = append(*list.out, Named{t.V, t.Origin})
				if session && list.name == "talk" {
					r.warnOutlet(name, at, t.Origin)
				}
			}
		}
	}
	return a
}

// warnOutlet says what a name would open that nobody expects of it.
func (r *resolver) warnOutlet(name, key string, o Origin) {
	for _, out := range outlets {
		if busNameCovers(name, out.name) {
			r.warn(o, key, "through "+out.name+" the program can leave the sandbox: "+out.why, "name what the program needs with 'call' instead")
		}
	}
}

// busNameCovers tells whether an entry stands for a name: itself, or with .* at
// its end whatever begins so. The proxy counts the name before .* in.
func busNameCovers(entry, name string) bool {
	prefix, all := strings.CutSuffix(entry, ".*")
	return prefix == name || all && strings.HasPrefix(name, prefix+".")
}

// validBusName follows the D-Bus specification, "Bus names", with .* at the end
// for all names below. Unique names are given by the bus and cannot be known.
func validBusName(s string) bool {
	s = strings.TrimSuffix(s, ".*")
	if len(s) > 255 || strings.Count(s, ".") == 0 {
		return false
	}
	for element := range strings.SplitSeq(s, ".") {
		if element == "" || element[0] >= '0' && element[0] <= '9' || !busWord(element, "-") {
			return false
		}
	}
	return true
}

// validBusRule follows xdg-dbus-proxy(1): [METHOD][@PATH], where METHOD is *, an
// interface with .*, or an interface and its member.
func validBusRule(s string) bool {
	method, object, hasPath := strings.Cut(s, "@")
	if method == "" && !hasPath {
		return false
	}
	if method != "" && method != "*" {
		method = strings.TrimSuffix(method, ".*")
		if strings.Count(method, ".") == 0 {
			return false
		}
		for element := range strings.SplitSeq(method, ".") {
			if element == "" || !busWord(element, "") {
				return false
			}
		}
	}
	if !hasPath || object == "/" || object == "/*" {
		return true
	}
	object, ok := strings.CutPrefix(strings.TrimSuffix(object, "/*"), "/")
	if !ok {
		return false
	}
	for element := range strings.SplitSeq(object, "/") {
		if element == "" || !busWord(element, "") {
			return false
		}
	}
	return true
}

func busWord(s, more string) bool {
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', strings.ContainsRune(more, c):
		default:
			return false
		}
	}
	return true
}

// rules gives the options of xdg-dbus-proxy(1).
func (a *BusAccess) rules() []string {
	var all []string
	for _, list := range []struct {
		option string
		names  []Named
	}{{"--see=", a.See}, {"--talk=", a.Talk}, {"--own=", a.Own}, {"--call=", a.Call}, {"--broadcast=", a.Broadcast}} {
		for _, n := range list.names {
			all = append(all, list.option+n.Name)
		}
	}
	return all
}
