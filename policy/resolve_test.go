package policy

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// entryAt gives the entry at a path inside, or nil.
func entryAt(r *Resolved, path string) *Entry {
	if path == "/" {
		return &r.Root
	}
	for i := range r.Filesystem {
		if r.Filesystem[i].Path == path {
			return &r.Filesystem[i]
		}
	}
	return nil
}

// brief gives an entry in a few words, for tables.
func brief(e *Entry) string {
	if e == nil {
		return "nothing"
	}
	s := string(e.Kind)
	switch {
	case e.Kind == KindSymlink:
		s += " " + e.Target
	case e.Source != "" && e.Source != e.Path:
		s += " " + e.Source
	case e.Kind == KindContent:
		s += " " + string(e.Content)
	}
	if len(e.Options) > 0 {
		s += " " + strings.Join(e.Options, ",")
	}
	return s
}

// TestEmptyProfile: an empty profile gives nearly nothing.
func TestEmptyProfile(t *testing.T) {
	r := resolveText(t, "version: 1\n")
	var paths []string
	for _, e := range r.Filesystem {
		paths = append(paths, e.Path)
	}
	if want := "/dev /proc /tmp /dev/mqueue /dev/pts /dev/shm"; strings.Join(paths, " ") != want {
		t.Errorf("entries %v, want %s", paths, want)
	}
	if r.Root.Kind != KindTmpfs {
		t.Errorf("root %v", r.Root)
	}
	var kinds []string
	for _, n := range r.Namespaces {
		kinds = append(kinds, n.Kind)
	}
	if want := "user mount pid ipc uts cgroup net"; strings.Join(kinds, " ") != want {
		t.Errorf("namespaces %v, want %s", kinds, want)
	}
	if len(r.Capabilities) > 0 || r.Network.Mode.V != "none" || !r.Process.NoNewPrivileges.V {
		t.Errorf("capabilities %v, network %q, no new privileges %v", r.Capabilities, r.Network.Mode.V, r.Process.NoNewPrivileges.V)
	}
	var names []string
	for _, v := range r.Environment {
		names = append(names, v.Name)
	}
	if want := "HOME LOGNAME PATH TERM USER"; strings.Join(names, " ") != want {
		t.Errorf("environment %v, want %s", names, want)
	}
	if got := r.Process.UIDMap; len(got) != 1 || got[0] != (IDMapping{1000, 1000, 1}) {
		t.Errorf("uid map %v", got)
	}
	if r.Process.Cwd.V != "/" {
		t.Errorf("working directory %q", r.Process.Cwd.V)
	}
	if len(r.Syscalls.Allow) != 1 || r.Syscalls.Allow[0].Name != "@default" {
		t.Errorf("system calls %v", r.Syscalls.Allow)
	}
}

// TestEmptyIsNotAbsent: an empty list means nothing allowed.
func TestEmptyIsNotAbsent(t *testing.T) {
	r := resolveText(t, "version: 1\nsyscalls: {allow: []}\nnetwork: {mode: veth, egress: []}\n")
	if len(r.Syscalls.Allow) != 0 {
		t.Errorf("allow: [] allows %v", r.Syscalls.Allow)
	}
	if !r.Network.HasEgress || len(r.Network.Egress) != 0 {
		t.Errorf("egress: [] reads as %v, %v", r.Network.HasEgress, r.Network.Egress)
	}
	problems := Check("p.yaml", fakeHost(t, map[string]string{"p.yaml": "version: 1\nnamespaces: []\n"}))
	if len(problems) == 0 {
		t.Error("namespaces: [] is taken for a sandbox")
	}
}

// TestFilesystemKinds has each kind of entry.
func TestFilesystemKinds(t *testing.T) {
	r := resolveText(t, `version: 1
vars: {WHERE: "~/data", TEXT: "hello"}
filesystem:
  - {path: /usr, mode: ro}
  - {path: /bin, mode: ro}
  - {path: /opt, mode: ro, optional: true}
  - {path: /gone, mode: ro, optional: true}
  - {path: /data, source: "${WHERE}", mode: rw, options: [noexec, nosuid, nodev]}
  - {path: "~", persist: browser}
  - {path: /tmp, tmpfs: {size: 1G, mode: "0700"}}
  - {path: /run, tmpfs: true}
  - {path: "~/work", overlay: discard}
  - {path: "~/kept", source: "~/work", overlay: {keep: "~/.layers"}}
  - {path: /layers, overlay: {layers: [/usr/lib, "/srv/data/a,b:c\"d"]}}
  - {path: /etc/motd, content: "${TEXT} $${TEXT}\n"}
  - {path: /etc/key, content: {text: x, mode: "0400"}}
  - {path: /sbin, symlink: usr/sbin}
  - {path: /empty, dir: true}
  - {path: /open, dir: {mode: "1777"}}
  - {path: /etc/resolv.conf, mode: ro}
  - {path: /socket, source: /srv/socket, mode: rw}
  - {path: "~/.gitconfig", mode: ro}
  - {path: /one, source: /usr, mode: ro, options: [norecursive]}
devices: [gpu, sound, /dev/kvm, {value: /dev/none, optional: true}]
`)
	for path, want := range map[string]string{
		"/usr":                  "ro",
		"/bin":                  "symlink usr/bin",
		"/opt":                  "ro",
		"/gone":                 "nothing",
		"/data":                 "rw /home/user/data noexec",
		"/home/user":            "persist /home/user/.local/state/jail/home/browser",
		"/tmp":                  "tmpfs",
		"/run":                  "tmpfs",
		"/home/user/work":       "overlay",
		"/home/user/kept":       "overlay",
		"/layers":               "overlay",
		"/etc/motd":             "content hello ${TEXT}\n",
		"/etc/key":              "content x",
		"/sbin":                 "symlink usr/sbin",
		"/empty":                "dir",
		"/open":                 "dir",
		"/etc/resolv.conf":      "ro /run/systemd/resolve/stub-resolv.conf",
		"/socket":               "rw /srv/socket",
		"/home/user/.gitconfig": "ro /home/user/dotfiles/gitconfig",
		"/one":                  "ro /usr",
		"/dev/dri":              "device",
		"/dev/snd":              "device",
		"/dev/kvm":              "device",
		"/dev/none":             "nothing",
		"/sys/dev/char":         "ro",
	} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if e := entryAt(r, "/tmp"); e.Size != 1<<30 || e.Mode != 0o700 {
		t.Errorf("/tmp: size %d, mode %o", e.Size, e.Mode)
	}
	if e := entryAt(r, "/open"); e.Mode != 0o1777 {
		t.Errorf("/open: mode %o", e.Mode)
	}
	if e := entryAt(r, "/one"); e.Recursive {
		t.Error("/one: norecursive has no effect")
	}
	if e := entryAt(r, "/socket"); e.SourceType != fs.ModeSocket || e.IsDir() {
		t.Errorf("/socket: type %v", e.SourceType)
	}
	if o := entryAt(r, "/home/user/work").Overlay; !o.Discard || o.Keep != "" || !slices.Equal(o.Lower, []string{"/home/user/work"}) {
		t.Errorf("discarding overlay: %+v", o)
	}
	if o := entryAt(r, "/home/user/kept").Overlay; o.Discard || o.Upper != "/home/user/.layers/upper" || o.Work != "/home/user/.layers/work" {
		t.Errorf("kept overlay: %+v", o)
	}
	// The last layer written lies on top, which the kernel wants first.
	if o := entryAt(r, "/layers").Overlay; !slices.Equal(o.Lower, []string{`/srv/data/a,b:c"d`, "/usr/lib"}) || o.Discard {
		t.Errorf("layers: %+v", o)
	}
	var dirs []string
	for _, d := range r.HostDirs {
		dirs = append(dirs, d.Path)
	}
	for _, want := range []string{"/home/user/.local/state/jail/home/browser", "/home/user/.layers/upper", "/home/user/.layers/work", "/home/user/.local/state/jail/home/browser/work"} {
		if !slices.Contains(dirs, want) {
			t.Errorf("%s is not among the folders to make: %v", want, dirs)
		}
	}
	for i := 1; i < len(r.Filesystem); i++ {
		for j := range i {
			if under(r.Filesystem[j].Path, r.Filesystem[i].Path) {
				t.Errorf("%s comes before its parent %s", r.Filesystem[j].Path, r.Filesystem[i].Path)
			}
		}
	}
}

// TestOrderDoesNotMatter: the order of entries in a file never changes the
// meaning of mounts.
func TestOrderDoesNotMatter(t *testing.T) {
	lines := []string{
		`  - {path: /usr, mode: ro}`, `  - {path: /bin, mode: ro}`, `  - {path: "~/work", mode: rw}`, `  - {path: "~/work/app", tmpfs: true}`,
		`  - {path: "~/work/**/.env", hide: true}`, `  - {path: /, mode: ro}`, `  - {path: "~", persist: x}`, `  - {path: /var/run/x, dir: true, optional: true}`,
	}
	describe := func(lines []string) string {
		r := resolveText(t, "version: 1\nfilesystem:\n"+strings.Join(lines, "\n")+"\n")
		var all []string
		for i := range r.Filesystem {
			all = append(all, r.Filesystem[i].Path+" "+brief(&r.Filesystem[i]))
		}
		for _, h := range r.Hidden {
			all = append(all, h.Path+" hidden")
		}
		return strings.Join(append(all, "root "+brief(&r.Root)), "\n")
	}
	want := describe(lines)
	for i := range lines {
		turned := append(slices.Clone(lines[i:]), lines[:i]...)
		if got := describe(turned); got != want {
			t.Errorf("turned by %d:\n%s\nwant\n%s", i, got, want)
		}
		slices.Reverse(turned)
		if got := describe(turned); got != want {
			t.Errorf("turned by %d and reversed:\n%s\nwant\n%s", i, got, want)
		}
	}
}

// TestRoots has the four kinds of root.
func TestRoots(t *testing.T) {
	for _, c := range []struct{ entry, want, bin string }{
		{`{path: /, tmpfs: {size: 1M}}`, "tmpfs", "symlink usr/bin"},
		{`{path: /, mode: ro}`, "ro", "nothing"},
		{`{path: /, source: /srv/root, mode: ro}`, "ro /srv/root", ""},
		{`{path: /, overlay: discard}`, "overlay", "nothing"},
	} {
		entries := "version: 1\nfilesystem:\n  - " + c.entry + "\n"
		if c.bin != "" {
			entries += "  - {path: /usr, mode: ro}\n  - {path: /bin, mode: ro}\n"
		}
		r := resolveText(t, entries)
		if got := brief(&r.Root); got != c.want {
			t.Errorf("%s: %s, want %s", c.entry, got, c.want)
		}
		if got := brief(entryAt(r, "/bin")); c.bin != "" && got != c.bin {
			t.Errorf("%s: /bin is %s, want %s", c.entry, got, c.bin)
		}
		if entryAt(r, "/proc") == nil || entryAt(r, "/dev") == nil {
			t.Errorf("%s: no /proc or /dev", c.entry)
		}
	}
}

// TestMergedRootLinks: with the host's tree as the root, entries below a symlink
// land where it leads.
func TestMergedRootLinks(t *testing.T) {
	r := resolveText(t, `version: 1
filesystem:
  - {path: /, mode: ro}
  - {path: /var/run/systemd, tmpfs: true}
  - {path: /bin/sh, content: x}
`)
	if brief(entryAt(r, "/run/systemd")) != "tmpfs" || brief(entryAt(r, "/usr/bin/sh")) != "content x" {
		t.Errorf("entries: %v", r.Filesystem)
	}
}

// TestSymlinkedHome: both names of the home directory work inside.
func TestSymlinkedHome(t *testing.T) {
	h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nfilesystem:\n  - {path: \"~/data\", mode: rw}\n  - {path: \"~/.bashrc\", mode: ro}\n"})
	f := h.FS.(fakeFS)
	for p, file := range f {
		if rest, ok := strings.CutPrefix(p, "/home/user"); ok {
			delete(f, p)
			f.put("/data/homes/user"+rest, file)
		}
	}
	f.put("/home/user", fakeFile{mode: fs.ModeSymlink | 0o777, target: "../data/homes/user"})
	r := resolveOn(t, h)
	if got := brief(entryAt(r, "/home/user/data")); got != "rw /data/homes/user/data" {
		t.Errorf("~/data: %s", got)
	}
	if got := brief(entryAt(r, "/data/homes/user")); got != "symlink /home/user" {
		t.Errorf("the home directory's other name: %s", got)
	}
	if r.Process.Cwd.V != "/home/user" {
		t.Errorf("working directory %q", r.Process.Cwd.V)
	}
}

// TestVariables has what ${...} gives where.
func TestVariables(t *testing.T) {
	r := resolveText(t, `version: 1
vars: {A: "x${B}", B: "${PLAIN}", HOMEDATA: "~/data"}
environment:
  set:
    ONE: "${A}"
    TWO: "${NONE:-${A}}"
    THREE: "${EMPTY:-filled}"
    FOUR: "${EMPTY}"
    FIVE: "$${A} $A {A}"
    SIX: "${UID}:${GID}:${USER}:${HOME}:${PWD}"
    SEVEN: "${XDG_DOWNLOAD_DIR} ${XDG_CONFIG_HOME} ${XDG_MUSIC_DIR}"
    EIGHT: "${HOMEDATA}"
    NINE: "~/x"
filesystem:
  - {path: "${XDG_DOWNLOAD_DIR}", mode: rw}
  - {path: "${DATA}/x", source: "${HOMEDATA}", mode: ro}
  - {path: "${PWD}", mode: rw}
`)
	got := map[string]string{}
	for _, v := range r.Environment {
		got[v.Name] = v.Value
	}
	for name, want := range map[string]string{
		"ONE": "xname", "TWO": "xname", "THREE": "filled", "FOUR": "", "FIVE": "${A} $A {A}",
		"SIX": "1000:1000:user:/home/user:/home/user/work", "SEVEN": "/home/user/Downloads /home/user/.config /home/user/Music",
		"EIGHT": "/home/user/data", "NINE": "~/x",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if _, ok := got["SECRET"]; ok {
		t.Error("a variable that nobody asked for is in the environment")
	}
	for path, want := range map[string]string{"/home/user/Downloads": "rw", "/srv/data/x": "ro /home/user/data", "/home/user/work": "rw"} {
		if b := brief(entryAt(r, path)); b != want {
			t.Errorf("%s: %s, want %s", path, b, want)
		}
	}
}

// TestConditions has each key of `when`.
func TestConditions(t *testing.T) {
	for condition, want := range map[string]bool{
		`{exists: /usr}`:                         true,
		`{exists: [/usr, /nowhere]}`:             false,
		`{exists: "~/data"}`:                     true,
		`{exists: /srv/dangling}`:                false,
		`{env: LANG}`:                            true,
		`{env: EMPTY}`:                           false,
		`{env: [LANG, NOPE]}`:                    false,
		`{env: PLAIN=name}`:                      true,
		`{env: PLAIN=other}`:                     false,
		`{command: firefox}`:                     true,
		`{command: chromium}`:                    false,
		`{session: none}`:                        true,
		`{session: [wayland, x11]}`:              false,
		`{user: ordinary}`:                       true,
		`{user: root}`:                           false,
		`{not: {exists: /nowhere}}`:              true,
		`{exists: /usr, not: {env: LANG}}`:       false,
		`{exists: /usr, command: sh, env: LANG}`: true,
		`{arch: [amd64, arm64, riscv64]}`:        true,
		`{arch: z80}`:                            false,
	} {
		r := resolveText(t, "version: 1\nfilesystem:\n  - {path: /marked, dir: true, when: "+condition+"}\ncapabilities: [{value: NET_RAW, when: "+condition+
			"}]\nwhen:\n  - if: "+condition+"\n    then: {environment: {set: {BLOCK: x}}}\n")
		_, block := slices.BinarySearchFunc(r.Environment, "BLOCK", func(v EnvVar, name string) int { return strings.Compare(v.Name, name) })
		if entry, listed := entryAt(r, "/marked") != nil, len(r.Capabilities) == 1; entry != want || block != want || listed != want {
			t.Errorf("%s: entry %v, capability %v, block %v, want %v", condition, entry, listed, block, want)
		}
	}
}

// TestConditionGuardsVariable: where a condition does not hold, the variable it
// asks for need not be defined.
func TestConditionGuardsVariable(t *testing.T) {
	r := resolveText(t, `version: 1
filesystem:
  - {path: "${NOWHERE}/x", mode: ro, when: {env: NOWHERE}}
  - {path: /x, source: "${NOWHERE}/x", mode: ro, when: {env: NOWHERE}}
devices: [{value: "/dev/${NOWHERE}", when: {env: NOWHERE}}]
when:
  - if: {env: NOWHERE}
    then: {environment: {set: {A: "${NOWHERE}"}}, filesystem: [{path: "${NOWHERE}", mode: ro}]}
`)
	if entryAt(r, "/x") != nil {
		t.Error("/x is there")
	}
}
