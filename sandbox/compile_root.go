package sandbox

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// needsScratch tells whether anything of a bundle in memory is used; else its tmpfs is spared.
func (c *compiler) needsScratch(rootReplaced bool) bool {
	if !rootReplaced && !path.IsAbs(c.spec.Root.Path) {
		return true
	}
	for _, m := range c.spec.Mounts {
		if (m.Type == "bind" || m.Type == "") && !path.IsAbs(m.Source) || m.Type == "overlay" {
			return true
		}
	}
	return false
}

// materialise makes the bundle's files on the private tmpfs.
func (c *compiler) materialise() error {
	c.plan.add(inSetup, "", scratch{})
	made := map[string]bool{".": true}
	for _, e := range append(slices.Clip(c.bundle.Tree), c.overlayTree()...) {
		if !fs.ValidPath(e.Path) || made[e.Path] {
			return c.failf("/", "bundle", "%q is no path of a bundle, or is there twice", e.Path)
		}
		for dir := path.Dir(e.Path); !made[dir]; dir = path.Dir(dir) {
			return c.failf("/", "bundle", "%q has no parent directory in the bundle", e.Path)
		}
		made[e.Path] = true
		c.plan.add(inSetup, "", treeFile{e})
	}
	if !made[bundleRoot] {
		c.plan.add(inSetup, "", treeFile{TreeEntry{Path: bundleRoot, Mode: fs.ModeDir | 0o755}})
	}
	return nil
}

// rootFolder takes root.path as the root.
func (c *compiler) rootFolder() error {
	origin := c.origin("/root")
	root := c.spec.Root.Path
	if c.inMemory && !path.IsAbs(root) {
		if path.Clean(root) != bundleRoot {
			return c.failf("/root/path", "root.path", "a bundle in memory has its root in %q, not %q", bundleRoot, root)
		}
		own := &cover{kind: coverOwn}
		c.tree.mounts["/"] = own
		for _, e := range c.bundle.Tree {
			if rest, ok := strings.CutPrefix(e.Path, bundleRoot+"/"); ok {
				c.tree.made["/"+rest] = e.Mode
				if e.Mode&fs.ModeSymlink != 0 {
					c.tree.links["/"+rest] = e.Target
				}
			}
		}
		c.plan.add(inSetup, origin, rootBind{source: source{bundleRoot, true}, attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
		if c.spec.Root.Readonly {
			c.late = append(c.late, plannedStep{inSetup, restrict{"/", unix.MOUNT_ATTR_RDONLY}, origin})
		}
		return nil
	}
	host, mode, err := c.hostPath(root)
	if err != nil {
		return c.fail("/root/path", "root.path "+root, err)
	}
	if !mode.IsDir() {
		return c.fail("/root/path", "root.path "+root, unix.ENOTDIR)
	}
	if host == "/" {
		return c.failf("/root/path", "root.path", "the host's own root cannot be the root of a sandbox; bind it with a mount at /")
	}
	// Mount points are still to be made in it, so read-only comes last.
	c.tree.mounts["/"] = &cover{kind: coverHost, hosts: []string{host}, writable: true}
	bind := rootBind{source: source{path: host}, recursive: true}
	if c.spec.Root.Readonly {
		bind.attr, bind.openTop = unix.MOUNT_ATTR_RDONLY, true
	}
	c.plan.add(inSetup, origin, bind)
	if c.spec.Root.Readonly {
		c.late = append(c.late, plannedStep{inSetup, restrict{"/", unix.MOUNT_ATTR_RDONLY}, origin})
	}
	return nil
}

// rootMount takes a first mount at "/" as the root.
func (c *compiler) rootMount(m specs.Mount) error {
	const pointer = "/mounts/0"
	o, err := parseOptions(m.Options)
	if err != nil {
		return c.fail(pointer, "mount at /", err)
	}
	origin := c.origin(pointer)
	switch {
	case o.bind || m.Type == "bind":
		if !path.IsAbs(m.Source) && c.inMemory {
			return c.failf(pointer, "bind "+m.Source+" at /", "a bundle in memory has its root in %q", bundleRoot)
		}
		host, mode, err := c.hostPath(m.Source)
		if err == nil && !mode.IsDir() {
			err = unix.ENOTDIR
		}
		if err != nil {
			return c.fail(pointer, "bind "+m.Source+" at /", err)
		}
		c.tree.mounts["/"] = &cover{kind: coverHost, hosts: []string{host}, writable: !o.readonly}
		c.plan.add(inSetup, origin, rootBind{source: source{path: host}, attr: o.attr, recursive: o.recursive})
	case m.Type == "tmpfs":
		c.tree.mounts["/"] = &cover{kind: coverOwn}
		c.plan.add(inSetup, origin, rootFS{fstype: "tmpfs", params: o.params, attr: o.attr &^ unix.MOUNT_ATTR_RDONLY})
		if o.readonly || c.spec.Root.Readonly {
			c.late = append(c.late, plannedStep{inSetup, restrict{"/", unix.MOUNT_ATTR_RDONLY}, origin})
		}
	case m.Type == "overlay":
		l, err := c.overlayLayers(o.params)
		if err != nil {
			return c.fail(pointer, "overlay at /", err)
		}
		c.tree.mounts["/"] = &cover{kind: coverHost, hosts: l.hosts(), upper: l.upper, writable: l.upper != "" && !o.readonly}
		c.plan.add(inSetup, origin, rootFS{fstype: "overlay", layers: &l, attr: o.attr &^ unix.MOUNT_ATTR_RDONLY})
		if o.readonly || c.spec.Root.Readonly {
			c.late = append(c.late, plannedStep{inSetup, restrict{"/", unix.MOUNT_ATTR_RDONLY}, origin})
		}
	default:
		return c.failf(pointer, "mount at /", "a file system of type %q cannot be the root", m.Type)
	}
	return nil
}
