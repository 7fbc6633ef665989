package policy

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// sources looks up what each entry shows of the host. What is missing is an
// error, or leaves an optional entry out.
func (t *tree) sources() {
	all := t.items
	if t.root != nil {
		all = append([]*fsItem{t.root}, all...)
	}
	for _, i := range all {
		switch i.Kind {
		case KindRO, KindRW, KindDevice:
			t.source(i)
		case KindPersist:
			t.persist(i)
		case KindOverlay:
			t.overlay(i)
		}
	}
	if t.root != nil && t.root.dropped {
		t.root = &fsItem{Entry: Entry{Path: "/", Written: "/", Kind: KindTmpfs, Recursive: true, Reason: "default mount", Origin: defaultOrigin}, active: true}
	}
	t.drop()
}

func (t *tree) drop() {
	t.items = slices.DeleteFunc(t.items, func(i *fsItem) bool { return i.dropped })
}

func (i *fsItem) sourceOrigin() (Origin, string) {
	if i.spec == nil {
		return i.Origin, i.key
	}
	if i.spec.Source.Set {
		return i.spec.Source.Origin, i.key + ".source"
	}
	return i.spec.Path.Origin, i.key + ".path"
}

// find walks to one source. It gives false where the entry ends here, as a
// Problem or, when it is optional, in silence.
func (t *tree) find(i *fsItem, o Origin, key, wanted string) (found, bool) {
	f := t.r.look.walk(wanted)
	if f.err == nil {
		i.links = append(i.links, f.links...)
		return f, true
	}
	i.dropped = true
	if f.missing() && i.optional {
		return f, false
	}
	cause, fix := lookupCause(wanted, f)
	if isPattern(wanted) && f.missing() {
		fix = "patterns work in hide entries only"
	}
	t.r.fail(o, key, cause, fix)
	return f, false
}

func (t *tree) source(i *fsItem) {
	o, key := i.sourceOrigin()
	f, ok := t.find(i, o, key, i.wanted)
	if !ok {
		return
	}
	i.Source, i.SourceType = f.path, f.stat.Mode.Type()
	if i.Kind == KindDevice {
		return
	}
	bad, fix := "", ""
	switch mode := f.stat.Mode; {
	case mode&fs.ModeNamedPipe != 0:
		bad, fix = "is a FIFO, which leads to whoever has its other end open", "grant the directory it lies in, or take the entry out"
	case mode&fs.ModeDevice != 0:
		bad, fix = "is "+fileKind(mode)+", which a file entry does not make usable", "name it under devices"
	case !t.r.look.readable(t.r.host, f.path, f.stat):
		bad, fix = "cannot be read by you", "jail gives a program no more than you have; mend the permissions or take the entry out"
	case i.Path == "/" && !mode.IsDir():
		bad, fix = "is "+fileKind(mode)+", the root is a directory", "name a directory"
	}
	if bad != "" {
		i.dropped = true
		t.r.fail(o, key, printable(i.wanted)+" "+bad, fix)
	}
}

// persist lays a directory of jail's own over the path. It is made before the
// first start, so it need not exist.
func (t *tree) persist(i *fsItem) {
	f := t.r.look.walk(i.Source)
	if f.err == nil && !f.stat.Mode.IsDir() {
		i.dropped = true
		t.r.fail(i.spec.Persist.Origin, i.key+".persist", printable(i.Source)+" is "+fileKind(f.stat.Mode)+", not a directory", "move it away")
		return
	}
	if f.err != nil && !f.missing() {
		i.dropped = true
		cause, fix := lookupCause(i.Source, f)
		t.r.fail(i.spec.Persist.Origin, i.key+".persist", cause, fix)
		return
	}
	// Links on the way to the state folder are the user's; below it one can only have been planted.
	state := t.r.look.walk(t.r.host.StateHome).path
	if f.path != state+strings.TrimPrefix(i.Source, t.r.host.StateHome) {
		i.dropped = true
		t.r.fail(i.spec.Persist.Origin, i.key+".persist", printable(i.Source)+" lies behind a symbolic link, which jail does not follow in its own folders",
			"move the link away; to keep jail's state elsewhere, set XDG_STATE_HOME")
		return
	}
	t.hostDir(f.path, 0o700, i.spec.Persist.Origin)
	i.Source = f.path
}

// overlay looks up the layers, and the folder that keeps what is written.
func (t *tree) overlay(i *fsItem) {
	s := i.spec.Overlay
	out := &Overlay{Discard: s.Discard.V}
	i.Overlay = out
	lower := func(o Origin, key, wanted string) bool {
		f, ok := t.find(i, o, key, wanted)
		switch {
		case !ok:
			return false
		case !f.stat.Mode.IsDir():
			i.dropped = true
			t.r.fail(o, key, printable(wanted)+" is "+fileKind(f.stat.Mode)+", an overlay is made of directories", "name a directory")
			return false
		case !t.r.look.readable(t.r.host, f.path, f.stat):
			i.dropped = true
			t.r.fail(o, key, printable(wanted)+" cannot be read by you", "mend the permissions or take the entry out")
			return false
		}
		// The kernel wants the top layer first; profiles have it last, as everything
		// that wins stands last in them.
		out.Lower = append([]string{f.path}, out.Lower...)
		return true
	}
	if s.Layers.Set {
		if len(s.Layers.Items) == 0 {
			i.dropped = true
			t.r.fail(s.Layers.Origin, i.key+".overlay.layers", "an overlay without layers", "name at least one directory")
			return
		}
		for n, l := range s.Layers.Items {
			key := i.key + ".overlay.layers[" + strconv.Itoa(n) + "]"
			wanted, ok := t.r.path(l, key, useGrant)
			if !ok || !lower(l.Origin, key, wanted) {
				i.dropped = true
				return
			}
		}
	} else {
		o, key := i.sourceOrigin()
		if !lower(o, key, i.wanted) {
			return
		}
	}
	if s.Keep.Set {
		t.keep(i, s.Keep)
	}
}

// keep checks the folder of a kept overlay: nothing but the overlay may write
// to it, or the kernel's answer is undefined (overlayfs.rst, "Changes to
// underlying filesystems"); planted by the program it could redirect lookups.
func (t *tree) keep(i *fsItem, keep Text) {
	key := i.key + ".overlay.keep"
	wanted, ok := t.r.path(keep, key, useGrant)
	if !ok {
		i.dropped = true
		return
	}
	f := t.r.look.walk(wanted)
	if f.err != nil && !f.missing() || f.err == nil && !f.stat.Mode.IsDir() {
		i.dropped = true
		t.r.fail(keep.Origin, key, printable(wanted)+" is not a directory that can be used", "name a directory of its own")
		return
	}
	i.links = append(i.links, f.links...)
	o := i.Overlay
	o.Keep = f.path
	o.Upper, o.Work = join(o.Keep, "upper"), join(o.Keep, "work")
	for _, l := range o.Lower {
		if under(o.Keep, l) || under(l, o.Keep) {
			i.dropped = true
			t.r.fail(keep.Origin, key, printable(o.Keep)+" overlaps the layer "+printable(l), "name a directory outside of it")
			return
		}
	}
	t.hostDir(o.Keep, 0o700, keep.Origin)
	t.hostDir(o.Upper, 0o755, keep.Origin)
	t.hostDir(o.Work, 0o700, keep.Origin)
}

// links turns an entry for a path that is itself a symlink on the host, such as
// /bin on a system with a merged /usr, into the same symlink, when what it leads
// to is granted too. Otherwise the entry shows what the link leads to.
func (t *tree) links() {
	for _, i := range t.items {
		if (i.Kind != KindRO && i.Kind != KindRW) || len(i.links) == 0 || i.wanted != i.Path {
			continue
		}
		link := t.r.look.lstat(i.Path)
		if link.err != nil || link.stat.Mode&fs.ModeSymlink == 0 || !t.shows(i) {
			continue
		}
		target := link.target
		direct := target
		if !strings.HasPrefix(direct, "/") {
			direct = cleanJoin(parent(i.Path), target)
		}
		if cleanJoin("/", direct) != i.Source {
			target = i.Source // it leads over another link, which is not there inside
		}
		i.Kind, i.Target = KindSymlink, target
		i.Source, i.SourceType, i.Options = "", 0, nil
	}
}

// shows tells whether another entry shows i's source under its own name, with
// at least i's rights.
func (t *tree) shows(i *fsItem) bool {
	covered := func(o *fsItem) bool {
		return o != nil && o != i && o.Source == o.Path && under(i.Source, o.Source) &&
			(o.Kind == KindRW || o.Kind == KindRO && i.Kind == KindRO)
	}
	return covered(t.root) || slices.ContainsFunc(t.items, covered)
}

func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	}
	return "/"
}

// planted refuses sources that were reached through a symlink which the program
// itself may have made in an earlier run, when it leads to what is not granted.
func (t *tree) planted() {
	for _, i := range t.items {
		for _, link := range i.links {
			w := t.writer(link)
			if w == nil || t.grantedElsewhere(i) {
				continue
			}
			o, key := i.sourceOrigin()
			t.r.fail(o, key, printable(i.wanted)+" goes through the symbolic link "+printable(link)+", which the program may have made itself (it can write "+printable(w.Path)+") and which leads to "+printable(i.Source)+", which is not granted",
				"name "+quote(i.Source)+" as the source if that is what you want, or remove the link")
			break
		}
	}
}

// writer gives the entry through which the program can write the directory that
// p lies in, or nil.
func (t *tree) writer(p string) *fsItem {
	writes := func(i *fsItem) bool {
		switch i.Kind {
		case KindRW, KindPersist:
			return i.Source != p && under(p, i.Source)
		}
		return false
	}
	if t.root != nil && writes(t.root) {
		return t.root
	}
	for _, i := range t.items {
		if writes(i) {
			return i
		}
	}
	return nil
}

// grantedElsewhere tells whether the files behind i are granted, with i's
// rights, by an entry that did not take the same doubtful way.
func (t *tree) grantedElsewhere(i *fsItem) bool {
	for _, o := range append([]*fsItem{t.root}, t.items...) {
		if o == nil || o == i || !o.HostBacked() || !under(i.Source, o.Source) {
			continue
		}
		if i.Kind == KindRW && o.Kind == KindRO {
			continue
		}
		if !slices.ContainsFunc(o.links, func(l string) bool { return t.writer(l) != nil }) {
			return true
		}
	}
	return false
}
