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
	if c.has(specs.UserNamespace) && !slices.Contains(l.rest, "userxattr") && l.upper != "" {
		l.rest = append(l.rest, "userxattr")
	}
	return l, nil
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
