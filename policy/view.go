package policy

import (
	"io/fs"
	"path"
	"strings"
)

// view answers what the program will find at a path inside.
type view struct {
	look    *lookup
	root    *fsItem
	entries map[string]*fsItem // by Entry.Path
}

// spot is a place inside.
type spot struct {
	path  string  // canonical
	entry *fsItem // what covers it, itself included
	host  string  // where it lies on the host; "" where it does not, or not yet known
	// exists and dir tell what is there now. below a file, blocked names the file.
	exists, dir bool
	blocked     string
	writable    bool // the program, or jail for it, can make the path
}

// cover gives the deepest entry at or above a canonical path.
func (v *view) cover(p string) *fsItem {
	for {
		if e := v.entries[p]; e != nil {
			return e
		}
		if p == "/" {
			return v.root
		}
		p = parent(p)
	}
}

// hosts appends to all where a canonical path below e may lie on the host, the
// first that exists counting.
func (e *fsItem) hosts(all []string, p string) []string {
	rel := below(p, e.Path)
	switch {
	case e.HostBacked():
		return append(all, join(e.Source, rel))
	case e.Kind == KindOverlay:
		if e.Overlay.Upper != "" {
			all = append(all, join(e.Overlay.Upper, rel))
		}
		for _, l := range e.Overlay.Lower {
			all = append(all, join(l, rel))
		}
	}
	return all
}

// resolve follows an absolute clean path inside, through symlinks of the
// profile and of the host's trees. With last false the last component is not
// followed.
func (v *view) resolve(p string, last bool) spot {
	s := spot{path: "/", entry: v.root, exists: true, dir: true}
	var buf [4]string
	// As long as no symlink is met, s.path is a beginning of p and nothing is copied.
	for links, at := 0, 0; at < len(p) && p != "/"; {
		end := at + 1
		for end < len(p) && p[end] != '/' {
			end++
		}
		next, more := p[:end], end < len(p)
		if !s.dir {
			s.blocked, s.path, s.exists = s.path, p, false
			return s
		}
		target, e := "", v.entries[next]
		follow := last || more
		switch {
		case e != nil:
			s.entry, s.exists, s.dir, s.host = e, true, e.IsDir(), ""
			if h := e.hosts(buf[:0], next); len(h) > 0 {
				s.host = h[0]
			}
			if e.Kind == KindSymlink {
				target = e.Target
			}
		default:
			s.exists, s.host = false, ""
			for _, h := range s.entry.hosts(buf[:0], next) {
				if s.host == "" {
					s.host = h
				}
				f := v.look.lstat(h)
				if f.err == nil {
					s.exists, s.host, s.dir, target = true, h, f.stat.Mode.IsDir(), f.target
					break
				}
			}
			if !s.exists {
				// What is not there can be a directory: of the way to a mount point, or
				// of an entry that comes later.
				s.dir = true
			}
		}
		if target != "" && follow {
			if links++; links > maxLinks {
				s.exists, s.path = false, next
				return s
			}
			if !strings.HasPrefix(target, "/") {
				target = join(s.path, target)
			}
			if target = path.Clean(target); target == "/" {
				target = ""
			}
			p, at = target+p[end:], 0
			s.path, s.entry, s.dir, s.exists = "/", v.root, true, true
			continue
		}
		s.path, at = next, end
	}
	s.writable = s.entry != nil && creatable(s.entry)
	return s
}

// creatable tells whether jail can make a mount point below an entry without
// touching anything of the host's but its own.
func creatable(e *fsItem) bool {
	switch e.Kind {
	case KindTmpfs, KindDev, KindPersist, KindDir:
		return true
	case KindOverlay:
		return e.Overlay.Discard || e.Overlay.Keep != ""
	}
	return false
}

// place gives each entry its true destination: through symlinks of the profile
// and of trees it shows, so that /var/run/x lands at /run/x.
func (t *tree) place() {
	t.view = view{look: t.r.look, root: t.root, entries: make(map[string]*fsItem, len(t.items))}
	t.home()
	for _, i := range t.items {
		at := t.view.resolve(parent(i.Written), true)
		name := path.Base(i.Written)
		i.Path = join(at.path, name)
		if at.blocked != "" {
			t.r.fail(i.Origin, i.key, printable(i.Written)+" lies below "+printable(at.blocked)+", which is a file", "take one of the two entries out")
			i.dropped = true
			continue
		}
		// A link that a tree already shows needs no second one, and a mount goes to
		// what it leads to: a mount point cannot be a symlink.
		if t.view.entries[i.Path] == nil {
			if end := t.view.resolve(i.Path, true); end.path != i.Path && end.exists {
				if i.Kind == KindSymlink {
					i.dropped = true
					continue
				}
				i.Path = end.path
			}
		}
		if old := t.view.entries[i.Path]; old != nil {
			if old.rank == i.rank && old.spec != nil && i.spec != nil && !old.conditional && !i.conditional && old.Written != i.Written && !sameThing(old, i) {
				t.r.fail(i.Origin, i.key, printable(i.Written)+" and "+printable(old.Written)+" ("+old.Origin.String()+") are the same place inside", "keep one of the two entries")
			}
			if old.rank > i.rank {
				i.dropped = true
				continue
			}
			old.dropped = true
		}
		t.view.entries[i.Path] = i
	}
	t.drop()
}

func sameThing(a, b *fsItem) bool {
	return a.Kind == b.Kind && a.Source == b.Source && a.Target == b.Target && string(a.Content) == string(b.Content)
}

// home adds a link where the home directory is reached through one on the host:
// programs know it under both names.
func (t *tree) home() {
	h := t.r.host
	f := t.r.look.walk(h.Home)
	if f.err != nil || f.path == h.Home || len(f.links) == 0 {
		return
	}
	used := false
	for _, i := range t.items {
		if under(i.Written, f.path) || f.path != "/" && i.HostBacked() && under(f.path, i.Written) {
			return // the profile speaks of that path itself
		}
		used = used || under(i.Written, h.Home)
	}
	if t.root != nil && t.root.Kind != KindTmpfs || !used {
		return
	}
	i := t.add(rankDefault, defaultOrigin, "the home directory's other name", Entry{Path: f.path, Kind: KindSymlink, Target: h.Home})
	t.items = t.items[:len(t.items)-1]
	at := 0
	for at < len(t.items) && comparePaths(t.items[at].Path, i.Path) < 0 {
		at++
	}
	t.items = append(t.items[:at], append([]*fsItem{i}, t.items[at:]...)...)
}

// mountPoints checks that each entry has a place to be put at, and lists the
// folders jail makes for that on the host.
func (t *tree) mountPoints() {
	for _, i := range t.items {
		above := t.view.resolve(parent(i.Path), true)
		e := above.entry
		if above.blocked != "" || (above.exists && !above.dir) {
			t.r.fail(i.Origin, i.key, printable(i.Written)+" lies below "+printable(orElse(above.blocked, above.path))+", which is a file", "take one of the two entries out")
			continue
		}
		if e == nil || !e.HostBacked() && e.Kind != KindOverlay && e.Kind != KindProc {
			continue
		}
		if e.Kind == KindProc {
			t.r.fail(i.Origin, i.key, printable(i.Written)+" lies in /proc, where nothing can be put", "take the entry out")
			continue
		}
		t.mountPoint(i, e)
	}
	t.drop()
}

// mountPoint checks an entry that lies in a tree of the host, below entry e.
func (t *tree) mountPoint(i, e *fsItem) {
	for _, h := range e.hosts(nil, i.Path) {
		f := t.r.look.lstat(h)
		if f.err != nil {
			continue
		}
		isLink := f.stat.Mode&fs.ModeSymlink != 0
		switch {
		case i.Kind == KindSymlink && isLink && f.target == i.Target:
			i.dropped = true // it is there already
		case i.Kind == KindSymlink:
			t.r.fail(i.Origin, i.key, printable(i.Written)+" exists on the host as "+fileKind(f.stat.Mode)+"; a symbolic link cannot take its place", "take the entry out")
		case f.stat.Mode.IsDir() != i.IsDir():
			t.r.fail(i.Origin, i.key, printable(i.Written)+" is "+fileKind(f.stat.Mode)+" on the host, and a "+thing(i)+" cannot be put over it", "take one of the two entries out")
		}
		return
	}
	switch {
	case e.Kind == KindPersist:
		if i.IsDir() {
			t.hostDir(join(e.Source, below(i.Path, e.Path)), 0o700, i.Origin)
		} else if dir := parent(i.Path); dir != e.Path && i.Kind != KindSymlink {
			t.hostDir(join(e.Source, below(dir, e.Path)), 0o700, i.Origin)
		}
	case creatable(e):
	case i.rank == rankDefault || i.optional:
		i.dropped = true
	case e.Kind == KindRW && i.IsDir():
		t.hostDir(join(e.Source, below(i.Path, e.Path)), 0o755, i.Origin)
	default:
		t.r.fail(i.Origin, i.key, printable(i.Written)+" does not exist in "+printable(e.Path)+", which shows the host's "+printable(orElse(e.Source, e.Path)),
			"make it on the host, or make "+printable(e.Path)+" an overlay")
	}
}

func thing(i *fsItem) string {
	if i.IsDir() {
		return "directory"
	}
	return "file"
}
