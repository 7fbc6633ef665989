package policy

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// lookup walks the host's file system. It resolves symlinks itself, one
// component at a time, because Resolve must know each link it went through, and
// keeps what it saw: the paths of a profile share their beginnings.
type lookup struct {
	fs   HostFS
	seen map[string]*looked
	slab []looked // for seen, to be taken
	dirs map[string][]string
	// unseen is the first path that could not be looked at, see doubt.
	unseen *pathError
}

type looked struct {
	stat   FileStat
	target string // of a symlink
	err    error
}

func newLookup(h *Host) *lookup { return &lookup{fs: h.FS, seen: make(map[string]*looked, 256)} }

func (l *lookup) lstat(p string) *looked {
	if r, ok := l.seen[p]; ok {
		return r
	}
	if len(l.slab) == 0 {
		l.slab = make([]looked, 64)
	}
	r := &l.slab[0]
	l.slab = l.slab[1:]
	r.stat, r.err = l.fs.Lstat(p)
	if r.err == nil && r.stat.Mode&fs.ModeSymlink != 0 {
		r.target, r.err = l.fs.Readlink(p)
	}
	l.seen[p] = r
	l.doubt(p, r.err)
	return r
}

// doubt remembers a failure that tells neither that nothing is there nor that the caller may not look. What jail has
// not seen it can neither hide nor protect, so Resolve takes it for a problem.
func (l *lookup) doubt(p string, err error) {
	if l.unseen != nil || err == nil || missing(err) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENAMETOOLONG) {
		return
	}
	l.unseen = &pathError{p, err}
}

// readDir keeps listings: several device sets look in /dev.
func (l *lookup) readDir(dir string) ([]string, error) {
	if names, ok := l.dirs[dir]; ok {
		return names, nil
	}
	names, err := l.fs.ReadDir(dir)
	if err == nil {
		if l.dirs == nil {
			l.dirs = map[string][]string{}
		}
		l.dirs[dir] = names
	}
	l.doubt(dir, err)
	return names, err
}

// maxLinks is the kernel's own limit (path_resolution(7)).
const maxLinks = 40

// found is where a path of the host leads.
type found struct {
	path  string // canonical; of a missing path as far as it goes, the rest as written
	stat  FileStat
	links []string // the symlinks gone through, by their canonical place
	err   error
	// missingAt is the first component that does not exist, when err says so.
	missingAt string
}

func (f *found) missing() bool { return f.err != nil && missing(f.err) }

// walk resolves an absolute clean path. It allocates nothing for a path free of
// symlinks that was seen before.
func (l *lookup) walk(p string) found {
	f := found{path: "/"}
	if p == "/" {
		r := l.lstat("/")
		f.stat, f.err = r.stat, r.err
		return f
	}
	// done is the canonical path so far, rest what is still to be walked.
	done, rest := "", p[1:]
	for {
		name, tail, more := strings.Cut(rest, "/")
		var next string
		if done == "" && len(name)+1 <= len(p) && p[:len(name)+1] == "/"+name {
			next = p[:len(name)+1]
		} else if strings.HasPrefix(p, done) && len(p) > len(done) && strings.HasPrefix(p[len(done)+1:], name) && p[len(done)] == '/' {
			next = p[:len(done)+1+len(name)]
		} else {
			next = done + "/" + name
		}
		r := l.lstat(next)
		if r.err != nil {
			f.err, f.missingAt = r.err, next
			f.path = next
			if more {
				f.path += "/" + tail
			}
			return f
		}
		if r.stat.Mode&fs.ModeSymlink != 0 {
			f.links = append(f.links, next)
			if len(f.links) > maxLinks {
				f.err, f.path = syscall.ELOOP, p
				return f
			}
			target := r.target
			if !strings.HasPrefix(target, "/") {
				target = done + "/" + target
			}
			if more {
				target += "/" + tail
			}
			// path.Clean takes ".." away by its text. That is right here only
			// because done holds no symlink, and wrong for a ".." behind one further
			// on, so the target is walked piece by piece when it has any.
			next, err := l.flatten(target)
			if err != nil {
				f.err, f.path, f.missingAt = err, p, next
				return f
			}
			if next == "/" {
				r := l.lstat("/")
				f.path, f.stat, f.err = "/", r.stat, r.err
				return f
			}
			done, rest, p = "", next[1:], next
			continue
		}
		f.stat = r.stat
		if !more {
			f.path = next
			return f
		}
		if !r.stat.Mode.IsDir() {
			f.err, f.path, f.missingAt = syscall.ENOTDIR, next+"/"+tail, next
			return f
		}
		done, rest = next, tail
	}
}

// flatten makes an absolute path free of "." and "..", where what stands before
// a ".." may itself be a symlink.
func (l *lookup) flatten(p string) (string, error) {
	if !strings.Contains(p, "/..") {
		return path.Clean(p), nil
	}
	before, after, _ := strings.Cut(p, "/..")
	for after != "" && after[0] != '/' { // a name that starts with two dots
		i := strings.Index(after, "/..")
		if i < 0 {
			return path.Clean(p), nil
		}
		before, after = before+"/.."+after[:i], after[i+3:]
	}
	parent := l.walk(path.Clean("/" + before))
	if parent.err != nil {
		return parent.path, parent.err
	}
	return l.flatten(path.Dir(parent.path) + after)
}

// under tells whether p is dir or lies below it. Both are clean.
func under(p, dir string) bool {
	return p == dir || dir == "/" || (len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir)
}

// below gives the part of p below dir, "" for dir itself.
func below(p, dir string) string {
	if dir == "/" {
		return strings.TrimPrefix(p, "/")
	}
	return strings.TrimPrefix(p[len(dir):], "/")
}

// join puts rel, as below gives it, under dir.
func join(dir, rel string) string {
	switch {
	case rel == "":
		return dir
	case dir == "/":
		return "/" + rel
	}
	return dir + "/" + rel
}

// fileKind names the type of a file as a user would.
func fileKind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeCharDevice != 0:
		return "a character device"
	case m&fs.ModeDevice != 0:
		return "a block device"
	}
	return "a file"
}

// readable tells whether the caller may read the file or search the directory.
func (l *lookup) readable(h *Host, p string, st FileStat) bool {
	want, other, owner := uint32(4), fs.FileMode(0o004), fs.FileMode(0o400)
	if st.Mode.IsDir() {
		want, other, owner = 1, 0o001, 0o100
	}
	// The mode answers for nearly every file, and saves a system call each.
	if int(st.UID) == h.UID && st.Mode&owner != 0 {
		return true
	}
	if int(st.UID) != h.UID && st.Mode&other != 0 && st.Mode&(other<<3) != 0 {
		return true
	}
	return l.fs.Access(p, want) == nil
}

// lookupCause puts a failed walk into words.
func lookupCause(written string, f found) (cause, fix string) {
	shown := printable(written)
	switch {
	case errors.Is(f.err, syscall.ELOOP):
		return shown + ": its symbolic links go round in a loop", "mend the link on the host"
	case f.missing() && len(f.links) > 0:
		return shown + " is a dangling symbolic link: " + printable(f.missingAt) + " does not exist", "mend the link, or add 'optional: true'"
	case f.missing():
		return shown + " does not exist", "make it, or add 'optional: true'"
	case errors.Is(f.err, fs.ErrPermission):
		return shown + " cannot be looked up: permission denied", "you may not search a directory above it"
	}
	return shown + ": " + reason(f.err), ""
}
