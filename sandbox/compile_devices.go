package sandbox

import (
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

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
