package policy

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Folders of a bundle.
const (
	bundleRoot    = "rootfs"  // what lies directly on the root
	bundleContent = "content" // inline files that lie below a mount, by number
	bundleOverlay = "overlay" // layers that are thrown away, by number
)

// mounts writes the file tree: the root, then every entry of the profile. The
// entries come sorted, parents before children.
func (c *compiler) mounts() {
	under := mountTree{}
	c.root(&under)
	for i := range c.r.Filesystem {
		e := &c.r.Filesystem[i]
		parent, covered := under.above(e.Path)
		switch e.Kind {
		case KindSymlink:
			c.symlink(e, covered)
		case KindContent:
			if !c.contentMount(e, covered) {
				continue
			}
			under.add(e.Path, false, false)
		case KindDir:
			if !covered {
				c.treeDir(e)
				continue
			}
			c.mount(e, specs.Mount{Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions(e, !parent.writable)})
			under.add(e.Path, parent.writable, false)
		case KindRoom:
			c.room(e)
			under.add(e.Path, false, false)
		default:
			c.mount(e, c.entryMount(e))
			under.add(e.Path, e.writable(), e.asOnHost())
		}
	}
	c.masks(&under)
}

// writable tells whether the program may make files at the entry's path.
func (e *Entry) writable() bool {
	switch e.Kind {
	case KindRW, KindPersist, KindTmpfs, KindDev:
		return true
	case KindOverlay:
		return e.Overlay.Discard || e.Overlay.Keep != ""
	}
	return false
}

// asOnHost tells whether the entry shows the host's own files where the host has
// them. Control groups that a profile asks for by name are what it wants to see.
func (e *Entry) asOnHost() bool {
	return e.HostBacked() && e.Source == e.Path && (e.Path != cgroupRoot || e.Origin.File == FileDefault)
}

// mountTree knows which mount a path lies on.
type mountTree struct{ mounts []mountPoint }

type mountPoint struct {
	path     string
	writable bool
	hosts    bool // the host's own files at the same path show through
}

func (t *mountTree) add(path string, writable, hosts bool) {
	t.mounts = append(t.mounts, mountPoint{path, writable, hosts})
}

// above gives the deepest mount that path lies on, and false where that is the
// bundle's own root folder.
func (t *mountTree) above(path string) (mountPoint, bool) {
	best, found := mountPoint{}, false
	for _, m := range t.mounts {
		if isBelow(path, m.path) && len(m.path) >= len(best.path) {
			best, found = m, true
		}
	}
	return best, found
}

// isBelow tells whether path is dir or lies in it. Both are absolute and clean.
func isBelow(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}

// root decides what "/" is. By default it is a folder of the bundle with just
// the links and files the profile puts there; mount points are made in it by the
// runtime. Nobody writes to it.
func (c *compiler) root(under *mountTree) {
	c.tree = append(c.tree, TreeEntry{Path: bundleRoot, Mode: fs.ModeDir | 0o755})
	c.spec.Root = &specs.Root{Path: bundleRoot, Readonly: true}
	e := &c.r.Root
	c.origin("/root", e.Origin)
	switch {
	case e.Kind == KindTmpfs && e.Origin.File == FileDefault, e.Kind == "":
		return
	case e.HostBacked() && e.Source != "/":
		c.spec.Root.Path, c.spec.Root.Readonly = e.Source, !e.writable()
	default:
		c.mount(e, c.entryMount(e))
	}
	under.add("/", e.writable(), e.asOnHost())
}

// mount adds one mount for an entry.
func (c *compiler) mount(e *Entry, m specs.Mount) {
	m.Destination = e.Path
	c.origin("/mounts/"+strconv.Itoa(len(c.spec.Mounts)), e.Origin)
	c.spec.Mounts = append(c.spec.Mounts, m)
}

// entryMount translates the entries that are always a mount of their own.
func (c *compiler) entryMount(e *Entry) specs.Mount {
	switch e.Kind {
	case KindTmpfs:
		return specs.Mount{Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions(e, false)}
	case KindOverlay:
		return c.overlay(e)
	case KindProc:
		if e.Source != "" { // the caller's pid namespace: a new procfs would not be allowed
			return bindMount(e, "ro", "nosuid", "nodev", "noexec")
		}
		m := specs.Mount{Type: "proc", Source: "proc", Options: append([]string{"nosuid", "nodev", "noexec"}, e.Options...)}
		if c.r.Process.Proc.V == "pid" {
			m.Options = append(m.Options, "subset=pid") // Documentation/filesystems/proc.rst
			c.origin("/mounts/"+strconv.Itoa(len(c.spec.Mounts))+"/options", c.r.Process.Proc.Origin)
		}
		return m
	case KindDev:
		return specs.Mount{Type: "tmpfs", Source: "tmpfs",
			Options: append([]string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}, e.Options...)}
	case KindPts:
		// No gid=5: a group that is not mapped makes the mount fail (devpts.rst).
		return specs.Mount{Type: "devpts", Source: "devpts",
			Options: append([]string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}, e.Options...)}
	case KindMqueue:
		return specs.Mount{Type: "mqueue", Source: "mqueue", Options: append([]string{"nosuid", "nodev", "noexec"}, e.Options...)}
	case KindDevice:
		// Read-only keeps the folder as it is; a device node is written to all the
		// same.
		return bindMount(e, "ro", "nosuid", "noexec")
	case KindRO:
		return bindMount(e, "ro", "nosuid", "nodev")
	}
	return bindMount(e, "nosuid", "nodev")
}

// bindMount gives a bind mount of the entry's source. A recursive one takes the
// recursive form of each option: runc applies plain ones to the topmost mount
// alone, which leaves what is mounted below a read-only tree writable. And it is
// private: a disk that the host mounts there later does not turn up inside,
// where none of these options would hold for it (mount_namespaces(7)).
func bindMount(e *Entry, options ...string) specs.Mount {
	m := specs.Mount{Type: "bind", Source: e.Source, Options: []string{"bind"}}
	options = append(options, e.Options...)
	if e.Recursive && e.SourceType.IsDir() {
		m.Options[0] = "rbind"
		for i, o := range options {
			options[i] = "r" + o
		}
	}
	if e.SourceType.IsDir() {
		options = append(options, "rprivate")
	}
	slices.Sort(options)
	m.Options = append(m.Options, slices.Compact(options)...)
	return m
}

// tmpfsOptions gives the options of an entry that is a tmpfs.
func tmpfsOptions(e *Entry, readonly bool) []string {
	options := []string{"nosuid", "nodev"}
	if readonly {
		options = append(options, "ro")
	}
	options = append(options, e.Options...)
	mode := "0755"
	if e.Mode != 0 {
		mode = "0" + strconv.FormatUint(uint64(permissionBits(e.Mode)), 8)
	}
	options = append(options, "mode="+mode)
	if e.Size > 0 {
		options = append(options, "size="+strconv.FormatInt(e.Size, 10))
	}
	return options
}

// permissionBits gives a mode as chmod(2) takes it, whether its upper bits are
// written as there or as Go has them.
func permissionBits(m fs.FileMode) uint32 {
	bits := uint32(m) & 0o7777
	for _, s := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&s.mode != 0 {
			bits |= s.bit
		}
	}
	return bits
}

// overlay gives an overlay mount. userxattr is what overlayfs needs to note
// replaced directories without privileges (overlayfs.rst, "User xattr").
func (c *compiler) overlay(e *Entry) specs.Mount {
	o := e.Overlay
	lower := make([]string, len(o.Lower))
	for i, dir := range o.Lower {
		lower[i] = escapeLayer(dir)
	}
	options := append([]string{"nosuid", "nodev"}, e.Options...)
	switch {
	case o.Keep != "":
		options = append(options, "userxattr", "lowerdir="+strings.Join(lower, ":"),
			"upperdir="+escapeLayer(o.Upper), "workdir="+escapeLayer(o.Work))
	case o.Discard:
		dir := c.layerDir()
		options = append(options, "userxattr", "lowerdir="+strings.Join(lower, ":"),
			"upperdir="+dir+"/upper", "workdir="+dir+"/work")
	default:
		options = append(options, "ro", "userxattr", "lowerdir="+strings.Join(lower, ":"))
	}
	return specs.Mount{Type: "overlay", Source: "overlay", Options: options}
}

// layerDir adds the folders of one more layer that ends with the sandbox.
func (c *compiler) layerDir() string {
	n := 0
	for _, t := range c.tree {
		if strings.HasPrefix(t.Path, bundleOverlay+"/") && strings.HasSuffix(t.Path, "/upper") {
			n++
		}
	}
	if n == 0 {
		c.tree = append(c.tree, TreeEntry{Path: bundleOverlay, Mode: fs.ModeDir | 0o755})
	}
	dir := bundleOverlay + "/" + strconv.Itoa(n)
	for _, p := range []string{dir, dir + "/upper", dir + "/work"} {
		c.tree = append(c.tree, TreeEntry{Path: p, Mode: fs.ModeDir | 0o755})
	}
	return dir
}

// escapeLayer protects what the kernel would take for the end of a layer or of
// an option (overlayfs.rst, "escaping of special characters").
func escapeLayer(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// symlink puts a link on the root into the bundle; below a mount only jail
// itself can make it.
func (c *compiler) symlink(e *Entry, covered bool) {
	if covered {
		c.origin("/annotations/"+annotationSymlinks+"/"+strconv.Itoa(len(c.links)), e.Origin)
		c.links = append(c.links, TreeEntry{Path: e.Path, Target: e.Target})
		return
	}
	c.onRoot(e)
	c.tree = append(c.tree, TreeEntry{Path: bundleRoot + e.Path, Mode: fs.ModeSymlink | 0o777, Target: e.Target})
}

// contentMount puts an inline file into the bundle, and reports whether it had
// to be mounted because it lies below another mount.
func (c *compiler) contentMount(e *Entry, covered bool) bool {
	mode := e.Mode
	if mode == 0 {
		mode = 0o644
	}
	if !covered {
		c.onRoot(e)
		c.tree = append(c.tree, TreeEntry{Path: bundleRoot + e.Path, Mode: mode, Content: e.Content})
		return false
	}
	n := 0
	for _, t := range c.tree {
		if strings.HasPrefix(t.Path, bundleContent+"/") {
			n++
		}
	}
	if n == 0 {
		c.tree = append(c.tree, TreeEntry{Path: bundleContent, Mode: fs.ModeDir | 0o755})
	}
	path := bundleContent + "/" + strconv.Itoa(n)
	c.tree = append(c.tree, TreeEntry{Path: path, Mode: mode, Content: e.Content})
	c.mount(e, specs.Mount{Type: "bind", Source: path, Options: append([]string{"bind", "nodev", "nosuid", "ro"}, e.Options...)})
	return true
}

// treeDir puts an empty directory into the bundle's root.
func (c *compiler) treeDir(e *Entry) {
	mode := e.Mode
	if mode == 0 {
		mode = 0o755
	}
	c.onRoot(e)
	c.tree = append(c.tree, TreeEntry{Path: bundleRoot + e.Path, Mode: fs.ModeDir | mode})
}

// onRoot readies the bundle's root for an entry, and notes where it comes from for a launcher that has no root to put it
// on (enforcement.namespaces).
func (c *compiler) onRoot(e *Entry) {
	c.treeParents(e.Path)
	if c.r.level("namespaces") != "require" {
		c.origin("/root"+e.Path, e.Origin)
	}
}

// treeParents adds the directories of the bundle's root that path lies in and
// that no entry of its own has made.
func (c *compiler) treeParents(path string) {
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		dir := bundleRoot + path[:i]
		if !slices.ContainsFunc(c.tree, func(t TreeEntry) bool { return t.Path == dir }) {
			c.tree = append(c.tree, TreeEntry{Path: dir, Mode: fs.ModeDir | 0o755})
		}
	}
}
