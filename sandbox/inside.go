package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// inside is the file tree that the program will see, as far as Compile must know it: which mount covers a
// path, whether a mount point is there already, and through which symbolic links a path leads. It is built
// up while the mounts are compiled, in their order, and asks the host's files only below bind mounts.
type inside struct {
	files  Files
	mounts map[string]*cover      // by canonical path inside; "/" is always there
	made   map[string]fs.FileMode // what jail itself makes, on its own tmpfs mounts, by canonical path
	links  map[string]string      // targets of the symbolic links among them
}

// A cover is one mount as the tree above sees it.
type cover struct {
	kind     coverKind
	hosts    []string // directories of the host whose content shows through, topmost first
	upper    string   // of an overlay: the one of hosts that takes what is written
	writable bool     // the program can write below it
	file     bool     // a single file, socket or device
	device   bool     // a device node
	fstype   string   // of a kernel file system
}

type coverKind int

const (
	coverOwn    coverKind = iota // a tmpfs of jail's own: its content is exactly what jail makes
	coverHost                    // a bind mount or an overlay of host directories
	coverOpaque                  // a kernel file system
)

// A place is where a path inside leads.
type place struct {
	path    string   // canonical; for a missing file the canonical path of the deepest existing parent
	missing []string // components that are not there yet
	mode    fs.FileMode
	cover   *cover
	planted string // a symbolic link on the way that lies where the program can write
}

func newInside(files Files) *inside {
	return &inside{files: files, mounts: map[string]*cover{}, made: map[string]fs.FileMode{}, links: map[string]string{}}
}

// covering is the mount that a path without symbolic links lies on.
func (in *inside) covering(p string) (at string, c *cover) {
	for at = p; ; at = path.Dir(at) {
		if c := in.mounts[at]; c != nil {
			return at, c
		}
		if at == "/" {
			return "/", &cover{}
		}
	}
}

// lstat tells what is at p, the parent of which is canonical.
func (in *inside) lstat(p string) (mode fs.FileMode, target string, err error) {
	at, c := in.covering(p)
	if at == p {
		if c.file {
			return 0, "", nil
		}
		return fs.ModeDir, "", nil
	}
	if mode, ok := in.made[p]; ok {
		return mode, in.links[p], nil
	}
	hosts := c.hosts
	if c.kind == coverOwn {
		return 0, "", unix.ENOENT
	}
	rel := strings.TrimPrefix(p, strings.TrimSuffix(at, "/"))
	for _, h := range hosts {
		host := path.Join(h, rel)
		if mode, err = in.files.Lstat(host); err == nil {
			if mode&fs.ModeSymlink != 0 {
				target, err = in.files.Readlink(host)
			}
			return mode, target, err
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return 0, "", err
		}
	}
	return 0, "", unix.ENOENT
}

const maxLinks = 40 // as the kernel: path_resolution(7)

// find walks a path inside as the kernel will, with the new root as "/".
func (in *inside) find(p string) (place, error) {
	todo := split(p)
	at := "/"
	pl := place{mode: fs.ModeDir}
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at, pl.mode = path.Dir(at), fs.ModeDir
			continue
		}
		next := path.Join(at, name)
		mode, target, err := in.lstat(next)
		switch {
		case errors.Is(err, unix.ENOENT):
			for _, c := range todo {
				if c == ".." {
					return pl, fmt.Errorf("%s: a path through %q, which does not exist", p, next)
				}
			}
			pl.path, pl.missing = at, append([]string{name}, todo...)
			_, pl.cover = in.covering(at)
			return pl, nil
		case err != nil:
			return pl, err
		case mode&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return pl, unix.ELOOP
			}
			if _, c := in.covering(at); c.kind == coverHost && c.writable {
				pl.planted = next
			}
			if path.IsAbs(target) {
				at = "/"
			}
			todo = append(split(target), todo...)
			continue
		case !mode.IsDir() && len(todo) > 0:
			return pl, unix.ENOTDIR
		}
		at, pl.mode = next, mode
	}
	pl.path = at
	_, pl.cover = in.covering(at)
	return pl, nil
}

// split gives the components of a path, without empty ones and ".".
func split(p string) []string {
	var out []string
	for _, c := range strings.Split(p, "/") {
		if c != "" && c != "." {
			out = append(out, c)
		}
	}
	return out
}

// canonical follows every symbolic link of a host path, so that it can be opened later with
// RESOLVE_NO_SYMLINKS: a link put in its way after this look makes the open fail (openat2(2)).
func canonical(files Files, p string) (string, fs.FileMode, error) {
	at, mode, _, err := follow(files, p)
	if err != nil {
		return "", 0, err
	}
	return at, mode, nil
}

// follow is canonical, and names the symbolic links that it went through by their own canonical places. With an error
// the path is what could not be looked at.
func follow(files Files, p string) (at string, mode fs.FileMode, links []string, err error) {
	todo := split(p)
	at, mode = "/", fs.ModeDir
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at, mode = path.Dir(at), fs.ModeDir
			continue
		}
		next := path.Join(at, name)
		m, err := files.Lstat(next)
		if err != nil {
			return next, 0, links, err
		}
		if m&fs.ModeSymlink != 0 {
			if links = append(links, next); len(links) > maxLinks {
				return next, 0, links, unix.ELOOP
			}
			target, err := files.Readlink(next)
			if err != nil {
				return next, 0, links, err
			}
			if path.IsAbs(target) {
				at = "/"
			}
			todo = append(split(target), todo...)
			continue
		}
		if !m.IsDir() && len(todo) > 0 {
			return next, 0, links, unix.ENOTDIR
		}
		at, mode = next, m
	}
	return at, mode, links, nil
}

// isUnder tells whether p is dir or lies below it; both are canonical.
func isUnder(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}
