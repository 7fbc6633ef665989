package policy

import (
	"io/fs"
	"slices"
)

// ownDir is a directory or file of jail's own.
type ownDir struct {
	path   string
	how    string // ro or hide
	reason string
	file   bool
}

// OwnPath is a directory or file of jail's own, which no program in a sandbox may
// write, whatever made the sandbox's configuration.
type OwnPath struct {
	Path   string
	Hide   bool // not only write-protected
	File   bool // not a directory
	Reason string
	Mode   fs.FileMode // to make it with, where it is a directory
}

// OwnPaths lists what is jail's own beside the files of a profile.
func OwnPaths(h *Host) []OwnPath {
	var all []OwnPath
	for _, d := range h.own() {
		all = append(all, OwnPath{d.path, d.how == "hide", d.file, d.reason, d.mode()})
	}
	return all
}

// PersistHome is the folder that persistent directories lie in.
func (h *Host) PersistHome() string { return parent(h.persistDir("x")) }

// mode is for the user alone, but for what all users are to read.
func (d ownDir) mode() fs.FileMode {
	if d.path == parent(systemProfiles) {
		return 0o755
	}
	return 0o700
}

// own lists what no sandbox may write, or in part see: a program that could
// would loosen its own next run.
func (r *resolver) own() []ownDir {
	dirs := r.host.own()
	for _, l := range r.profile.Layers {
		if l.Path != "" && !slices.ContainsFunc(dirs, func(d ownDir) bool { return under(l.Path, d.path) }) {
			dirs = append(dirs, ownDir{l.Path, "ro", "a file of this profile", true})
		}
	}
	return dirs
}

func (h *Host) own() []ownDir {
	dirs := []ownDir{
		{h.ConfigHome + "/jail", "ro", "jail's profiles", false},
		{h.StateHome + "/jail", "hide", "jail's state and the homes of other sandboxes", false},
		{h.CacheHome + "/jail", "ro", "jail's caches", false},
	}
	if h.RuntimeDir != "" {
		dirs = append(dirs, ownDir{h.RuntimeDir + "/jail", "hide", "the control sockets of running sandboxes", false})
	}
	if h.UID == 0 {
		dirs = append(dirs, ownDir{parent(systemProfiles), "ro", "the machine's profiles", false})
	}
	if h.Executable != "" {
		dirs = append(dirs, ownDir{h.Executable, "ro", "the jail program", true})
	}
	return dirs
}

// protect covers jail's own directories wherever the profile would let the
// program write or see them, also when they do not exist yet.
func (t *tree) protect() {
	for _, d := range t.r.own() {
		f := t.r.look.walk(d.path)
		if f.err != nil && !f.missing() {
			t.unprotected(d, f)
			continue
		}
		if f.err != nil && d.file {
			continue
		}
		if t.replaceable(d, f) {
			continue
		}
		for _, i := range t.shown() {
			t.protectFrom(i, d, f.path)
		}
	}
	t.protectLayers()
	t.protectCgroups()
}

// unprotected refuses what shows a directory of jail's that cannot be looked at. The program may be the one who closed
// the way to it, in an earlier run, and opens it again in this one.
func (t *tree) unprotected(d ownDir, f found) {
	for _, i := range t.shown() {
		for _, src := range i.hosts(nil, i.Path) {
			if (under(f.path, src) || under(src, f.path)) && (i.Kind == KindRW || d.how == "hide") {
				o, key := i.sourceOrigin()
				t.r.fail(o, key, printable(i.wanted)+" holds "+d.reason+", and "+printable(d.path)+" cannot be looked at: "+reason(f.err),
					"let yourself into the directories above it again, with chmod u+rwx")
			}
		}
	}
}

// protectCgroups keeps the machine's control groups read-only. Where a subtree
// of them was handed over to the user, whoever can write its files leaves the
// sandbox's group or raises its limits (CVE-2022-0492).
func (t *tree) protectCgroups() {
	for _, i := range t.shown() {
		if i.Kind != KindRW {
			continue
		}
		if under(i.Source, cgroupRoot) {
			o, key := i.sourceOrigin()
			t.r.fail(o, key, printable(i.wanted)+" would let the program leave its control group and raise its own limits", "use mode: ro")
			continue
		}
		if !under(cgroupRoot, i.Source) || t.r.look.walk(cgroupRoot).err != nil {
			continue
		}
		p := join(i.Path, below(cgroupRoot, i.Source))
		if t.view.cover(p) != i {
			continue
		}
		e := &fsItem{rank: i.rank, active: true, Entry: Entry{
			Path: p, Written: p, Kind: KindRO, Source: cgroupRoot, SourceType: fs.ModeDir, Options: i.Options, Recursive: true,
			Origin: defaultOrigin, Reason: "protects the machine's control groups",
		}}
		t.items = append(t.items, e)
		t.view.entries[p] = e
	}
}

// replaceable refuses a directory of jail's that is reached over a symlink the
// program could replace: nothing can be mounted on a symlink to hold it.
func (t *tree) replaceable(d ownDir, f found) bool {
	for _, link := range f.links {
		if w := t.writer(link); w != nil && w.Kind == KindRW {
			o, key := w.sourceOrigin()
			t.r.fail(o, key, printable(w.Written)+" is writable and holds "+printable(link)+", a symbolic link on the way to "+d.reason+", which the program could replace",
				"grant a narrower path, or make "+printable(link)+" a directory")
			return true
		}
	}
	return false
}

// protectFrom covers one directory of jail's where one entry shows it.
func (t *tree) protectFrom(i *fsItem, d ownDir, real string) {
	for _, src := range i.hosts(nil, i.Path) {
		switch {
		case under(real, src) && real != src:
			if p := join(i.Path, below(real, src)); t.view.cover(p) == i {
				t.cover(i, d, real, p)
			}
		case under(src, real) && i.Kind == KindRW:
			o, key := i.sourceOrigin()
			t.r.fail(o, key, printable(i.wanted)+" would let the program write "+d.reason, "use mode: ro, or take the entry out")
		}
	}
}

func (t *tree) cover(i *fsItem, d ownDir, real, p string) {
	writable := i.Kind == KindRW
	if d.how == "ro" && !writable {
		return
	}
	reason := "protects " + d.reason
	for _, other := range t.items {
		if under(other.Path, p) && !other.dropped {
			t.r.fail(other.Origin, other.key, printable(other.Written)+" lies in "+printable(real)+", which holds "+d.reason, "take the entry out")
		}
	}
	if !d.file {
		t.hostDir(real, d.mode(), defaultOrigin)
	}
	if writable {
		t.pin(i, p, defaultOrigin, reason, d.reason)
	}
	t.r.out.Protected = append(t.r.out.Protected, Protected{Path: p, Source: real, How: d.how, Reason: d.reason})
	if d.how == "hide" {
		t.hidden(Hidden{Path: p, Dir: !d.file, Pattern: p, Origin: defaultOrigin})
		return
	}
	e := &fsItem{rank: i.rank, active: true, Entry: Entry{
		Path: p, Written: p, Kind: KindRO, Source: real, Options: i.Options, Recursive: true, Origin: defaultOrigin, Reason: reason,
	}}
	if !d.file {
		e.SourceType = fs.ModeDir
	}
	t.items = append(t.items, e)
	t.view.entries[p] = e
}

// protectLayers refuses to keep an overlay's writes where the program, or jail
// itself, has other things.
func (t *tree) protectLayers() {
	for _, i := range t.shown() {
		if i.Kind != KindOverlay || i.Overlay.Keep == "" {
			continue
		}
		for _, d := range t.r.own() {
			if f := t.r.look.walk(d.path); under(i.Overlay.Keep, f.path) || under(f.path, i.Overlay.Keep) {
				t.r.fail(i.Origin, i.key+".overlay.keep", printable(i.Overlay.Keep)+" holds "+d.reason, "name a directory of its own")
			}
		}
		for _, w := range t.shown() {
			if w.Kind == KindRW && under(i.Overlay.Keep, w.Source) {
				t.r.fail(i.Origin, i.key+".overlay.keep", printable(i.Overlay.Keep)+" lies in "+printable(w.Written)+", which the program can write beside the overlay", "name a directory that the profile does not grant")
			}
		}
	}
}
