package policy

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// globber expands patterns over a view. It goes through the tree once for all of
// them: a checkout has many files, and a profile many patterns that begin with **.
type globber struct {
	view   *view
	within []string // only paths above or below these; nil for all
}

// globbed is one pattern, and what it matches.
type globbed struct {
	hide    *hideItem
	left    *int // names that may still be looked at; negative when there were more
	matches []string
}

// pending is what is left of a pattern in some directory.
type pending struct {
	of   *globbed
	rest []string
}

func (g *globber) expand(patterns []*globbed) {
	var all []pending
	for _, p := range patterns {
		all = append(all, pending{p, components(p.hide.pattern)})
	}
	g.walk("/", all)
}

// walk matches patterns below dir, which is canonical.
func (g *globber) walk(dir string, patterns []pending) {
	if !g.wanted(dir) {
		return
	}
	var plain, listing []pending // those that go on with one name, and those that want to see all
	for n := 0; n < len(patterns); n++ {
		of, rest := patterns[n].of, patterns[n].rest
		switch {
		case *of.left < 0:
		case len(rest) == 0:
			g.match(dir, patterns[n:n+1])
		case rest[0] == "**":
			if len(rest) > 1 {
				patterns = append(patterns[:len(patterns):len(patterns)], pending{of, rest[1:]}) // ** standing for nothing
			}
			listing = append(listing, patterns[n])
		case isPattern(rest[0]):
			listing = append(listing, patterns[n])
		default:
			plain = append(plain, patterns[n])
		}
	}
	if len(listing) > 0 {
		names, closed, whole := g.list(dir)
		if closed {
			g.match(dir, listing)
		}
		if whole {
			listing, plain = append(listing, plain...), nil
		}
		g.names(dir, names, listing)
	}
	// Those that go on with the same name go on together.
	for len(plain) > 0 {
		first := plain[0].rest
		var same, others []pending
		for _, p := range plain {
			if p.rest[0] == first[0] && (len(p.rest) > 1) == (len(first) > 1) {
				same = append(same, pending{p.of, p.rest[1:]})
			} else {
				others = append(others, p)
			}
		}
		if s := g.view.resolve(join(dir, first[0]), len(first) > 1); g.there(s) {
			g.walk(s.path, same)
		} else if g.closed(s) {
			g.match(s.path, same)
		}
		plain = others
	}
}

// names goes on with every name in dir that a pattern takes.
func (g *globber) names(dir string, names []string, patterns []pending) {
	for i, p := range patterns {
		if !slices.ContainsFunc(patterns[:i], func(q pending) bool { return q.of == p.of }) {
			*p.of.left -= len(names)
		}
	}
	for _, name := range names {
		var deeper, through []pending
		for _, p := range patterns {
			switch head := p.rest[0]; {
			case head != "**" && !matchWord(head, name):
			case len(p.rest) == 1:
				g.match(join(dir, name), []pending{p})
			case head == "**":
				deeper = append(deeper, p)
			default:
				through = append(through, pending{p.of, p.rest[1:]})
			}
		}
		if len(deeper) > 0 {
			// Links are not followed: what they lead to is found under its own name,
			// and a loop would never end.
			if s := g.view.resolve(join(dir, name), false); g.closed(s) {
				g.match(s.path, append(deeper, through...))
				continue
			} else if s.dir && g.there(s) && !g.isLink(s) {
				g.walk(s.path, append(deeper, through...))
				continue
			}
		}
		if len(through) > 0 {
			if s := g.view.resolve(join(dir, name), true); g.closed(s) {
				g.match(s.path, through)
			} else if s.dir && g.there(s) {
				g.walk(s.path, through)
			}
		}
	}
}

// match takes a path for what the patterns look for.
func (g *globber) match(p string, patterns []pending) {
	for _, q := range patterns {
		if p != "/" && g.wanted(p) && !slices.Contains(q.of.matches, p) {
			q.of.matches = append(q.of.matches, p)
		}
	}
}

// closed tells whether jail may not look at a spot. The program might: it can open its user's own directories again, and
// one that it may not list it may still go through. So what is there counts as a match, and is covered as a whole.
func (g *globber) closed(s spot) bool {
	return !s.exists && s.host != "" && errors.Is(g.view.look.lstat(s.host).err, syscall.EACCES)
}

// there tells whether the program will find something at a spot: what is there
// now, or a directory made on the way to an entry.
func (g *globber) there(s spot) bool {
	if s.exists {
		return true
	}
	for p := range g.view.entries {
		if under(p, s.path) {
			return true
		}
	}
	return false
}

func (g *globber) isLink(s spot) bool {
	if s.host == "" {
		return s.entry != nil && s.entry.Kind == KindSymlink
	}
	return g.view.look.lstat(s.host).stat.Mode&fs.ModeSymlink != 0
}

func (g *globber) wanted(dir string) bool {
	return g.within == nil || slices.ContainsFunc(g.within, func(w string) bool { return under(dir, w) || under(w, dir) })
}

// list gives the names in a directory inside: those of the host, and of entries
// put there. They are the whole where every directory could be read: of one that
// cannot, and of one that is closed to the user, names that are known can still be
// looked up.
func (g *globber) list(dir string) (names []string, closed, whole bool) {
	cover := g.view.cover(dir)
	if cover == nil {
		return nil, false, true
	}
	whole = true
	for _, h := range cover.hosts(nil, dir) {
		got, err := g.view.look.fs.ReadDir(h)
		names = append(names, got...)
		closed = closed || errors.Is(err, syscall.EACCES)
		whole = whole && (err == nil || missing(err))
		g.view.look.doubt(h, err)
	}
	for p := range g.view.entries {
		if p != dir && under(p, dir) {
			name, _, _ := strings.Cut(strings.TrimPrefix(p[len(dir):], "/"), "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), closed, whole
}
