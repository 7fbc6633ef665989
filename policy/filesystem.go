package policy

import (
	"cmp"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// fsItem is one thing asked for in the file tree, on its way to an Entry.
type fsItem struct {
	Entry
	key                 string
	rank                int
	conditional, active bool
	optional            bool
	spec                *FilesystemItem // nil for what jail adds itself
	wanted              string          // the source as written, expanded; "" for none
	links               []string        // symlinks of the host gone through to Source
	dropped             bool
}

// hideItem is one `hide` entry.
type hideItem struct {
	pattern string
	key     string
	rank    int
	active  bool
	origin  Origin
	// regranted are paths that a later file names again.
	regranted []string
	// over says that the entries it covers stay, under its cover: a project file
	// that nobody approved must not bring to light what an entry stands before.
	over bool
}

// filesystem builds the file tree: collect what all files ask for, let later
// entries win, look the sources up, then lay it out and hide what is to be hidden.
func (r *resolver) filesystem() {
	t := &tree{r: r}
	t.defaults()
	t.desktop()
	t.devices()
	t.collect()
	t.latest()
	t.applyHides()
	t.sources()
	t.links()
	t.place()
	t.planted()
	t.mountPoints()
	t.protect()
	t.hide()
	t.hideLinks()
	t.tighten()
	t.finish()
	r.view = &t.view
}

type tree struct {
	r     *resolver
	items []*fsItem
	hides []*hideItem
	root  *fsItem
	view  view
	// linked are hidden files of the host with more than one name.
	linked map[inode]*linkedFile
}

// add puts in an entry of jail's own.
func (t *tree) add(rank int, o Origin, reason string, e Entry) *fsItem {
	e.Written, e.Origin, e.Reason, e.Recursive = e.Path, o, reason, true
	i := &fsItem{Entry: e, rank: rank, active: true, wanted: e.Source}
	t.items = append(t.items, i)
	return i
}

// defaults are the mounts every program needs; a profile's entry for the same
// path takes their place, and `without` takes them away.
func (t *tree) defaults() {
	const reason = "default mount"
	add := func(e Entry) { t.add(rankDefault, defaultOrigin, reason, e) }
	add(Entry{Path: "/", Kind: KindTmpfs})
	add(Entry{Path: "/proc", Kind: KindProc})
	add(Entry{Path: "/dev", Kind: KindDev})
	add(Entry{Path: "/dev/pts", Kind: KindPts})
	add(Entry{Path: "/dev/shm", Kind: KindTmpfs, Mode: 0o1777, Options: []string{"noexec"}})
	if t.r.hasNamespace("ipc") {
		add(Entry{Path: "/dev/mqueue", Kind: KindMqueue})
	}
	add(Entry{Path: "/tmp", Kind: KindTmpfs, Mode: 0o1777})
}

// collect reads the entries of all files, in order.
func (t *tree) collect() {
	r := t.r
	for _, p := range r.parts {
		for i, w := range p.Without.Filesystem.Items {
			key := p.prefix + "without.filesystem[" + strconv.Itoa(i) + "]"
			if path, ok := r.path(w, key, usePattern); ok && !t.without(path, p.rank) && !r.dormantPath(path, p.rank) {
				r.failWithout(p, "filesystem", i, w)
			}
		}
		for i := range p.Filesystem.Items {
			t.item(&p.Filesystem.Items[i], p.prefix+"filesystem["+strconv.Itoa(i)+"]", p)
		}
	}
}

// without takes an inherited entry away by its path.
func (t *tree) without(path string, rank int) bool {
	n := len(t.items) + len(t.hides)
	t.items = slices.DeleteFunc(t.items, func(i *fsItem) bool { return i.rank < rank && i.Written == path && path != "/" })
	t.hides = slices.DeleteFunc(t.hides, func(h *hideItem) bool { return h.rank < rank && h.pattern == path })
	if path == "/" {
		// The default root stays: there is always one.
		t.items = slices.DeleteFunc(t.items, func(i *fsItem) bool { return i.rank < rank && i.rank > rankDefault && i.Written == path })
	}
	return len(t.items)+len(t.hides) < n
}

func (r *resolver) dormantPath(path string, rank int) bool {
	return slices.ContainsFunc(r.dormant, func(d part) bool {
		return d.rank < rank && slices.ContainsFunc(d.Filesystem.Items, func(i FilesystemItem) bool {
			p, err := r.vars.path(i.Path.V, usePattern)
			return err == nil && p == path
		})
	})
}

// item reads one entry of a profile.
func (t *tree) item(s *FilesystemItem, key string, p part) {
	r := t.r
	if !s.Path.Set {
		return
	}
	use := useGrant
	if s.Hide.V {
		use = usePattern
	}
	on := s.When == nil || r.holds(s.When, key+".when")
	path, err := r.vars.path(s.Path.V, use)
	switch {
	case err != nil && on:
		r.fail(s.Path.Origin, key+".path", err.cause, err.fix)
		return
	case err != nil:
		return // it may rest on a variable that this machine does not have
	}
	if s.Hide.Set {
		t.hideEntry(s, path, key, p, on)
		return
	}
	i := &fsItem{key: key, rank: p.rank, conditional: s.When != nil || p.prefix != "", active: on, optional: s.Optional.V, spec: s}
	i.Path, i.Written, i.Origin, i.Recursive = path, path, s.Origin, true
	if !i.active {
		// Only its path is of interest, for `without`.
		t.items = append(t.items, i)
		return
	}
	if t.kind(i, s) && t.options(i, s) {
		t.items = append(t.items, i)
	}
}

func (t *tree) hideEntry(s *FilesystemItem, path, key string, p part, on bool) {
	r := t.r
	switch {
	case !s.Hide.V:
		r.fail(s.Hide.Origin, key+".hide", "can only be true", "take the entry out, or take an inherited one away with 'without'")
	case s.Mode.Set || s.Source.Set || s.Persist.Set || s.Tmpfs != nil || s.Overlay != nil || s.Content != nil || s.Symlink.Set || s.Dir != nil || s.Options.Set:
		r.fail(s.Origin, key, "a hide entry that also grants something", "an entry with hide has no other key but path and when")
	case path == "/":
		r.fail(s.Path.Origin, key+".path", "hides everything", "leave the entries out that should not be seen")
	case strings.Count(path, "**") > 2:
		r.fail(s.Path.Origin, key+".path", "more than two ** in a pattern", "write two entries")
	case strings.HasPrefix(path, "/*"):
		r.fail(s.Path.Origin, key+".path", "a pattern in the first component would search the whole tree", "start it with a directory")
	default:
		t.hides = append(t.hides, &hideItem{pattern: path, key: key, rank: p.rank, active: on, origin: s.Path.Origin, over: p.project})
	}
}

// persistDir is where a persistent directory lives.
func (h *Host) persistDir(name string) string { return h.StateHome + "/jail/home/" + name }

// latest keeps one entry a path: that of the later file. In one file, two
// entries for one path that both always hold contradict each other; with a
// condition on one, the later stands for it.
func (t *tree) latest() {
	byPath := map[string]*fsItem{}
	var kept []*fsItem
	for _, i := range t.items {
		if !i.active {
			continue
		}
		old := byPath[i.Path]
		if old != nil && old.rank == i.rank && old.spec != nil && !old.conditional && !i.conditional && !same(old, i) {
			t.r.fail(i.Origin, i.key, printable(i.Path)+" stands in this file a second time, first in line "+strconv.Itoa(old.Origin.Line)+", with another meaning", "keep one of the two entries")
			continue
		}
		if old != nil && old.rank > i.rank {
			continue
		}
		byPath[i.Path] = i
	}
	for _, i := range t.items {
		if byPath[i.Path] == i {
			kept = append(kept, i)
		}
	}
	slices.SortStableFunc(kept, func(a, b *fsItem) int { return comparePaths(a.Path, b.Path) })
	t.items = kept
	if len(kept) > 0 && kept[0].Path == "/" {
		t.root, t.items = kept[0], kept[1:]
	}
}

// same tells whether two entries for one path mean the same.
func same(a, b *fsItem) bool {
	x, y := a.Entry, b.Entry
	x.Origin, y.Origin = Origin{}, Origin{}
	var over, over2 OverlaySpec
	if a.spec != nil && a.spec.Overlay != nil {
		over = *a.spec.Overlay
	}
	if b.spec != nil && b.spec.Overlay != nil {
		over2 = *b.spec.Overlay
	}
	return reflect.DeepEqual(x, y) && a.wanted == b.wanted && a.optional == b.optional && reflect.DeepEqual(over, over2)
}

// comparePaths sorts parents before children.
func comparePaths(a, b string) int {
	return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), strings.Compare(a, b))
}

// applyHides lets hide win over grants of its own and earlier files: a grant at
// a hidden path or below one goes. A later file gets a path back by naming it.
func (t *tree) applyHides() {
	for _, h := range t.hides {
		if !h.active {
			continue
		}
		t.items = slices.DeleteFunc(t.items, func(i *fsItem) bool {
			switch at := h.covers(i.Path); {
			case at == "":
				return false
			case h.over && i.Kind != KindSymlink:
			case i.rank <= h.rank:
				return true
			case at == i.Path:
				h.regranted = append(h.regranted, i.Path)
			default:
				t.r.fail(i.Origin, i.key, printable(i.Path)+" lies below "+printable(at)+", which is hidden ("+h.origin.String()+")",
					"take the hide away with 'without: {filesystem: ["+quote(h.pattern)+"]}'")
			}
			return false
		})
	}
}

// covers gives the path at or above p that the entry hides, or "".
func (h *hideItem) covers(p string) string {
	if !isPattern(h.pattern) {
		if under(p, h.pattern) {
			return h.pattern
		}
		return ""
	}
	for i := 1; i <= len(p); i++ {
		if i == len(p) || p[i] == '/' {
			if matchPath(h.pattern, p[:i]) {
				return p[:i]
			}
		}
	}
	return ""
}

// finish hands the tree over.
func (t *tree) finish() {
	out := t.r.out
	if t.root != nil {
		out.Root = t.root.Entry
	}
	out.Filesystem = make([]Entry, 0, len(t.items))
	slices.SortStableFunc(t.items, func(a, b *fsItem) int { return comparePaths(a.Path, b.Path) })
	for _, i := range t.items {
		if !i.dropped {
			out.Filesystem = append(out.Filesystem, i.Entry)
		}
	}
	slices.SortFunc(out.Hidden, func(a, b Hidden) int { return comparePaths(a.Path, b.Path) })
	slices.SortStableFunc(out.HostDirs, func(a, b HostDir) int { return comparePaths(a.Path, b.Path) })
	out.HostDirs = slices.CompactFunc(out.HostDirs, func(a, b HostDir) bool { return a.Path == b.Path })
}

func (t *tree) hostDir(path string, mode fs.FileMode, o Origin) {
	t.r.out.HostDirs = append(t.r.out.HostDirs, HostDir{path, mode, o})
}
