package policy

import (
	"io/fs"
	"testing"
)

// TestView follows paths inside through links of the profile and of the host.
func TestView(t *testing.T) {
	h := fakeHost(t, map[string]string{"p.yaml": `version: 1
filesystem:
  - {path: /usr, mode: ro}
  - {path: /bin, symlink: usr/bin}
  - {path: /up, symlink: /}
  - {path: /here, symlink: .}
  - {path: /loop, symlink: loop}
  - {path: /out, symlink: ../../usr/lib}
  - {path: /home, mode: ro}
  - {path: /motd, content: x}
  - {path: "~/work", overlay: discard}
`})
	p, err := Load("p.yaml", h)
	if err != nil {
		t.Fatal(err)
	}
	r := &resolver{profile: p, host: h, look: newLookup(h), vars: expander{host: h, vars: map[string]variable{}}, out: &Resolved{host: h}}
	r.collectParts()
	r.network()
	r.namespaces()
	r.filesystem()
	if len(r.problems) > 0 {
		t.Fatal(r.problems)
	}
	for _, c := range []struct {
		path    string
		last    bool
		want    string
		host    string
		exists  bool
		blocked string
	}{
		{"/", true, "/", "", true, ""},
		{"/usr/bin/sh", true, "/usr/bin/sh", "/usr/bin/sh", true, ""},
		{"/bin/sh", true, "/usr/bin/sh", "/usr/bin/sh", true, ""},
		{"/bin", false, "/bin", "", true, ""},
		{"/bin", true, "/usr/bin", "/usr/bin", true, ""},
		{"/up", true, "/", "", true, ""},
		{"/up/bin/sh", true, "/usr/bin/sh", "/usr/bin/sh", true, ""},
		{"/here/here/up/here/usr", true, "/usr", "/usr", true, ""},
		{"/out/x86_64", true, "/usr/lib/x86_64", "/usr/lib/x86_64", true, ""},
		{"/loop/x", true, "/loop", "", false, ""},
		{"/home/user/.gitconfig", true, "/home/user/dotfiles/gitconfig", "/home/user/dotfiles/gitconfig", true, ""},
		{"/home/user/.gitconfig", false, "/home/user/.gitconfig", "/home/user/.gitconfig", true, ""},
		{"/home/user/work/app/.env", true, "/home/user/work/app/.env", "/home/user/work/app/.env", true, ""},
		{"/home/user/work/none/x", true, "/home/user/work/none/x", "/home/user/work/none/x", false, ""},
		{"/motd/x/y", true, "/motd/x/y", "", false, "/motd"},
		{"/usr/bin/sh/x", true, "/usr/bin/sh/x", "/usr/bin/sh", false, "/usr/bin/sh"},
	} {
		s := r.view.resolve(c.path, c.last)
		if s.path != c.want || s.host != c.host || s.exists != c.exists || s.blocked != c.blocked {
			t.Errorf("%s: path %s, host %s, exists %v, blocked %q", c.path, s.path, s.host, s.exists, s.blocked)
		}
	}
}

// TestWalk compares lookup.walk with how the fake machine itself resolves.
func TestWalk(t *testing.T) {
	h := fakeHost(t, nil)
	f := h.FS.(fakeFS)
	f.put("/a/b/c", fakeFile{mode: 0o644})
	f.put("/a/l", fakeFile{mode: 0o777 | fs.ModeSymlink, target: "b/../b/./c"})
	f.put("/a/m", fakeFile{mode: 0o777 | fs.ModeSymlink, target: "../../../a//l"})
	f.put("/d", fakeFile{mode: 0o777 | fs.ModeSymlink, target: "a/b"})
	f.put("/e", fakeFile{mode: 0o777 | fs.ModeSymlink, target: "d/../l"}) // the parent of a/b, not of d
	f.put("/r", fakeFile{mode: 0o777 | fs.ModeSymlink, target: "/"})
	for path, want := range map[string]string{
		"/": "/", "/a/b/c": "/a/b/c", "/a/l": "/a/b/c", "/a/m": "/a/b/c", "/d/c": "/a/b/c", "/e": "/a/b/c",
		"/r": "/", "/r/r/a/l": "/a/b/c", "/bin/sh": "/usr/bin/sh", "/etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf",
	} {
		for range 2 {
			if got := newLookup(h).walk(path); got.err != nil || got.path != want {
				t.Errorf("%s: %s, %v, want %s", path, got.path, got.err, want)
			}
		}
	}
	for path, missing := range map[string]bool{"/none": true, "/a/b/c/d": true, "/srv/dangling": true, "/srv/loop": false, "/srv/loop/x": false} {
		if got := newLookup(h).walk(path); got.err == nil || got.missing() != missing {
			t.Errorf("%s: %+v", path, got)
		}
	}
}
