package sandbox

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeFiles is a file system for decisions: paths to a mode, or to "-> target" for a link. Parents are there.
type fakeFiles map[string]string

func (f fakeFiles) Lstat(p string) (fs.FileMode, error) {
	if p == "/" {
		return fs.ModeDir, nil
	}
	what, ok := f[p]
	switch {
	case ok && strings.HasPrefix(what, "-> "):
		return fs.ModeSymlink, nil
	case ok && what == "file":
		return 0, nil
	case ok && what == "device":
		return fs.ModeDevice | fs.ModeCharDevice, nil
	case ok && what == "socket":
		return fs.ModeSocket, nil
	case ok && what == "closed":
		return 0, unix.EACCES
	}
	for q := range f {
		if q == p || strings.HasPrefix(q, p+"/") {
			return fs.ModeDir, nil
		}
	}
	return 0, unix.ENOENT
}

func (f fakeFiles) ReadDir(p string) ([]string, error) {
	var names []string
	for at := range f {
		rest, ok := strings.CutPrefix(at, strings.TrimSuffix(p, "/")+"/")
		if name, _, _ := strings.Cut(rest, "/"); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (f fakeFiles) Readlink(p string) (string, error) { return strings.TrimPrefix(f[p], "-> "), nil }

func TestCanonicalFollowsEveryLinkOnce(t *testing.T) {
	files := fakeFiles{
		"/home/ann": "-> /data/ann", "/data/ann/work": "dir", "/data/ann/up": "-> ../bob", "/data/bob/f": "file",
		"/loop": "-> loop", "/a": "-> b", "/b": "-> a", "/dangling": "-> nowhere", "/shut": "closed",
	}
	for _, c := range []struct {
		in, want string
		err      error
	}{
		{"/home/ann/work", "/data/ann/work", nil},
		{"/home/ann/up/f", "/data/bob/f", nil},
		{"/home/../data//ann/./work", "/data/ann/work", nil},
		{"/../..", "/", nil},
		{"/loop", "", unix.ELOOP},
		{"/a", "", unix.ELOOP},
		{"/dangling", "", unix.ENOENT},
		{"/data/bob/f/x", "", unix.ENOTDIR},
		{"/shut/x", "", unix.EACCES},
	} {
		got, _, err := canonical(files, c.in)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestFindWalksTheTreeInside(t *testing.T) {
	in := newInside(fakeFiles{
		"/usr/lib/x": "file", "/home/ann/keep/f": "file", "/home/ann/out": "-> /etc", "/home/ann/near": "-> keep", "/srv/ro/to": "-> /usr",
	})
	in.mounts["/"] = &cover{kind: coverOwn}
	in.made["/usr"], in.made["/home"], in.made["/home/ann"], in.made["/srv"] = fs.ModeDir, fs.ModeDir, fs.ModeDir, fs.ModeDir
	in.made["/lib"], in.links["/lib"] = fs.ModeSymlink, "usr/lib"
	in.cover("/usr", &cover{kind: coverHost, hosts: []string{"/usr"}})
	in.cover("/home/ann", &cover{kind: coverHost, hosts: []string{"/home/ann"}, writable: true})
	in.cover("/srv", &cover{kind: coverHost, hosts: []string{"/srv/ro"}})
	in.cover("/proc", &cover{kind: coverOpaque})
	for _, c := range []struct {
		in, path, missing, planted string
		err                        error
	}{
		{in: "/lib/x", path: "/usr/lib/x"},
		{in: "/usr/lib/none/deep", path: "/usr/lib", missing: "none/deep"},
		{in: "/opt/new", path: "/", missing: "opt/new"},
		{in: "/home/ann/near/f", path: "/home/ann/keep/f", planted: "/home/ann/near"},
		{in: "/home/ann/out/passwd", path: "/", missing: "etc/passwd", planted: "/home/ann/out"},
		{in: "/srv/to/lib", path: "/usr/lib"}, // a link in a read-only tree was not planted
		{in: "/usr/lib/x/y", err: unix.ENOTDIR},
		{in: "/proc/none", path: "/proc", missing: "none"},
		{in: "/../../usr", path: "/usr"},
	} {
		pl, err := in.find(c.in)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.in, err, c.err)
			continue
		}
		if err == nil && (pl.path != c.path || path.Join(pl.missing...) != c.missing || pl.planted != c.planted) {
			t.Errorf("%s: %q missing %q planted %q; want %q, %q, %q", c.in, pl.path, path.Join(pl.missing...), pl.planted, c.path, c.missing, c.planted)
		}
	}
}

func TestMountsHideWhatLiesBelow(t *testing.T) {
	in := newInside(fakeFiles{})
	in.mounts["/"] = &cover{kind: coverOwn}
	in.made["/a"], in.made["/a/b"] = fs.ModeDir, fs.ModeDir
	in.cover("/a", &cover{kind: coverOwn})
	if pl, err := in.find("/a/b"); err != nil || len(pl.missing) != 1 {
		t.Errorf("/a/b is still seen below a new mount: %+v %v", pl, err)
	}
}
