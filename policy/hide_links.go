package policy

import (
	"cmp"
	"io/fs"
	"slices"
	"strconv"
)

// inode tells files of the host apart, whatever they are called (stat(2)).
type inode struct{ dev, ino uint64 }

// linkedFile is a hidden file that has more names than one.
type linkedFile struct {
	hide  *hideItem
	links uint64   // how many names it has
	names []string // those known, canonical paths of the host
}

// noteLinks keeps a hidden file of the host for hideLinks when it has other names.
func (t *tree) noteLinks(h *hideItem, host string, st FileStat) {
	if st.Links < 2 || !st.Mode.IsRegular() {
		return
	}
	if t.linked == nil {
		t.linked = map[inode]*linkedFile{}
	}
	id := inode{st.Dev, st.Ino}
	f := t.linked[id]
	if f == nil {
		f = &linkedFile{hide: h, links: st.Links}
		t.linked[id] = f
	}
	if h.rank > f.hide.rank {
		f.hide = h
	}
	if !slices.Contains(f.names, host) {
		f.names = append(f.names, host)
	}
}

// hideLinks hides the other names of hidden files. A hard link is the file itself (link(2)), and only a look
// through what is shown finds it; a file with one name needs none.
func (t *tree) hideLinks() {
	if len(t.linked) == 0 {
		return
	}
	s := linkSearch{look: t.r.look, wanted: t.linked, uid: uint32(t.r.host.UID), left: maxListed}
	var sources []string
	for _, i := range t.shown() {
		sources = i.hosts(sources, i.Path)
	}
	// Where the user's own files are, the search most often ends.
	slices.SortStableFunc(sources, func(a, b string) int { return cmp.Compare(s.foreign(a), s.foreign(b)) })
	for _, src := range sources {
		s.start(src)
	}
	ids := make([]inode, 0, len(t.linked))
	for id := range t.linked {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b inode) int { return slices.Compare(t.linked[a].names, t.linked[b].names) })
	for _, id := range ids {
		f := t.linked[id]
		for _, name := range slices.Clone(f.names) {
			t.hideHost(f.hide, name)
		}
		if s.left >= 0 || f.done() {
			continue
		}
		text := printable(f.names[0]) + " has " + strconv.FormatUint(f.links, 10) + " names (hard links), and among " + strconv.Itoa(maxListed) +
			" files that are shown jail found " + strconv.Itoa(len(f.names)) + ": the program could read it by another"
		const fix = "list them with 'find DIR -samefile FILE' and hide them as well"
		if t.r.out.level("hide") == "prefer" {
			t.r.warn(f.hide.origin, f.hide.key+".path", text, fix)
		} else {
			t.r.fail(f.hide.origin, f.hide.key+".path", text, fix+", or accept it with 'enforcement: {hide: prefer}'")
		}
	}
}

func (f *linkedFile) done() bool { return uint64(len(f.names)) >= f.links }

// linkSearch looks through trees of the host for the names of files.
type linkSearch struct {
	look   *lookup
	wanted map[inode]*linkedFile
	uid    uint32
	left   int // names that may still be looked at; negative when there were more
	seen   []string
}

// packageTrees hold what is installed, most of a machine's files. As long as they
// are root's, nobody else can have made a name in there.
var packageTrees = []string{"/usr", "/opt", "/nix", "/gnu", "/snap", "/boot"}

func (s *linkSearch) installed(p string, st FileStat) bool {
	return s.uid != 0 && st.UID == 0 && st.Mode&0o022 == 0 && slices.ContainsFunc(packageTrees, func(tree string) bool { return under(p, tree) })
}

// foreign is 1 for what belongs to somebody else.
func (s *linkSearch) foreign(src string) int {
	if f := s.look.lstat(src); f.err != nil || f.stat.UID != s.uid {
		return 1
	}
	return 0
}

// start looks at a source and, where it is a directory, at all below it.
func (s *linkSearch) start(src string) {
	if slices.ContainsFunc(s.seen, func(dir string) bool { return under(src, dir) }) {
		return
	}
	if f := s.look.lstat(src); f.err == nil {
		s.seen = append(s.seen, src)
		s.file(src, f.stat)
	}
}

// file looks at one file. Links do not lead from one file system to another, so
// that those without a wanted file are left alone.
func (s *linkSearch) file(p string, st FileStat) {
	switch {
	case st.Mode.IsRegular() && st.Links > 1:
		if f := s.wanted[inode{st.Dev, st.Ino}]; f != nil && !slices.Contains(f.names, p) {
			f.names = append(f.names, p)
		}
	case st.Mode.IsDir() && s.missing(st.Dev) && !s.installed(p, st):
		// A directory that cannot be read shows the program nothing either.
		names, err := s.look.fs.ReadDir(p)
		if err != nil {
			return
		}
		for _, name := range names {
			if s.left--; s.left < 0 {
				return
			}
			at := join(p, name)
			if st, err := s.look.fs.Lstat(at); err == nil && st.Mode&fs.ModeSymlink == 0 {
				s.file(at, st)
			}
		}
	}
}

// missing tells whether a file on this device still has names that are not known.
func (s *linkSearch) missing(dev uint64) bool {
	for id, f := range s.wanted {
		if id.dev == dev && !f.done() {
			return true
		}
	}
	return false
}
