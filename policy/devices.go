package policy

import (
	"io/fs"
	"slices"
	"strings"
)

// deviceSet is a name of `devices` and what it stands for. Patterns match below
// their directory; what a machine does not have is left out.
type deviceSet struct {
	name  string
	doc   string
	nodes []string // device nodes and folders of them
	reads []string // read-only files and trees that programs find the devices and their drivers by
	// instead are nodes for a machine that has none of the others.
	instead []string
}

var deviceSets = [...]deviceSet{
	{
		name:  "gpu",
		doc:   "graphics cards: the render nodes in /dev/dri (the others only where there is no render node: they reach the screen), NVIDIA's and AMD's nodes, drivers' settings, and the parts of /sys that drivers look in",
		nodes: []string{"/dev/dri/renderD*", "/dev/nvidia*", "/dev/kfd", "/dev/dxg"},
		reads: []string{
			"/sys/dev/char", "/sys/class/drm", "/sys/bus/pci", "/sys/devices/pci*", "/sys/module/nvidia*",
			"/etc/vulkan", "/etc/glvnd", "/etc/OpenCL", "/etc/drirc", "/run/opengl-driver",
		},
		instead: []string{"/dev/dri"},
	},
	{name: "sound", doc: "ALSA: /dev/snd", nodes: []string{"/dev/snd"}, reads: []string{"/sys/class/sound", "/etc/asound.conf", "/etc/alsa"}},
	{name: "camera", doc: "cameras: /dev/video*, /dev/media*", nodes: []string{"/dev/video*", "/dev/media*"}, reads: []string{"/sys/class/video4linux"}},
	{name: "gamepad", doc: "game pads and joysticks, and no keyboard or mouse", nodes: []string{"/dev/input/js*", "/dev/input/by-id/*-event-joystick", "/dev/input/by-path/*-event-joystick"}, reads: []string{"/sys/class/input"}},
	{name: "input", doc: "game pads, mice and keyboards: /dev/input. A program with it sees what is typed anywhere", nodes: []string{"/dev/input"}, reads: []string{"/sys/class/input"}},
	{name: "kvm", doc: "virtual machines: /dev/kvm", nodes: []string{"/dev/kvm"}},
	{name: "fuse", doc: "user-space file systems: /dev/fuse", nodes: []string{"/dev/fuse"}},
	{name: "tun", doc: "network tunnels: /dev/net/tun", nodes: []string{"/dev/net/tun"}},
	{name: "usb", doc: "all USB devices: /dev/bus/usb", nodes: []string{"/dev/bus/usb"}, reads: []string{"/sys/bus/usb"}},
	{name: "serial", doc: "serial ports: /dev/ttyS*, /dev/ttyUSB*, /dev/ttyACM*", nodes: []string{"/dev/ttyS*", "/dev/ttyUSB*", "/dev/ttyACM*"}},
}

func deviceNames() []string {
	names := make([]string, len(deviceSets))
	for i := range deviceSets {
		names[i] = deviceSets[i].name
	}
	return names
}

// devices adds an entry for each device granted. They stand before the file
// entries of the same file, which may hide or replace them.
func (t *tree) devices() {
	r := t.r
	items := mergeList(r, "devices",
		func(f *Fragment) *List[Item] { return &f.Devices },
		func(f *Fragment) *List[Text] { return &f.Without.Devices },
		itemWhen, itemIs)
	for _, e := range active(items) {
		v := e.item.Value
		if !v.Set {
			continue
		}
		if !strings.Contains(v.V, "/") {
			i := slices.IndexFunc(deviceSets[:], func(s deviceSet) bool { return s.name == v.V })
			if i < 0 {
				r.fail(v.Origin, e.key, quote(v.V)+" is not a set of devices", orElse(didYouMean(v.V, deviceNames()), "one of "+strings.Join(deviceNames(), ", ")+", or a path below /dev"))
				continue
			}
			t.deviceSet(&deviceSets[i], e.rank, v.Origin)
			continue
		}
		t.devicePath(e)
	}
}

func (t *tree) deviceSet(s *deviceSet, rank int, o Origin) {
	reason := "device set " + s.name
	if !t.nodes(s.nodes, rank, o, reason) && !t.nodes(s.instead, rank, o, reason) {
		return
	}
	for _, pattern := range s.reads {
		for _, p := range t.r.matches(pattern) {
			if f := t.r.look.walk(p); f.err == nil && (f.stat.Mode.IsDir() || f.stat.Mode.IsRegular()) {
				t.add(rank, o, reason, Entry{Path: p, Kind: KindRO, Source: p})
			}
		}
	}
}

// nodes grants what this machine has of the patterns, and tells whether that is
// anything. A name that is a link, as udev makes them, stands for the node.
func (t *tree) nodes(patterns []string, rank int, o Origin, reason string) bool {
	found := false
	for _, pattern := range patterns {
		for _, p := range t.r.matches(pattern) {
			f := t.r.look.walk(p)
			if f.err == nil && under(f.path, "/dev") && (f.stat.Mode&fs.ModeDevice != 0 || f.stat.Mode.IsDir()) {
				found = true
				t.add(rank, o, reason, Entry{Path: f.path, Kind: KindDevice, Source: f.path})
			}
		}
	}
	return found
}

func (t *tree) devicePath(e listed[Item]) {
	r, v := t.r, e.item.Value
	p, ok := r.path(v, e.key, useGrant)
	if !ok {
		return
	}
	if !under(p, "/dev") || p == "/dev" {
		r.fail(v.Origin, e.key, quote(p)+" is not a path below /dev", "files are granted under filesystem")
		return
	}
	f := r.look.walk(p)
	switch {
	case f.missing() && e.item.Optional.V:
		return
	case f.err != nil:
		cause, fix := lookupCause(p, f)
		r.fail(v.Origin, e.key, cause, strings.Replace(fix, "add 'optional: true'", "write {value: "+p+", optional: true}", 1))
		return
	case f.stat.Mode&fs.ModeDevice == 0 && !f.stat.Mode.IsDir():
		r.fail(v.Origin, e.key, quote(p)+" is "+fileKind(f.stat.Mode)+", not a device", "files are granted under filesystem")
		return
	}
	t.add(e.rank, v.Origin, "", Entry{Path: p, Kind: KindDevice, Source: p})
}

// matches expands a pattern in the last component of a path of the host.
func (r *resolver) matches(pattern string) []string {
	if !isPattern(pattern) {
		if r.look.walk(pattern).err != nil {
			return nil
		}
		return []string{pattern}
	}
	dir := parent(pattern)
	names, err := r.look.readDir(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, n := range names {
		if matchWord(pattern[len(dir)+1:], n) {
			all = append(all, dir+"/"+n)
		}
	}
	return all
}
