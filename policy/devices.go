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
	reads []string // read-only trees that programs find the devices by
}

var deviceSets = [...]deviceSet{
	{
		"gpu", "graphics cards: /dev/dri, NVIDIA's and AMD's nodes, and the parts of /sys that drivers look in",
		[]string{"/dev/dri", "/dev/nvidia*", "/dev/kfd", "/dev/dxg"},
		[]string{"/sys/dev/char", "/sys/class/drm", "/sys/bus/pci", "/sys/devices/pci*", "/sys/module/nvidia*"},
	},
	{"sound", "ALSA: /dev/snd", []string{"/dev/snd"}, []string{"/sys/class/sound"}},
	{"camera", "cameras: /dev/video*, /dev/media*", []string{"/dev/video*", "/dev/media*"}, []string{"/sys/class/video4linux"}},
	{"input", "game pads, mice and keyboards: /dev/input. A program with it sees what is typed anywhere", []string{"/dev/input"}, []string{"/sys/class/input"}},
	{"kvm", "virtual machines: /dev/kvm", []string{"/dev/kvm"}, nil},
	{"fuse", "user-space file systems: /dev/fuse", []string{"/dev/fuse"}, nil},
	{"tun", "network tunnels: /dev/net/tun", []string{"/dev/net/tun"}, nil},
	{"usb", "all USB devices: /dev/bus/usb", []string{"/dev/bus/usb"}, []string{"/sys/bus/usb"}},
	{"serial", "serial ports: /dev/ttyS*, /dev/ttyUSB*, /dev/ttyACM*", []string{"/dev/ttyS*", "/dev/ttyUSB*", "/dev/ttyACM*"}, nil},
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
	found := false
	for _, pattern := range s.nodes {
		for _, p := range t.r.matches(pattern) {
			f := t.r.look.walk(p)
			if f.err == nil && (f.stat.Mode&fs.ModeDevice != 0 || f.stat.Mode.IsDir()) {
				found = true
				t.add(rank, o, reason, Entry{Path: p, Kind: KindDevice, Source: p})
			}
		}
	}
	if !found {
		return
	}
	for _, pattern := range s.reads {
		for _, p := range t.r.matches(pattern) {
			if f := t.r.look.walk(p); f.err == nil && f.stat.Mode.IsDir() {
				t.add(rank, o, reason, Entry{Path: p, Kind: KindRO, Source: p})
			}
		}
	}
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
