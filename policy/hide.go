package policy

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxListed bounds how many names a pattern may make jail look at.
const maxListed = 200000

// hide finds what the hide entries cover: every match of a pattern, at every
// path inside that shows the same file of the host.
func (t *tree) hide() {
	project := maxListed // of all its patterns together: nobody has looked at how many there are
	var patterns []*globbed
	for _, h := range t.hides {
		if h.active && isPattern(h.pattern) {
			g := &globbed{hide: h, left: new(maxListed)}
			if h.over {
				g.left = &project
			}
			patterns = append(patterns, g)
		}
	}
	inside := globber{view: &t.view}
	inside.expand(patterns)
	onHost := t.globOnHost(patterns)
	for _, h := range t.hides {
		if !h.active {
			continue
		}
		if h.over {
			t.hideOver(h)
		}
		if !isPattern(h.pattern) {
			t.hidePath(h, h.pattern)
			continue
		}
		g := patterns[0]
		patterns = patterns[1:]
		for _, p := range g.matches {
			t.hidePath(h, p)
		}
		for _, p := range onHost[g] {
			t.hideHost(h, p)
		}
		if *g.left < 0 {
			t.r.fail(h.origin, h.key+".path", "the pattern makes jail look at more than "+strconv.Itoa(maxListed)+" files", "start it further down, or use fewer **")
		}
	}
}

// hideOver covers the entries at a hidden path and below one.
func (t *tree) hideOver(h *hideItem) {
	for _, i := range t.items {
		if at := h.covers(i.Path); at != "" && !i.dropped {
			t.hidden(Hidden{Path: at, Dir: at != i.Path || i.IsDir(), Pattern: h.pattern, Origin: h.origin})
		} else if h.covers(i.Written) != "" && !i.dropped {
			t.hidden(Hidden{Path: i.Path, Dir: i.IsDir(), Pattern: h.pattern, Origin: h.origin})
		}
	}
}

// coverable is the file of the host that has to be covered to hide a path: itself, nothing where it does not
// exist, and where a directory above it cannot be searched that directory, because the program may open it again.
func (t *tree) coverable(p string) string {
	f := t.r.look.walk(p)
	for dir := p; f.err != nil; {
		if !errors.Is(f.err, fs.ErrPermission) || dir == "/" {
			return ""
		}
		dir = path.Dir(dir)
		f = t.r.look.walk(dir)
	}
	if f.path == "/" {
		return ""
	}
	return f.path
}

// hidePath hides one path inside, and the host's file of that name wherever
// else it is shown.
func (t *tree) hidePath(h *hideItem, p string) {
	if slices.Contains(h.regranted, p) {
		return
	}
	s := t.view.resolve(p, true)
	hosts := make([]string, 0, 2)
	if s.host != "" {
		if host := t.coverable(s.host); host != "" && (s.exists || host != s.host) {
			hosts = append(hosts, host)
		}
	}
	if host := t.coverable(p); host != "" && !slices.Contains(hosts, host) {
		hosts = append(hosts, host)
	}
	for _, host := range hosts {
		t.hideHost(h, host)
	}
	if len(hosts) == 0 && !s.exists && s.entry != nil && !isPattern(h.pattern) {
		t.hideLater(h, p, s)
	}
}

// hideLater does what can be done for a path that does not exist yet. A cover needs
// something to be put on, and jail leaves no file on the host for the purpose: it
// would be seen there, and stay when jail is killed. In an overlay that takes what
// is written there is a place that is not the host's.
func (t *tree) hideLater(h *hideItem, p string, s spot) {
	e := s.entry
	switch {
	case s.blocked != "", slices.ContainsFunc(t.hides, func(o *hideItem) bool { return o != h && o.active && o.covers(p) != "" }):
		// It lies below a file, or another entry covers it.
	case e.Kind == KindOverlay && e.Overlay.Discard:
		i := &fsItem{rank: h.rank, active: true, Entry: Entry{
			Path: s.path, Written: p, Kind: KindContent, Mode: 0o444, Origin: h.origin, Reason: "keeps " + p + " hidden",
		}}
		t.items = append(t.items, i)
		t.view.entries[s.path] = i
		t.hidden(Hidden{Path: s.path, Pattern: h.pattern, Origin: h.origin})
	case e.Kind == KindRW, t.othersMake(e, s.host) && !strings.HasPrefix(h.origin.File, shippedPrefix):
		// A kept layer would keep the place, too. The shipped profiles name the secrets of many programs, most of
		// which a machine does not have, and their reader has not asked for this one.
		t.r.warn(h.origin, h.key+".path", printable(p)+" does not exist now, so there is nothing to hide; what is made there during the run can be seen",
			"make it before the start, or show the directory as an overlay")
	}
}

// othersMake tells whether programs of the user's outside may make a missing path
// of the host that an entry shows without letting its own program do so.
func (t *tree) othersMake(e *fsItem, host string) bool {
	if e.Kind != KindRO && e.Kind != KindOverlay {
		return false
	}
	for dir := parent(host); dir != "/"; dir = parent(dir) {
		if f := t.r.look.lstat(dir); f.err == nil {
			return int(f.stat.UID) == t.r.host.UID
		}
	}
	return false
}

// globOnHost expands the patterns over the host's own names, for what is shown
// under another path inside. It gives the canonical paths that each one matches.
func (t *tree) globOnHost(patterns []*globbed) map[*globbed][]string {
	var elsewhere []string
	for _, i := range t.shown() {
		for _, src := range i.hosts(nil, i.Path) {
			if src != i.Path {
				elsewhere = append(elsewhere, src)
			}
		}
	}
	if len(elsewhere) == 0 || len(patterns) == 0 {
		return nil
	}
	there := make([]*globbed, len(patterns))
	for i, g := range patterns {
		there[i] = &globbed{hide: g.hide, left: g.left}
	}
	root := &fsItem{Entry: Entry{Path: "/", Kind: KindRO, Source: "/", SourceType: fs.ModeDir}}
	host := globber{view: &view{look: t.r.look, root: root}, within: elsewhere}
	host.expand(there)
	found := map[*globbed][]string{}
	for i, g := range there {
		for _, p := range g.matches {
			if f := t.r.look.walk(p); f.err == nil {
				found[patterns[i]] = append(found[patterns[i]], f.path)
			}
		}
	}
	return found
}

// shown gives the entries that show files of the host, the root too.
func (t *tree) shown() []*fsItem {
	var all []*fsItem
	for _, i := range append([]*fsItem{t.root}, t.items...) {
		if i != nil && !i.dropped && (i.HostBacked() || i.Kind == KindOverlay) {
			all = append(all, i)
		}
	}
	return all
}

// hideHost hides a file of the host, by its canonical path, wherever it is shown.
func (t *tree) hideHost(h *hideItem, host string) {
	st := t.r.look.lstat(host)
	t.noteLinks(h, host, st.stat)
	for _, i := range t.shown() {
		for _, src := range i.hosts(nil, i.Path) {
			switch {
			case h.covers(i.Path) != "": // decided by applyHides
			case under(host, src) && host != src:
				p := join(i.Path, below(host, src))
				if t.view.cover(p) != i || slices.Contains(h.regranted, p) {
					continue
				}
				t.hidden(Hidden{Path: p, Dir: st.stat.Mode.IsDir(), Pattern: h.pattern, Origin: h.origin})
				if i.Kind == KindRW && !strings.Contains(h.pattern, "**") {
					t.pin(i, p, h.origin, "keeps "+h.pattern+" hidden", "")
				}
			case !under(src, host) || slices.Contains(h.regranted, i.Path):
			case i.rank <= h.rank:
				t.hidden(Hidden{Path: i.Path, Dir: i.IsDir(), Pattern: h.pattern, Origin: h.origin})
			case src != host:
				t.r.fail(i.Origin, i.key, "the source "+printable(src)+" lies below "+printable(host)+", which is hidden ("+h.origin.String()+")",
					"take the hide away with 'without: {filesystem: ["+quote(h.pattern)+"]}'")
			}
		}
	}
}

func (t *tree) hidden(h Hidden) {
	all := &t.r.out.Hidden
	if !slices.ContainsFunc(*all, func(o Hidden) bool { return under(h.Path, o.Path) }) {
		*all = append(slices.DeleteFunc(*all, func(o Hidden) bool { return under(o.Path, h.Path) }), h)
	}
}

// pin binds the directories between an entry and a covered path onto
// themselves: a mount point cannot be renamed, so the program cannot move the
// cover away with its parent and make a new tree in its place for the next run.
func (t *tree) pin(e *fsItem, p string, o Origin, reason, protects string) {
	for dir := parent(p); dir != e.Path && under(dir, e.Path); dir = parent(dir) {
		if t.view.entries[dir] != nil {
			return // what is above it was pinned with it, or is an entry anyway
		}
		src := join(e.Source, below(dir, e.Path))
		i := &fsItem{rank: e.rank, active: true, Entry: Entry{
			Path: dir, Written: dir, Kind: KindRW, Source: src, SourceType: fs.ModeDir,
			Options: e.Options, Recursive: e.Recursive, Origin: o, Reason: reason,
		}}
		t.items = append(t.items, i)
		t.view.entries[dir] = i
		if protects != "" {
			t.r.out.Protected = append(t.r.out.Protected, Protected{Path: dir, Source: src, How: "pin", Reason: protects})
		}
	}
}
