package policy

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func hiddenPaths(r *Resolved) string {
	var all []string
	for _, h := range r.Hidden {
		all = append(all, h.Path)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestHide: hide wins over grants of its own and earlier files, at every path
// that shows the same file, until a later file names that very path.
func TestHide(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  string
	}{
		{"own file, hide first", []string{`filesystem: [{path: "~/.ssh", hide: true}, {path: "/home/user", mode: rw}]`}, "/home/user/.local/state/jail /home/user/.ssh"},
		{"earlier file", []string{`filesystem: [{path: "~/work", mode: ro}]`, `filesystem: [{path: "~/work/app/.env", hide: true}]`}, "/home/user/work/app/.env"},
		{"later grant of the parent", []string{`filesystem: [{path: "~/work/app", hide: true}]`, `filesystem: [{path: "~/work", mode: ro}]`}, "/home/user/work/app"},
		{"later grant of that very path", []string{`filesystem: [{path: "~/work/app", hide: true}]`, `filesystem: [{path: "~/work", mode: ro}, {path: "~/work/app", mode: ro}]`}, ""},
		{"pattern", []string{`filesystem: [{path: "~/work", mode: ro}, {path: "~/work/**/.env", hide: true}]`}, "/home/user/work/app/.env /home/user/work/lib/.env"},
		{"pattern of one component", []string{`filesystem: [{path: "~/work", mode: ro}, {path: "~/work/*/.e?v", hide: true}]`}, "/home/user/work/app/.env /home/user/work/lib/.env"},
		{"pattern with a later exception", []string{`filesystem: [{path: "~/work", mode: ro}, {path: "~/work/**/.env", hide: true}]`, `filesystem: [{path: "~/work/app/.env", mode: ro}]`}, "/home/user/work/lib/.env"},
		{"another name inside", []string{`filesystem: [{path: /project, source: "~/work", mode: ro}, {path: /project/app/.env, hide: true}]`}, "/project/app/.env"},
		{"every alias", []string{`filesystem: [{path: "~/work", mode: ro}, {path: /project, source: "~/work", mode: ro}, {path: "~/work/app", hide: true}]`}, "/home/user/work/app /project/app"},
		{"every alias of a pattern", []string{`filesystem: [{path: /project, source: "~/work/app", mode: ro}, {path: "~/work/**/.env", hide: true}]`}, "/project/.env"},
		{"the host's name where it is shown elsewhere", []string{`filesystem: [{path: /keys, source: "~/.ssh", mode: ro}, {path: "~/.ssh", hide: true}]`}, "/keys"},
		{"a part shown elsewhere", []string{`filesystem: [{path: /key, source: "~/.ssh/id_ed25519", mode: ro}, {path: "~/.ssh", hide: true}]`}, "/key"},
		{"through a symlink", []string{`filesystem: [{path: "~", mode: ro}, {path: "~/.gitconfig", hide: true}]`}, "/home/user/.local/state/jail /home/user/dotfiles/gitconfig"},
		{"overlay", []string{`filesystem: [{path: "~/work", overlay: discard}, {path: "~/work/app", hide: true}]`}, "/home/user/work/app"},
		{"the same directory of the root", []string{`filesystem: [{path: /, mode: ro}, {path: "~/.ssh", hide: true}]`}, "/home/user/.local/state/jail /home/user/.ssh /run/user/1000/jail"},
		{"not shown at all", []string{`filesystem: [{path: "~/.ssh", hide: true}]`}, ""},
		{"without", []string{`filesystem: [{path: "~/work", mode: ro}, {path: "~/work/app", hide: true}]`, `without: {filesystem: ["~/work/app"]}`}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := chain(t, c.files...)
			if got := hiddenPaths(r); got != c.want {
				t.Errorf("hidden %q, want %q", got, c.want)
			}
		})
	}
}

// crowded has a directory with more names in it than jail looks at.
type crowded struct{ fakeFS }

func (c crowded) ReadDir(p string) ([]string, error) {
	if p == "/home/user/work/zz" {
		return slices.Repeat([]string{"x"}, maxListed+1), nil
	}
	return c.fakeFS.ReadDir(p)
}

// TestHideHardLinks: the further names of a hidden file are hidden where they are shown. The same profile without the
// links is the control.
func TestHideHardLinks(t *testing.T) {
	const work = `{path: "~/work", mode: rw}, {path: "~/data", mode: ro}, {path: /usr, mode: ro}, `
	const many = "/home/user/work/app/.env has 3 names (hard links), and among 200000 files that are shown jail found 2: the program could read it by another"
	for _, c := range []struct{ name, text, want, control, problem string }{
		{"by its name", work + `{path: "~/work/app/.env", hide: true}`, "/home/user/work/app/.env /home/user/work/z/copy", "/home/user/work/app/.env", ""},
		{"by a pattern", work + `{path: "~/work/app/**/.env", hide: true}`, "/home/user/work/app/.env /home/user/work/z/copy", "/home/user/work/app/.env", ""},
		{"by its other name", work + `{path: "~/work/z/copy", hide: true}`, "/home/user/work/app/.env /home/user/work/z/copy", "/home/user/work/z/copy", ""},
		{"at another place inside", `{path: /w, source: "~/work", mode: ro}, {path: "~/work/app/.env", hide: true}`, "/w/app/.env /w/z/copy", "/w/app/.env", ""},
		{"a name that is not shown", `{path: "~/work/z", mode: ro}, {path: "~/work/app/.env", hide: true}`, "/home/user/work/z/copy", "", ""},
		{"a file that is granted alone", `{path: /c, source: "~/work/z/copy", mode: ro}, {path: "~/work/app/.env", hide: true}`, "/c", "", ""},
		{"an overlay", `{path: "~/work", overlay: discard}, {path: "~/work/app/.env", hide: true}`, "/home/user/work/app/.env /home/user/work/z/copy", "/home/user/work/app/.env", ""},
		{"more files than are looked at", `{path: "~/work", mode: ro}, {path: "~/work/app/.env", hide: true}`, "crowd", "", many},
	} {
		for _, linked := range []bool{true, false} {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem: [" + c.text + "]\n"})
			f := h.FS.(fakeFS)
			want := c.control
			if linked {
				want = c.want
				f.link("/home/user/work/app/.env", "/home/user/work/z/copy")
			} else {
				f.put("/home/user/work/z/copy", fakeFile{mode: 0o644})
			}
			if want == "crowd" {
				f.link("/home/user/work/app/.env", "/elsewhere")
				f.put("/home/user/work/zz", fakeFile{mode: fs.ModeDir | 0o755})
				h.FS = crowded{f}
				if got := Check("p.yaml", h).Error(); !strings.Contains(got, many) || !strings.Contains(got, "enforcement: {hide: prefer}") {
					t.Errorf("%s: %s", c.name, got)
				}
				f.put("/home/user/work/p.yaml", fakeFile{mode: 0o644, content: "version: 1\nfilesystem: [" + c.text + "]\nenforcement: {hide: prefer}\n"})
				r := resolveOn(t, h)
				if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Error(), many) {
					t.Errorf("%s: warnings %v", c.name, r.Warnings)
				}
				continue
			}
			if got := hiddenPaths(resolveOn(t, h)); got != want && (linked || want != "") {
				t.Errorf("%s, linked %t: hidden %q, want %q", c.name, linked, got, want)
			}
		}
	}
}

// TestHideLater: what is hidden before it exists, and what is said where that
// cannot hold.
func TestHideLater(t *testing.T) {
	for _, c := range []struct{ name, grants, hide, hidden, warning string }{
		{"writable", `{path: "~/work", mode: rw}`, "~/work/new", "", "/home/user/work/new does not exist now"},
		{"writable, deeper", `{path: "~/work", mode: rw}`, "~/work/none/new", "", "/home/user/work/none/new does not exist now"},
		{"read-only", `{path: "~/work", mode: ro}`, "~/work/new", "", "/home/user/work/new does not exist now"},
		{"read-only, not the user's", `{path: /usr, mode: ro}`, "/usr/root-made", "", ""},
		{"overlay", `{path: "~/work", overlay: discard}`, "~/work/new", "/home/user/work/new", ""},
		{"overlay, deeper", `{path: "~/work", overlay: discard}`, "~/work/none/new", "/home/user/work/none/new", ""},
		{"overlay, below a file", `{path: "~/work", overlay: discard}`, "~/work/app/.env/new", "", ""},
		{"kept overlay", `{path: "~/work", overlay: {keep: ~/kept}}`, "~/work/new", "", "/home/user/work/new does not exist now"},
		{"read-only overlay", `{path: "~/work", overlay: {layers: [~/work, ~/data]}}`, "~/work/new", "", "/home/user/work/new does not exist now"},
		{"tmpfs", `{path: "~/work", tmpfs: true}`, "~/work/new", "", ""},
		{"a home of its own", `{path: "~", persist: own}`, "~/work/new", "", ""},
		{"not shown", `{path: /usr, mode: ro}`, "~/work/new", "", ""},
		{"below what is hidden", `{path: "~/work", mode: rw}, {path: ~/work/app, hide: true}`, "~/work/app/new", "/home/user/work/app", ""},
		{"a pattern", `{path: "~/work", mode: rw}`, "~/work/n*w", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem: [" + c.grants + ", {path: \"" + c.hide + "\", hide: true}]\n"})
			root := h.FS.(fakeFS)["/usr"]
			root.uid = 4242
			h.FS.(fakeFS)["/usr"] = root
			r := resolveOn(t, h)
			if got := strings.ReplaceAll(hiddenPaths(r), "/home/user/.local/state/jail", ""); strings.TrimSpace(got) != c.hidden {
				t.Errorf("hidden %q, want %q", got, c.hidden)
			}
			got := ""
			for _, w := range r.Warnings {
				got += w.Cause
			}
			if c.warning == "" && got != "" || !strings.Contains(got, c.warning) {
				t.Errorf("warned %q, want %q", got, c.warning)
			}
		})
	}
}

// TestHidePins: between a writable tree and what is hidden in it, directories
// are mount points of their own, so that the program cannot rename them away.
func TestHidePins(t *testing.T) {
	r := resolveText(t, `version: 1
filesystem: [{path: "~/work", mode: rw}, {path: "~/work/app/src/main.c", hide: true}]
`)
	for _, path := range []string{"/home/user/work/app", "/home/user/work/app/src"} {
		if got := brief(entryAt(r, path)); got != "rw" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestOwnDirectories: jail's own files are never writable inside, also when
// they are not there yet.
func TestOwnDirectories(t *testing.T) {
	r := resolveText(t, `version: 1
filesystem: [{path: "~", mode: rw}, {path: /run/user/1000, mode: rw}, {path: /again, source: "~/.config", mode: rw}]
`)
	for path, want := range map[string]string{
		"/home/user/.config":              "rw",
		"/home/user/.config/jail":         "ro",
		"/home/user/.cache/jail":          "ro",
		"/home/user/.local":               "rw",
		"/home/user/.local/state":         "rw",
		"/again/jail":                     "ro /home/user/.config/jail",
		"/home/user/work/p.yaml":          "ro",
		"/home/user/work":                 "rw",
		"/home/user/.local/state/jail":    "nothing",
		"/home/user/.config/jail/profile": "nothing",
	} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := hiddenPaths(r); got != "/home/user/.local/state/jail /run/user/1000/jail" {
		t.Errorf("hidden %s", got)
	}
	var dirs []string
	for _, d := range r.HostDirs {
		dirs = append(dirs, d.Path)
	}
	for _, want := range []string{"/home/user/.config/jail", "/home/user/.cache/jail", "/home/user/.local/state/jail", "/run/user/1000/jail"} {
		if !slices.Contains(dirs, want) {
			t.Errorf("%s is not made before the start: %v", want, dirs)
		}
	}
}

// TestOwnDirectoryLinked: a link on the way to jail's files, in a tree that the
// program may write, could be replaced by it.
func TestOwnDirectoryLinked(t *testing.T) {
	h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem:\n  - {path: \"~\", mode: rw}\n"})
	h.FS.(fakeFS).put("/home/user/.config/jail", fakeFile{mode: fs.ModeSymlink | 0o777, target: "../dotfiles/jail"})
	h.FS.(fakeFS).put("/home/user/dotfiles/jail", fakeFile{mode: fs.ModeDir | 0o755})
	want := "p.yaml:3:12: filesystem[0].path: /home/user is writable and holds /home/user/.config/jail, a symbolic link on the way to jail's profiles, which the program could replace (grant a narrower path, or make /home/user/.config/jail a directory)"
	if got := Check("p.yaml", h).Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestPersistentHome is the one directory of jail's own that is writable.
func TestPersistentHome(t *testing.T) {
	r := resolveText(t, "version: 1\nfilesystem: [{path: \"~\", persist: web}]\n")
	if got := brief(entryAt(r, "/home/user")); got != "persist /home/user/.local/state/jail/home/web" {
		t.Errorf("~: %s", got)
	}
	if len(r.Protected) > 0 {
		t.Errorf("protected %v", r.Protected)
	}
	problems := Check("p.yaml", fakeHost(t, map[string]string{
		"p.yaml": "version: 1\nfilesystem: [{path: /x, source: \"~/.local/state/jail/home/other\", mode: rw}]\n",
		"/home/user/.local/state/jail/home/other/secret": "",
	}))
	if !strings.Contains(problems.Error(), "would let the program write jail's state") {
		t.Errorf("another sandbox's home: %v", problems)
	}
}

// TestPlantedLink: a link inside what the program can write is not followed out
// of what is granted.
func TestPlantedLink(t *testing.T) {
	for _, c := range []struct {
		name, text string
		refused    bool
	}{
		{"out of the grant", `[{path: "~/work", mode: rw}, {path: /x, source: "~/work/link", mode: ro}]`, true},
		{"below the link", `[{path: "~/work", mode: rw}, {path: /x, source: "~/work/link/id_ed25519", mode: ro}]`, true},
		{"granted as well", `[{path: "~/work", mode: rw}, {path: "~/.ssh", mode: ro}, {path: /x, source: "~/work/link", mode: ro}]`, false},
		{"granted with less", `[{path: "~/work", mode: rw}, {path: "~/.ssh", mode: ro}, {path: /x, source: "~/work/link", mode: rw}]`, true},
		{"not writable", `[{path: "~/work", mode: ro}, {path: /x, source: "~/work/link", mode: ro}]`, false},
		{"a persistent home", `[{path: "~", persist: web}, {path: /x, source: "~/.local/state/jail/home/web/link", mode: ro}]`, true},
		{"an overlay's layer", `[{path: "~/work", mode: rw}, {path: /x, source: "~/work/link", overlay: discard}]`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem: " + c.text + "\n"})
			h.FS.(fakeFS).put("/home/user/.local/state/jail/home/web/link", fakeFile{mode: fs.ModeSymlink | 0o777, target: "/home/user/.ssh"})
			problems := Check("p.yaml", h)
			if refused := strings.Contains(problems.Error(), "may have made itself"); refused != c.refused || !c.refused && len(problems) > 0 {
				t.Errorf("refused %v, want %v: %v", refused, c.refused, problems)
			}
		})
	}
}

// TestEnvironmentCannotWiden: values of the environment never lead a path
// elsewhere, also by way of a variable of the profile.
func TestEnvironmentCannotWiden(t *testing.T) {
	for _, value := range []string{"", ".", "..", "/", "../..", "a/../..", "/home", "/home/user", "/home/user/", "//", "a//b", "x\ny", "/home/user/./"} {
		for _, path := range []string{"${V}", "${W}", "/srv/${V}", "~/${V}/x", "/srv/x${V}"} {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nvars: {W: \"${V}\"}\nfilesystem:\n  - {path: \"" + path + "\", tmpfs: true}\n"})
			h.Env["V"] = value
			p, err := Load("p.yaml", h)
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Resolve(h)
			if err != nil {
				continue
			}
			for _, e := range r.Filesystem {
				if e.Origin.File != "p.yaml" {
					continue
				}
				if strings.Contains(path, "/srv/") && !strings.HasPrefix(e.Path, "/srv/") || strings.Contains(path, "~/") && !strings.HasPrefix(e.Path, "/home/user/") ||
					under("/home/user", e.Path) {
					t.Errorf("%s with V=%q is %s", path, value, e.Path)
				}
			}
		}
	}
}

// TestNothingPrintedRaw: no control character of a profile reaches a terminal.
func TestNothingPrintedRaw(t *testing.T) {
	const escape = "\x1b]0;x\a\u202e"
	yaml := `"\e]0;x\a\u202E"`
	r := resolveText(t, `version: 1
description: `+yaml+`
filesystem:
  - {path: /x, content: `+yaml+`}
  - {path: "/y\e\u202E", dir: true}
  - {path: /z, symlink: `+yaml+`}
environment: {set: {A: `+yaml+`}}
`)
	var out bytes.Buffer
	if err := r.Show(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), escape[:1]+"\a\u202e") {
		t.Errorf("show prints control characters: %q", out.String())
	}
	problems := Check("p.yaml", fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem: [{path: \"x\\e[2J\\u202E\", mode: ro}]\n"}))
	if s := problems.Error(); len(problems) == 0 || strings.ContainsAny(s, "\x1b\u202e") {
		t.Errorf("a problem prints control characters: %q", s)
	}
}

// TestControlGroups: whoever can write the machine's control groups leaves the
// sandbox's own, so no grant reaches them; and with limits a program that sees
// /sys sees its own group alone.
func TestControlGroups(t *testing.T) {
	const limited = "limits: {pids: 9}\n"
	const host, own = "/sys/fs/cgroup bind /sys/fs/cgroup", "/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,ro"
	for _, c := range []struct{ name, text, want string }{
		{"not shown", limited + `filesystem: [{path: /usr, mode: ro}]`, ""},
		{"read-only without limits", `filesystem: [{path: /, source: /, mode: ro}]`, ""},
		{"read-only", limited + `filesystem: [{path: /, source: /, mode: ro}]`, own},
		{"switched off", limited + "enforcement: {limits: \"off\"}\n" + `filesystem: [{path: /, source: /, mode: ro}]`, ""},
		{"without a namespace", limited + "namespaces: [user, mount, pid, ipc, uts, net]\n" + `filesystem: [{path: /sys, mode: ro}]`, ""},
		{"writable without limits", `filesystem: [{path: /sys, mode: rw}]`, host},
		{"writable", limited + `filesystem: [{path: /sys, mode: rw}]`, host + "; " + own},
		{"elsewhere", limited + `filesystem: [{path: /srv/sys, source: /sys, mode: rw}]`, "/srv/sys/fs/cgroup bind /sys/fs/cgroup"},
		{"asked for by name", limited + `filesystem: [{path: /sys/fs/cgroup, mode: ro}]`, host},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\n" + c.text, "/sys/fs/cgroup/user.slice/cgroup.procs": "1\n", "/srv/sys/keep": ""})
			var got []string
			for _, m := range compiled(t, resolveOn(t, h)).Spec.Mounts {
				if text := mountText(m); strings.Contains(text, "/fs/cgroup") {
					if m.Type == "bind" {
						if !slices.Contains(m.Options, "rro") {
							t.Errorf("%s is writable", text)
						}
						text = m.Destination + " bind " + m.Source
					}
					got = append(got, text)
				}
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("mounted %q, want %q", got, c.want)
			}
		})
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/user.slice"} {
		h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem: [{path: " + dir + ", mode: rw}]", "/sys/fs/cgroup/user.slice/cgroup.procs": "1\n"})
		p, err := Load("p.yaml", h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Resolve(h); err == nil || !strings.Contains(err.Error(), "would let the program leave its control group") {
			t.Errorf("%s writable: %v", dir, err)
		}
	}
}

// faultyFS is a file system in which some paths cannot be looked at.
type faultyFS struct {
	fakeFS
	faults map[string]error // by path, for lstat and the list of a directory alike
}

func (f faultyFS) Lstat(p string) (FileStat, error) {
	for at, err := range f.faults {
		if under(p, at) && p != at || p == at && !errors.Is(err, fs.ErrPermission) {
			return FileStat{}, err
		}
	}
	return f.fakeFS.Lstat(p)
}

func (f faultyFS) ReadDir(p string) ([]string, error) {
	if err := f.faults[p]; err != nil {
		return nil, err
	}
	return f.fakeFS.ReadDir(p)
}

// TestWhatCannotBeSeen: a path that cannot be looked at is no path that is not there. The program may be the one who
// closed a directory, in an earlier run, and opens it again in this one.
func TestWhatCannotBeSeen(t *testing.T) {
	for _, c := range []struct {
		name, files string
		faults      map[string]error
		hidden      string // or
		problem     string
	}{
		{"a pattern, closed on the way", `{path: "~/work", mode: rw}, {path: "~/work/**/.env", hide: true}`,
			map[string]error{"/home/user/work/app": syscall.EACCES}, "/home/user/work/app /home/user/work/lib/.env", ""},
		{"a pattern of one component, closed on the way", `{path: "~/work", mode: rw}, {path: "~/work/*/.env", hide: true}`,
			map[string]error{"/home/user/work/app": syscall.EACCES}, "/home/user/work/app /home/user/work/lib/.env", ""},
		{"a pattern below a closed directory", `{path: "~/work", mode: rw}, {path: "~/work/app/*.key", hide: true}`,
			map[string]error{"/home/user/work/app": syscall.EACCES}, "/home/user/work/app", ""},
		{"a pattern, broken on the way", `{path: "~/work", mode: rw}, {path: "~/work/**/.env", hide: true}`,
			map[string]error{"/home/user/work/app": syscall.EIO}, "", "/home/user/work/app cannot be looked at: input/output error"},
		{"a hidden path, broken", `{path: "~/work", mode: rw}, {path: "~/work/app/.env", hide: true}`,
			map[string]error{"/home/user/work/app/.env": syscall.ENOMEM}, "", "/home/user/work/app/.env cannot be looked at: cannot allocate memory"},
		{"jail's profiles, closed", `{path: "~", mode: rw}`,
			map[string]error{"/home/user/.config": syscall.EACCES}, "", "/home/user holds jail's profiles, and /home/user/.config/jail cannot be looked at: permission denied"},
		{"jail's state, closed", `{path: "~", mode: ro}`,
			map[string]error{"/home/user/.local": syscall.EACCES}, "", "/home/user holds jail's state and the homes of other sandboxes, and /home/user/.local/state/jail cannot be looked at: permission denied"},
		{"jail's profiles, closed and not shown", `{path: "~/work", mode: rw}`,
			map[string]error{"/home/user/.config": syscall.EACCES}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem: [" + c.files + "]\n"})
			p, err := Load("p.yaml", h)
			if err != nil {
				t.Fatal(err)
			}
			h.FS = faultyFS{h.FS.(fakeFS), c.faults}
			r, err := p.Resolve(h)
			switch {
			case c.problem != "":
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Errorf("got %v, want %q", err, c.problem)
				}
			case err != nil:
				t.Error(err)
			case hiddenPaths(r) != c.hidden:
				t.Errorf("hidden %q, want %q", hiddenPaths(r), c.hidden)
			}
		})
	}
}
