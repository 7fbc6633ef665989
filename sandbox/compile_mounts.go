package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mounts compiles the root and the mounts in their order.
func (c *compiler) mounts() error {
	mounts := c.spec.Mounts
	replaced := len(mounts) > 0 && path.Clean(mounts[0].Destination) == "/"
	if c.inMemory && c.needsScratch(replaced) || len(c.bundle.Overlays) > 0 {
		if err := c.materialise(); err != nil {
			return err
		}
	}
	if replaced {
		if err := c.rootMount(mounts[0]); err != nil {
			return err
		}
	} else if err := c.rootFolder(); err != nil {
		return err
	}
	for i, m := range mounts {
		if i == 0 && replaced {
			continue
		}
		if err := c.mount(i, m); err != nil {
			return err
		}
	}
	return nil
}

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

// mount compiles one mount below the root.
func (c *compiler) mount(i int, m specs.Mount) error {
	pointer := fmt.Sprintf("/mounts/%d", i)
	what := fmt.Sprintf("mount at %s", m.Destination)
	if !path.IsAbs(m.Destination) || strings.IndexByte(m.Destination+m.Source, 0) >= 0 {
		return c.failf(pointer, what, "the destination is no absolute path")
	}
	if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
		return c.failf(pointer, what, "id-mapped mounts are not supported")
	}
	o, err := parseOptions(m.Options)
	if err != nil {
		return c.fail(pointer, what, err)
	}
	if o.bind || m.Type == "bind" {
		return c.bind(pointer, m, o)
	}
	origin := c.origin(pointer)
	dest, err := c.destination(pointer, m.Destination, false)
	if err != nil {
		return err
	}
	attr := o.attr
	cv := &cover{kind: coverOpaque, fstype: m.Type}
	step := newMount{fstype: m.Type, params: o.params, dest: dest}
	switch m.Type {
	case "tmpfs":
		cv.kind = coverOwn
		if o.readonly {
			attr &^= unix.MOUNT_ATTR_RDONLY
			c.late = append(c.late, plannedStep{inSetup, restrict{dest, unix.MOUNT_ATTR_RDONLY}, origin})
		}
	case "overlay":
		l, err := c.overlayLayers(o.params)
		if err != nil {
			return c.fail(pointer, what, err)
		}
		step.params, step.layers = nil, &l
		cv.kind, cv.hosts, cv.upper, cv.writable = coverHost, l.hosts(), l.upper, l.upper != "" && !o.readonly
	case "proc":
		if !c.has(specs.PIDNamespace) {
			return c.fail(pointer, what, fmt.Errorf("a /proc without a pid namespace would show the host's processes"), "add pid to namespaces")
		}
		cv.kind, cv.hosts = coverHost, []string{"/proc"}
	case "sysfs":
		if c.namespaces[specs.NetworkNamespace] != "" || !c.has(specs.NetworkNamespace) {
			return c.fail(pointer, what, fmt.Errorf("a new sysfs needs a network namespace of its own"), "bind /sys instead")
		}
		cv.kind, cv.hosts = coverHost, []string{"/sys"}
	case "devpts":
		// newinstance is what every devpts mount has been since Linux 4.7.
		step.params = without(step.params, "newinstance")
	case "mqueue":
	case "cgroup", "cgroup2":
		// In a hierarchy that it can write the program raises its own limits: CVE-2022-0492.
		if !o.readonly {
			return c.fail(pointer, what, fmt.Errorf("the control groups of a sandbox are never writable inside"), "add the option ro")
		}
		if !c.has(specs.CgroupNamespace) {
			return c.fail(pointer, what, fmt.Errorf("without a cgroup namespace it would show the host's control groups"), "add cgroup to namespaces")
		}
		step.fstype, step.params = "cgroup2", nil
	default:
		return c.failf(pointer, what, "a file system of type %q cannot be mounted in a sandbox", m.Type)
	}
	step.attr = attr
	c.tree.cover(dest, cv)
	c.plan.add(inSetup, origin, step)
	return nil
}

func without(list []string, s string) []string {
	var out []string
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}

// cover records a mount at a canonical path; what was made below it is out of sight.
func (in *inside) cover(at string, c *cover) {
	for p := range in.made {
		if strings.HasPrefix(p, at+"/") {
			delete(in.made, p)
		}
	}
	for p := range in.mounts {
		if strings.HasPrefix(p, at+"/") {
			delete(in.mounts, p)
		}
	}
	in.mounts[at] = c
}

// hosts is what shows through an overlay, topmost first.
func (l layers) hosts() []string {
	var out []string
	if path.IsAbs(l.upper) {
		out = append(out, l.upper)
	}
	for _, d := range l.lower {
		if path.IsAbs(d) {
			out = append(out, d)
		}
	}
	return out
}

// overlayLayers reads the directories of an overlay and makes those of the host canonical.
func (c *compiler) overlayLayers(params []string) (layers, error) {
	l, err := parseOverlay(params)
	if err != nil {
		return l, err
	}
	dir := func(p string) (string, error) {
		if p == "" {
			return "", nil
		}
		if !path.IsAbs(p) && c.inMemory {
			return path.Clean(p), nil
		}
		host, mode, err := c.hostPath(p)
		if err == nil && !mode.IsDir() {
			err = unix.ENOTDIR
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", p, err)
		}
		return host, nil
	}
	for i := range l.lower {
		if l.lower[i], err = dir(l.lower[i]); err != nil {
			return l, err
		}
	}
	if l.upper, err = dir(l.upper); err != nil {
		return l, err
	}
	if l.work, err = dir(l.work); err != nil {
		return l, err
	}
	// In a user namespace the overlay's own attributes must be ones that its user may write: overlayfs.rst, userxattr.
	if c.has(specs.UserNamespace) && !contains(l.rest, "userxattr") && l.upper != "" {
		l.rest = append(l.rest, "userxattr")
	}
	return l, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// bind compiles a bind mount.
func (c *compiler) bind(pointer string, m specs.Mount, o mountOptions) error {
	what := fmt.Sprintf("bind %s at %s", m.Source, m.Destination)
	if len(o.params) > 0 {
		return c.failf(pointer, what, "unknown option %q of a bind mount", o.params[0])
	}
	if m.Source == "" {
		return c.failf(pointer, what, "the source is empty")
	}
	src := source{path: m.Source}
	var mode fs.FileMode
	if !path.IsAbs(m.Source) && c.inMemory {
		src = source{path: path.Clean(m.Source), inBundle: true}
		for _, e := range c.bundle.Tree {
			if e.Path == src.path {
				mode = e.Mode
				goto found
			}
		}
		return c.fail(pointer, what, fs.ErrNotExist)
	found:
	} else {
		var err error
		src.path, mode, err = c.hostPath(src.path)
		if err != nil {
			return c.fail(pointer, what, err, sourceHint(err))
		}
	}
	dest, err := c.destination(pointer, m.Destination, !mode.IsDir())
	if err != nil {
		return err
	}
	cv := &cover{kind: coverHost, hosts: []string{src.path}, writable: !o.readonly, file: !mode.IsDir(), device: mode&fs.ModeDevice != 0}
	if src.inBundle {
		cv.kind = coverOpaque
	}
	c.tree.cover(dest, cv)
	c.plan.add(inSetup, c.origin(pointer), bindMount{source: src, dest: dest, attr: o.attr, clr: o.clear, recursive: o.recursive})
	return nil
}

func sourceHint(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "make it, or mark the entry `optional: true`"
	}
	return ""
}

// destination finds where a mount goes and plans the making of what is missing there.
func (c *compiler) destination(pointer, dest string, file bool) (string, error) {
	what := "mount at " + dest
	pl, err := c.tree.find(dest)
	if err != nil {
		return "", c.fail(pointer, what, err)
	}
	if pl.planted != "" {
		return "", c.fail(pointer, what, fmt.Errorf("the way leads through the symbolic link %s, in a place where the program can write", pl.planted),
			"remove the link, or name the real path")
	}
	at := path.Join(append([]string{pl.path}, pl.missing...)...)
	if at == "/" {
		return "", c.failf(pointer, what, "a mount at / must be the first")
	}
	if len(pl.missing) == 0 {
		if pl.mode.IsDir() == file {
			if file {
				return "", c.failf(pointer, what, "is a directory, but the source is a file")
			}
			return "", c.failf(pointer, what, "is a file, but a directory is mounted there")
		}
		return at, nil
	}
	switch {
	case pl.cover.kind == coverOpaque:
		return "", c.failf(pointer, what, "does not exist, and nothing can be made below %s", pl.path)
	case pl.cover.kind == coverHost && !pl.cover.writable:
		return "", c.fail(pointer, what, fmt.Errorf("does not exist in the read-only tree it lies in, and jail makes nothing there"),
			"make "+at+" on the host, or put a tmpfs or overlay at "+pl.path)
	}
	c.plan.add(inSetup, c.origin(pointer), mountPoint{below: pl.path, names: pl.missing, file: file})
	c.tree.make(pl, file)
	return at, nil
}

// make records what a mountPoint step makes.
func (in *inside) make(pl place, file bool) {
	at := pl.path
	for i, name := range pl.missing {
		at = path.Join(at, name)
		in.made[at] = fs.ModeDir | 0o755
		if file && i == len(pl.missing)-1 {
			in.made[at] = 0o644
		}
	}
}

// devices adds what a runtime must provide in /dev: runtime-spec config-linux.md, "Default Devices".
func (c *compiler) devices() error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := c.device("/dev/"+name, "", true); err != nil {
			return err
		}
	}
	for i, d := range c.spec.Linux.Devices {
		if err := c.device(d.Path, fmt.Sprintf("/linux/devices/%d", i), false); err != nil {
			return err
		}
	}
	if dev, err := c.tree.find("/dev"); err != nil {
		return c.fail("/linux", "/dev", err)
	} else if len(dev.missing) > 0 || dev.cover.kind != coverOwn {
		return nil // the bundle brings a /dev of its own
	}
	links := []makeLink{{"/dev", "fd", "/proc/self/fd"}, {"/dev", "stdin", "/proc/self/fd/0"}, {"/dev", "stdout", "/proc/self/fd/1"}, {"/dev", "stderr", "/proc/self/fd/2"}}
	if pts, err := c.tree.find("/dev/pts"); err == nil && len(pts.missing) == 0 {
		links = append(links, makeLink{"/dev", "ptmx", "pts/ptmx"})
	}
	for _, l := range links {
		p, err := c.tree.find(path.Join(l.below, l.name))
		if err == nil && len(p.missing) == 1 {
			c.plan.add(inSetup, "", l)
			c.tree.made[path.Join(l.below, l.name)] = fs.ModeSymlink
			c.tree.links[path.Join(l.below, l.name)] = l.target
		}
	}
	return nil
}

// device shows one device node of the host. A user namespace cannot make nodes, and a bind of the host's own
// cannot be a fake: CVE-2025-31133.
func (c *compiler) device(p, pointer string, byDefault bool) error {
	pl, err := c.tree.find(p)
	if err != nil {
		return c.fail(pointer, "device "+p, err)
	}
	if len(pl.missing) == 0 && byDefault {
		return nil // there already, from the host or the profile
	}
	if byDefault && pl.cover.kind == coverHost {
		return nil // a root of the user's own, without it
	}
	if mode, err := c.facts.Files.Lstat(p); err != nil || mode&fs.ModeDevice == 0 {
		if err == nil {
			err = fmt.Errorf("is no device on the host")
		}
		if byDefault {
			return c.fail("/linux", "device "+p, err)
		}
		return c.fail(pointer, "device "+p, err)
	}
	dest, err := c.destination(pointer, p, true)
	if err != nil {
		return err
	}
	c.tree.cover(dest, &cover{kind: coverOpaque, file: true, device: true})
	c.plan.add(inSetup, c.origin(pointer), bindMount{source: source{path: p}, dest: dest, attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC})
	return nil
}

// masks hides and write-protects paths: runtime-spec config-linux.md, "Masked Paths".
func (c *compiler) masks() error {
	for i, p := range c.spec.Linux.ReadonlyPaths {
		pl, there, err := c.coverable(fmt.Sprintf("/linux/readonlyPaths/%d", i), p)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		c.plan.add(inSetup, c.origin(fmt.Sprintf("/linux/readonlyPaths/%d", i)), coverReadonly{pl.path})
	}
	for i, p := range c.spec.Linux.MaskedPaths {
		pointer := fmt.Sprintf("/linux/maskedPaths/%d", i)
		pl, there, err := c.coverable(pointer, p)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if pl.path == "/" {
			return c.failf(pointer, "mask "+p, "the root cannot be masked")
		}
		if pl.mode.IsDir() {
			c.plan.add(inSetup, c.origin(pointer), maskDirectory{pl.path})
		} else {
			c.plan.add(inSetup, c.origin(pointer), maskFile{pl.path})
		}
		c.tree.cover(pl.path, &cover{kind: coverOpaque, file: !pl.mode.IsDir()})
	}
	return nil
}

// coverable finds a path that is to be masked or write-protected. One that does not exist needs no cover (OCI).
// Below a directory that cannot be searched now, but that the program might open again, the directory itself
// stands for it. What cannot be looked at for another reason is an error: the cover would be missing.
func (c *compiler) coverable(pointer, p string) (place, bool, error) {
	if strings.IndexByte(p, 0) >= 0 {
		return place{}, false, c.failf(pointer, "cover "+p, "the path holds a NUL byte")
	}
	pl, err := c.tree.find(p)
	switch {
	case err == nil:
		return pl, len(pl.missing) == 0, nil
	case errors.Is(err, unix.ENOTDIR):
		return pl, false, nil
	case errors.Is(err, unix.EACCES):
		for dir := path.Dir(path.Clean(p)); dir != "/"; dir = path.Dir(dir) {
			if up, err := c.tree.find(dir); err == nil && len(up.missing) == 0 {
				return up, true, nil
			}
		}
	}
	return pl, false, c.fail(pointer, "cover "+p, err)
}

// symlinks makes the links that lie on file systems of the sandbox's own.
func (c *compiler) symlinks() error {
	var links []struct{ Path, Target string }
	if s, ok := c.spec.Annotations[annotationSymlinks]; ok {
		if err := json.Unmarshal([]byte(s), &links); err != nil {
			return c.fail("/annotations", annotationSymlinks, err)
		}
	}
	for _, l := range links {
		pl, err := c.tree.find(path.Dir(l.Path))
		if err != nil {
			return c.fail("/annotations", "link "+l.Path, err)
		}
		if pl.planted != "" || pl.cover.kind != coverOwn {
			return c.failf("/annotations", "link "+l.Path, "a link can only be made on a tmpfs of the sandbox's own")
		}
		if len(pl.missing) > 0 {
			c.plan.add(inSetup, "", mountPoint{below: pl.path, names: pl.missing})
			c.tree.make(pl, false)
		}
		c.plan.add(inSetup, "", makeLink{path.Join(append([]string{pl.path}, pl.missing...)...), path.Base(l.Path), l.Target})
	}
	return nil
}

// finishMounts makes read-only what had to be writable until now, and leaves the old root.
func (c *compiler) finishMounts() error {
	if c.spec.Process.Terminal {
		pl, err := c.tree.find("/dev/console")
		if err == nil && len(pl.missing) == 1 && pl.cover.kind == coverOwn {
			c.plan.add(inSetup, "", mountPoint{below: pl.path, names: pl.missing, file: true})
			c.tree.make(pl, true)
		}
	}
	// The parents' attributes do not reach their submounts, so the order is free; deepest first reads well.
	for i := len(c.late) - 1; i >= 0; i-- {
		c.plan.steps = append(c.plan.steps, c.late[i])
	}
	c.plan.add(inSetup, "", pivot{})
	return nil
}
