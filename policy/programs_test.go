package policy

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

// TestForProgram: which profile a program gets when none is named.
func TestForProgram(t *testing.T) {
	const user, system = "/home/user/.config/jail/profiles/", "/etc/jail/profiles/"
	shipped := fstest.MapFS{
		"firefox.yaml":        {Data: []byte("version: 1\nprograms: [firefox, firefox-esr]\n")},
		"gcc.yaml":            {Data: []byte("version: 1\nprograms: [gcc, g++]\n")},
		"fragments/base.yaml": {Data: []byte("version: 1\nprograms: []\n")},
		"programs":            {Data: []byte("firefox firefox\nfirefox-esr firefox\ng++ gcc\ngcc gcc\n")},
	}
	for _, c := range []struct {
		what    string
		files   map[string]string
		program string
		want    string
	}{
		{"its own name", nil, "firefox", "firefox"},
		{"another name of it", nil, "firefox-esr", "firefox"},
		{"a name with +", nil, "g++", "gcc"},
		{"a beginning of a name", nil, "fire", ""},
		{"a fragment is for no program", nil, "base", ""},
		{"no name", nil, "../x", ""},
		{"nothing", nil, "", ""},
		{"a line of the index", nil, "gcc gcc", ""},
		{"the user's own", map[string]string{user + "mine.yaml": "version: 1\n"}, "mine", "mine"},
		{"the user's own for another program", map[string]string{user + "mine.yaml": "version: 1\nprograms: [firefox]\n"}, "firefox", "mine"},
		{"the program's own name comes first", map[string]string{
			user + "a.yaml": "version: 1\nprograms: [vim]\n", user + "vim.yaml": "version: 1\n"}, "vim", "vim"},
		{"the first folder decides", map[string]string{
			user + "a.yaml": "version: 1\nprograms: [vim]\n", system + "vim.yaml": "version: 1\n"}, "vim", "a"},
		{"a file that stands before a shipped one serves its programs", map[string]string{user + "firefox.yaml": "version: 1\n"}, "firefox-esr", "firefox"},
		{"unless it says what it is for", map[string]string{user + "firefox.yaml": "version: 1\nprograms: [firefox]\n"}, "firefox-esr", ""},
		{"a file that is for nothing", map[string]string{user + "firefox.yaml": "version: 1\nprograms: []\n"}, "firefox", ""},
		{"a file that is broken and may be it", map[string]string{user + "b.yaml": "version: 1\nprograms: [firefox\n"}, "firefox", "b"},
		{"a file that is broken and bears the name", map[string]string{user + "firefox.yaml": "\x00"}, "firefox", "firefox"},
		{"a file that is broken and says nothing of it", map[string]string{user + "b.yaml": "version: [\n"}, "firefox", "firefox"},
		{"a word in a comment", map[string]string{user + "b.yaml": "version: 1 # not of the programs: firefox\n"}, "firefox", "firefox"},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := fakeHost(t, c.files)
			h.Shipped = shipped
			got, ok := ForProgram(h, c.program)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("ForProgram(%q) = %q, %t; want %q", c.program, got, ok, c.want)
			}
		})
	}
}

// TestProfileOfAProgram: where there is no profile of a name, the one for the
// program of that name is meant.
func TestProfileOfAProgram(t *testing.T) {
	h := fakeHost(t, map[string]string{"/home/user/.config/jail/profiles/pdf.yaml": "version: 1\nprograms: [pdftotext, pdfinfo]\n"})
	for _, ref := range []string{"pdftotext", "pdfinfo", "pdfinfo.yaml", "pdf"} {
		p, err := Load(ref, h)
		if err != nil || p.Name != "pdf" {
			t.Errorf("%s: %+v, %v", ref, p, err)
		}
	}
	// Profiles are built from profiles, not from programs.
	h = fakeHost(t, map[string]string{
		"/home/user/.config/jail/profiles/pdf.yaml": "version: 1\nprograms: [pdftotext]\n",
		"p.yaml": "version: 1\nextends: [pdftotext]\n",
	})
	if _, err := Load("p.yaml", h); err == nil {
		t.Error("extends takes the name of a program")
	}
}

// TestOwnFolder: where `when: {cwd: own}` holds.
func TestOwnFolder(t *testing.T) {
	const profile = "version: 1\nfilesystem:\n  - {path: \"${CWD}\", mode: rw, when: {cwd: own}}\n"
	for cwd, want := range map[string]bool{
		"/home/user/work": true, "/home/user/work/app/src": true, "/srv/data": true,
		"/home/user": false, "/home": false, "/": false,
		"/home/user/.ssh": false, "/home/user/.config": false, "/home/user/.local/state": false,
		"/run/user/1000": false, "/run/user/1000/pulse": false, "/run": false,
		"/gone": false, "/etc/hosts": false, "/srv/foreign": false, "/tmp/link": false, "/tmp/deep": true,
	} {
		h := fakeHost(t, map[string]string{"/p.yaml": profile})
		h.FS.(fakeFS).put("/srv/foreign", fakeFile{mode: fs.ModeDir | 0o755, locked: true})
		h.FS.(fakeFS).put("/tmp/link", fakeFile{mode: fs.ModeSymlink | 0o777, target: "/home/user"})
		h.FS.(fakeFS).put("/tmp/deep/x", fakeFile{mode: 0o644})
		h.Cwd = cwd
		p, err := Load("/p.yaml", h)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Resolve(h)
		got := false
		if err == nil {
			for _, e := range r.Filesystem {
				got = got || e.Kind == KindRW && e.Path == cwd
			}
		}
		if got != want {
			t.Errorf("in %s: granted %t, want %t (%v)", cwd, got, want, err)
		}
	}
}
