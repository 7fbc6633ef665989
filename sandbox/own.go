package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// hostPath finds the file of the host that a path of the configuration means. A relative one is a file of the
// bundle's own folder, and a link that leads out of there is refused: to a reader of the configuration it says
// "rootfs", and whoever could write the folder would have it mean anything.
func (c *compiler) hostPath(p string) (string, fs.FileMode, error) {
	if path.IsAbs(p) {
		host, mode, err := canonical(c.facts.Files, p)
		if err == nil && c.bundle.Resolved && host != path.Clean(p) {
			return "", 0, fmt.Errorf("a symbolic link was put in its way during the start, and leads to %s", host)
		}
		return host, mode, err
	}
	outside := errors.New("leads out of the bundle's folder; what lies elsewhere is named by its absolute path")
	if slices.Contains(split(p), "..") {
		return "", 0, outside
	}
	dir, _, err := canonical(c.facts.Files, c.bundle.Dir)
	if err != nil {
		return "", 0, err
	}
	host, mode, err := canonical(c.facts.Files, path.Join(dir, p))
	if err == nil && !isUnder(host, dir) {
		return "", 0, outside
	}
	return host, mode, err
}

// protectOwn keeps jail's own files out of the program's hands where a mount of the configuration shows them: a
// program that could write them would loosen its own next run.
func (c *compiler) protectOwn() error {
	for _, own := range c.bundle.Own {
		if err := c.protect(own); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) protect(own OwnPath) error {
	host, mode, links, err := follow(c.facts.Files, own.Path)
	missing := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	at := make([]string, 0, len(c.tree.mounts))
	for p := range c.tree.mounts {
		at = append(at, p)
	}
	sort.Strings(at) // parents first, and always the same plan
	for _, p := range at {
		cv := c.tree.mounts[p]
		for _, h := range cv.hosts {
			writable := cv.writable && (cv.upper == "" || cv.upper == h) && !(p == "/" && c.spec.Root.Readonly)
			if err != nil && !missing {
				// The program may have closed the way to it, in an earlier run, and would open it again in this one.
				if (isUnder(host, h) || isUnder(h, host)) && (writable || own.Hidden) {
					return c.fail("/mounts", "mount at "+p, fmt.Errorf("holds %s, and %s cannot be looked at: %w", own.What, host, err),
						"let yourself into the directories above it again, with chmod u+rwx")
				}
				continue
			}
			if err := c.protectFrom(own, host, mode, links, missing, shownTree{p, h, cv, writable}); err != nil {
				return err
			}
		}
	}
	return nil
}

// A shownTree is a directory of the host and where a mount shows it.
type shownTree struct {
	at, host string
	cover    *cover
	writable bool
}

// protectFrom covers one file or directory of jail's own where one mount shows it.
func (c *compiler) protectFrom(own OwnPath, host string, mode fs.FileMode, links []string, missing bool, m shownTree) error {
	refuse := func(format string, args ...any) error {
		return c.fail("/mounts", "mount at "+m.at, fmt.Errorf(format, args...), "mount a narrower directory, or this one read-only")
	}
	for _, l := range links {
		if m.writable && l != m.host && isUnder(l, m.host) {
			return refuse("the program could replace the symbolic link %s, which leads to %s", l, own.What)
		}
	}
	switch {
	case m.host == host || isUnder(m.host, host):
		for _, dir := range own.Except {
			if m.host != dir && isUnder(m.host, dir) {
				return nil
			}
		}
		if m.writable {
			return refuse("would let the program write %s", own.What)
		}
		return nil
	case !isUnder(host, m.host) || !m.writable && !own.Hidden:
		return nil
	case m.writable && (missing || m.host == m.cover.upper):
		return refuse("would let the program make %s, and %s cannot be kept from it", host, own.What)
	case missing:
		return nil
	}
	inside := path.Join(m.at, strings.TrimPrefix(host, strings.TrimSuffix(m.host, "/")))
	if at, cv := c.tree.covering(inside); at != m.at || cv != m.cover {
		return nil // another mount, or a mask, lies over it
	}
	if m.writable {
		c.pin(m, inside)
	}
	switch {
	case !own.Hidden:
		c.plan.add(inSetup, "", coverReadonly{inside})
	case mode.IsDir():
		c.plan.add(inSetup, "", maskDirectory{inside})
	default:
		c.plan.add(inSetup, "", maskFile{inside})
	}
	c.tree.cover(inside, &cover{kind: coverOpaque, file: !mode.IsDir()})
	return nil
}

// pin makes mount points of the directories between a mount and a covered path: rename(2) refuses to move those, so
// the program cannot put the covered path's parent aside and make a new one.
func (c *compiler) pin(m shownTree, inside string) {
	var dirs []string
	for dir := path.Dir(inside); dir != m.at && c.tree.mounts[dir] == nil; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		c.plan.add(inSetup, "", pinDirectory{dirs[i]})
		rel := strings.TrimPrefix(dirs[i], strings.TrimSuffix(m.at, "/"))
		c.tree.mounts[dirs[i]] = &cover{kind: coverHost, hosts: []string{path.Join(m.host, rel)}, writable: m.writable}
	}
}

// pinDirectory lays a directory inside over itself, so that it is a mount point.
type pinDirectory struct{ dest string }

func (p pinDirectory) String() string {
	return "make " + p.dest + " a mount point, so that it cannot be renamed"
}
func (p pinDirectory) lower(a *assembler) {
	a.covered(p.dest)
	at := a.open2(a.root, rel(p.dest), unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0, insideRoot)
	m := a.fd(unix.SYS_OPEN_TREE, at, a.str(""), val(cloneTree|unix.AT_RECURSIVE))
	a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), at, a.str(""), val(ontoFD))
	a.close(m)
	a.close(at)
}
