package sandbox

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	cloneTree  = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH
	fromFD     = unix.MOVE_MOUNT_F_EMPTY_PATH
	ontoFD     = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	noLinks    = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	insideRoot = unix.RESOLVE_IN_ROOT | noLinks
)

// privateMounts keeps mounts from propagating between the host and the sandbox, mount_namespaces(7).
type privateMounts struct{}

func (privateMounts) String() string { return "make every mount private" }
func (privateMounts) lower(a *assembler) {
	attr := &unix.MountAttr{Propagation: unix.MS_PRIVATE}
	a.setAttr(cwd, "/", unix.AT_RECURSIVE, attr)
}

func (a *assembler) setAttr(dir arg, p string, flags int, attr *unix.MountAttr) {
	a.op(unix.SYS_MOUNT_SETATTR, dir, a.str(p), val(flags), ptr(a, attr), val(unix.MOUNT_ATTR_SIZE_VER0))
}

// scratch is the private tmpfs for a bundle that lies in memory. It is mounted over the old root, where only
// its descriptor leads to it, and goes with the old root.
type scratch struct{}

func (scratch) String() string { return "mount a private tmpfs for the bundle" }
func (scratch) lower(a *assembler) {
	a.scratch = a.newFS("tmpfs", []string{"mode=0755"}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	a.op(unix.SYS_MOVE_MOUNT, a.scratch, a.str(""), cwd, a.str("/"), val(fromFD))
}

// newFS makes a file system and keeps its detached mount, fsopen(2).
func (a *assembler) newFS(fstype string, params []string, attr uint64) arg {
	ctx := a.fd(unix.SYS_FSOPEN, a.str(fstype), val(unix.FSOPEN_CLOEXEC))
	for _, p := range params {
		key, value, isString := strings.Cut(p, "=")
		if isString {
			a.op(unix.SYS_FSCONFIG, ctx, val(unix.FSCONFIG_SET_STRING), a.str(key), a.str(value), val(0))
		} else {
			a.op(unix.SYS_FSCONFIG, ctx, val(unix.FSCONFIG_SET_FLAG), a.str(key), val(0), val(0))
		}
	}
	a.op(unix.SYS_FSCONFIG, ctx, val(unix.FSCONFIG_CMD_CREATE), val(0), val(0), val(0))
	m := a.fd(unix.SYS_FSMOUNT, ctx, val(unix.FSMOUNT_CLOEXEC), val(attr))
	a.close(ctx)
	return m
}

// treeFile makes one file of a bundle that lies in memory.
type treeFile struct{ TreeEntry }

func (t treeFile) String() string {
	switch {
	case t.Mode.IsDir():
		return fmt.Sprintf("make the bundle's directory %s, mode %04o", t.Path, t.Mode.Perm())
	case t.Mode&fs.ModeSymlink != 0:
		return fmt.Sprintf("make the bundle's link %s -> %s", t.Path, t.Target)
	}
	return fmt.Sprintf("write the bundle's file %s, %d bytes, mode %04o", t.Path, len(t.Content), t.Mode.Perm())
}

func (t treeFile) lower(a *assembler) {
	switch {
	case t.Mode.IsDir():
		a.op(unix.SYS_MKDIRAT, a.scratch, a.str(t.Path), val(t.Mode.Perm()))
	case t.Mode&fs.ModeSymlink != 0:
		a.op(unix.SYS_SYMLINKAT, a.str(t.Target), a.scratch, a.str(t.Path))
	default:
		fd := a.fd(unix.SYS_OPENAT, a.scratch, a.str(t.Path), val(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), val(t.Mode.Perm()))
		if len(t.Content) > 0 {
			a.op(unix.SYS_WRITE, fd, a.bytes(t.Content), val(len(t.Content)))
		}
		a.close(fd)
	}
}

// A source is where a bind mount comes from: a canonical path of the host, or one below the bundle in memory.
type source struct {
	path     string
	inBundle bool
}

func (s source) String() string {
	if s.inBundle {
		return "the bundle's " + s.path
	}
	return s.path
}

// open keeps a descriptor of the source. Its path has no symbolic link in it; one that was put there since is
// an ELOOP.
func (s source) open(a *assembler, flags int) arg {
	if s.inBundle {
		return a.open2(a.scratch, s.path, unix.O_PATH|flags, 0, unix.RESOLVE_BENEATH|noLinks)
	}
	return a.open2(cwd, s.path, unix.O_PATH|unix.O_NOFOLLOW|flags, 0, noLinks)
}

// rootBind makes a directory tree the sandbox's root.
type rootBind struct {
	source
	attr      uint64
	recursive bool
	// openTop leaves the topmost mount writable for now, because mount points are still to be made in it.
	openTop bool
}

func (r rootBind) String() string {
	return fmt.Sprintf("take %s as the root (%s)", r.source, attrNames(r.attr))
}

func (r rootBind) lower(a *assembler) {
	m := a.bindFrom(r.source, r.attr, 0, r.recursive)
	if r.openTop {
		a.setAttr(m, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	}
	a.becomeRoot(m)
}

// bindFrom keeps a detached copy of the source's mounts with the attributes set on all of them at once,
// mount_setattr(2) with AT_RECURSIVE: no moment in which one of them is writable, and one call however many.
func (a *assembler) bindFrom(s source, attr, clr uint64, recursive bool) arg {
	src := s.open(a, 0)
	rec := 0
	if recursive {
		rec = unix.AT_RECURSIVE
	}
	wholeHost := recursive && !s.inBundle && s.path == "/"
	if wholeHost {
		a.spareCover(unix.MS_UNBINDABLE)
	}
	m := a.fd(unix.SYS_OPEN_TREE, src, a.str(""), val(cloneTree|rec))
	if wholeHost {
		a.spareCover(unix.MS_PRIVATE)
	}
	a.close(src)
	if attr|clr != 0 {
		a.setAttr(m, "", unix.AT_EMPTY_PATH|rec, &unix.MountAttr{Attr_set: attr, Attr_clr: clr})
	}
	return m
}

// spareCover says whether what has been mounted over the old root goes along with a copy of that root's mounts. It must
// not: it would lie over the copy as well, and be what a program finds there. What is unbindable is left out
// (mount_namespaces(7)), and is only so while the copy is made, for the bundle's files are bound from there.
func (a *assembler) spareCover(propagation uint64) {
	over := a.root
	if a.hasScratch {
		over = a.scratch
	}
	if over.slot {
		a.setAttr(over, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: propagation})
	}
}

func (a *assembler) becomeRoot(m arg) {
	a.root = m
	if a.hasScratch {
		a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), a.scratch, a.str(bundleRoot), val(fromFD))
	} else {
		a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), cwd, a.str("/"), val(fromFD))
	}
}

// rootFS makes a new file system the sandbox's root.
type rootFS struct {
	fstype string
	params []string
	layers *layers
	attr   uint64
}

func (r rootFS) String() string {
	return fmt.Sprintf("mount %s as the root (%s)", fsText(r.fstype, r.params, r.layers), attrNames(r.attr))
}

func (r rootFS) lower(a *assembler) {
	if r.layers != nil {
		a.becomeRoot(a.overlay(*r.layers, r.attr))
		return
	}
	a.becomeRoot(a.newFS(r.fstype, r.params, r.attr))
}

func fsText(fstype string, params []string, l *layers) string {
	if l != nil {
		s := "an overlay of " + strings.Join(l.lower, ", ")
		if l.upper != "" {
			s += ", writes to " + l.upper
		}
		return s
	}
	if len(params) == 0 {
		return "a new " + fstype
	}
	return "a new " + fstype + " with " + strings.Join(params, ",")
}

// bindMount shows a file or directory at a place inside.
type bindMount struct {
	source
	dest      string // canonical
	attr, clr uint64
	recursive bool
}

func (b bindMount) String() string {
	return fmt.Sprintf("bind %s at %s (%s)", b.source, b.dest, attrNames(b.attr))
}

func (b bindMount) lower(a *assembler) {
	a.attach(a.bindFrom(b.source, b.attr, b.clr, b.recursive), b.dest)
}

// attach moves a detached mount to a place inside, which is opened without following any link.
func (a *assembler) attach(m arg, dest string) {
	a.put(m, dest)
	a.close(m)
}

// put is attach for a mount whose descriptor is still of use.
func (a *assembler) put(m arg, dest string) {
	a.covered(dest)
	at := a.open2(a.root, rel(dest), unix.O_PATH|unix.O_NOFOLLOW, 0, insideRoot)
	a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), at, a.str(""), val(ontoFD))
	a.close(at)
}

// directory opens a canonical directory inside, or gives the descriptor of the one opened last when that is it: many
// files and links are made in one directory, one after the other.
func (a *assembler) directory(p string) arg {
	if p == "/" {
		return a.root
	}
	if a.recent.path != p {
		a.forget()
		a.recent.path, a.recent.fd = p, a.open2(a.root, rel(p), unix.O_PATH|unix.O_DIRECTORY, 0, insideRoot)
	}
	return a.recent.fd
}

// covered tells directory that its path may lead to another place now.
func (a *assembler) covered(dest string) {
	if p := a.recent.path; p == dest || dest == "/" || strings.HasPrefix(p, dest+"/") {
		a.forget()
	}
}

func (a *assembler) forget() {
	if a.recent.path != "" {
		a.close(a.recent.fd)
		a.recent.path = ""
	}
}

// rel is a canonical path as seen from the root's descriptor.
func rel(p string) string {
	if p = strings.TrimPrefix(p, "/"); p == "" {
		return "."
	}
	return p
}

// newMount makes a file system and shows it at a place inside.
type newMount struct {
	fstype string
	params []string
	layers *layers
	dest   string
	attr   uint64
}

func (n newMount) String() string {
	return fmt.Sprintf("mount %s at %s (%s)", fsText(n.fstype, n.params, n.layers), n.dest, attrNames(n.attr))
}

func (n newMount) lower(a *assembler) {
	if n.layers != nil {
		a.attach(a.overlay(*n.layers, n.attr), n.dest)
		return
	}
	a.attach(a.newFS(n.fstype, n.params, n.attr), n.dest)
}

// overlayBase is the first descriptor number that the directories of an overlay are given. The kernel takes
// overlay directories as path strings; /proc/self/fd/N makes such a string mean one opened directory, and
// spares all quoting.
const overlayBase = 14

func (a *assembler) overlay(l layers, attr uint64) arg {
	n := overlayBase
	hold := func(dir string) string {
		s := source{path: dir, inBundle: !path.IsAbs(dir)}
		fd := s.open(a, unix.O_DIRECTORY)
		a.op(unix.SYS_DUP3, fd, val(n), val(unix.O_CLOEXEC))
		a.close(fd)
		n++
		return fmt.Sprintf("/proc/self/fd/%d", n-1)
	}
	var lower []string
	for _, dir := range l.lower {
		lower = append(lower, hold(dir))
	}
	params := append([]string{"lowerdir=" + strings.Join(lower, ":")}, l.rest...)
	if l.upper != "" {
		params = append(params, "upperdir="+hold(l.upper), "workdir="+hold(l.work))
	}
	m := a.newFS("overlay", params, attr)
	a.op(unix.SYS_CLOSE_RANGE, val(overlayBase), val(n-1), val(0))
	return m
}

// mountPoint makes the directories, and where asked the empty file, that a mount needs. Each is made in the
// opened directory above it, so no link can lead the making elsewhere: CVE-2024-45310, CVE-2024-42472.
type mountPoint struct {
	below string // canonical, exists
	names []string
	file  bool
}

func (m mountPoint) String() string {
	what := "directory"
	if m.file {
		what = "file"
	}
	return fmt.Sprintf("make the %s %s to mount on", what, path.Join(append([]string{m.below}, m.names...)...))
}

func (m mountPoint) lower(a *assembler) {
	dir, opened := a.directory(m.below), false
	for i, name := range m.names {
		last := i == len(m.names)-1
		if last && m.file {
			a.close(a.fd(unix.SYS_OPENAT, dir, a.str(name), val(unix.O_CREAT|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK), val(0o644)))
			break
		}
		a.op(unix.SYS_MKDIRAT, dir, a.str(name), val(0o755)).tolerate(unix.EEXIST)
		if !last {
			next := a.open2(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_BENEATH|noLinks)
			if opened {
				a.close(dir)
			}
			dir, opened = next, true
		}
	}
	if opened {
		a.close(dir)
	}
}

// makeLink makes a symbolic link on a file system of the sandbox's own.
type makeLink struct{ below, name, target string }

func (m makeLink) String() string {
	return fmt.Sprintf("make the link %s -> %s", path.Join(m.below, m.name), m.target)
}

func (m makeLink) lower(a *assembler) {
	a.op(unix.SYS_SYMLINKAT, a.str(m.target), a.directory(m.below), a.str(m.name)).tolerate(unix.EEXIST)
}

// restrict sets attributes on a mount that is in place, once everything below it is made.
type restrict struct {
	dest string
	attr uint64
}

func (r restrict) String() string { return fmt.Sprintf("set %s on %s", attrNames(r.attr), r.dest) }
func (r restrict) lower(a *assembler) {
	attr := &unix.MountAttr{Attr_set: r.attr}
	if r.dest == "/" {
		a.setAttr(a.root, "", unix.AT_EMPTY_PATH, attr)
		return
	}
	at := a.open2(a.root, rel(r.dest), unix.O_PATH|unix.O_NOFOLLOW, 0, insideRoot)
	a.setAttr(at, "", unix.AT_EMPTY_PATH, attr)
	a.close(at)
}

// coverReadonly lays a read-only copy of a path inside over itself.
type coverReadonly struct{ dest string }

func (c coverReadonly) String() string { return "cover " + c.dest + " with itself, read-only" }
func (c coverReadonly) lower(a *assembler) {
	a.covered(c.dest)
	at := a.open2(a.root, rel(c.dest), unix.O_PATH|unix.O_NOFOLLOW, 0, insideRoot)
	m := a.fd(unix.SYS_OPEN_TREE, at, a.str(""), val(cloneTree|unix.AT_RECURSIVE))
	a.setAttr(m, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), at, a.str(""), val(ontoFD))
	a.close(m)
	a.close(at)
}

// pivot makes the root the process's root and drops the old one with everything on it: pivot_root(2), NOTES.
type pivot struct{}

func (pivot) String() string { return "pivot_root into the root and detach the old one" }
func (pivot) lower(a *assembler) {
	a.forget()
	a.op(unix.SYS_FCHDIR, a.root)
	a.op(unix.SYS_PIVOT_ROOT, a.str("."), a.str("."))
	// What was stacked on the old root now lies on the new one, topmost first: the bundle's tmpfs, then the
	// old root itself with everything below it.
	if a.hasScratch {
		a.op(unix.SYS_UMOUNT2, a.str("."), val(unix.MNT_DETACH))
	}
	a.op(unix.SYS_UMOUNT2, a.str("."), val(unix.MNT_DETACH))
	a.op(unix.SYS_CHDIR, a.str("/"))
	a.close(a.root)
	if a.hasScratch {
		a.close(a.scratch)
	}
}

// maskFile lays /dev/null over a file. The node is the host's own, opened by its canonical path, and not one that
// a root of the user's could have replaced: CVE-2025-31133.
type maskFile struct{ dest string }

func (m maskFile) String() string { return "hide the file " + m.dest }
func (m maskFile) lower(a *assembler) {
	const attr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	a.mask(&a.fileMask, m.dest, func() arg { return a.bindFrom(source{path: "/dev/null"}, attr, 0, false) })
}

// mask shows a mount at one more place inside: a copy of the one at the first place, attributes and all, which a
// single call makes.
func (a *assembler) mask(first *arg, dest string, make func() arg) {
	if !first.slot {
		*first = make()
		a.put(*first, dest)
		return
	}
	a.attach(a.fd(unix.SYS_OPEN_TREE, *first, a.str(""), val(cloneTree)), dest)
}

// maskDirectory lays an empty read-only tmpfs over a directory, the same one over all.
type maskDirectory struct{ dest string }

func (m maskDirectory) String() string { return "hide the directory " + m.dest }
func (m maskDirectory) lower(a *assembler) {
	const attr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	a.mask(&a.directoryMask, m.dest, func() arg { return a.newFS("tmpfs", []string{"mode=0555", "size=4k", "nr_inodes=2"}, attr) })
}
