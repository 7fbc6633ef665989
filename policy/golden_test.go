package policy

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/profiles"
)

var update = flag.Bool("update", false, "write the golden files anew")

// listedFS is a host's file system as a list of paths: "/dir/", "/file",
// "/link -> target", "/device !". Directories above a path exist as well.
type listedFS map[string]string

func newListedFS(lines ...string) listedFS {
	l := listedFS{"/": "/"}
	for _, line := range lines {
		p, target, isLink := strings.Cut(line, " -> ")
		kind := "file"
		switch {
		case isLink:
			kind = "->" + target
		case strings.HasSuffix(p, " !"):
			p, kind = strings.TrimSuffix(p, " !"), "!"
		case strings.HasSuffix(p, " ="):
			p, kind = strings.TrimSuffix(p, " ="), "="
		case strings.HasSuffix(p, "/"):
			p, kind = strings.TrimSuffix(p, "/"), "/"
		}
		l[p] = kind
		for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
			if l[dir] == "" {
				l[dir] = "/"
			}
		}
	}
	return l
}

func (l listedFS) Lstat(p string) (FileStat, error) {
	kind, ok := l[p]
	if !ok {
		return FileStat{}, &fs.PathError{Op: "lstat", Path: p, Err: syscall.ENOENT}
	}
	// A number that is the path's own: all that matters is that files differ.
	var ino uint64
	for _, b := range []byte(p) {
		ino = ino*131 + uint64(b)
	}
	st := FileStat{Mode: 0o644, Dev: 1, Ino: ino, UID: 1000}
	if path.Dir(p) == "/usr/bin" {
		st.Mode = 0o755
	}
	switch kind[0] {
	case '/':
		st.Mode = fs.ModeDir | 0o755
	case '-':
		st.Mode = fs.ModeSymlink | 0o777
	case '!':
		st.Mode = fs.ModeDevice | fs.ModeCharDevice | 0o666
	case '=':
		st.Mode = fs.ModeSocket | 0o777
	}
	return st, nil
}

func (l listedFS) Readlink(p string) (string, error) {
	if target, ok := strings.CutPrefix(l[p], "->"); ok {
		return target, nil
	}
	return "", &fs.PathError{Op: "readlink", Path: p, Err: syscall.EINVAL}
}

func (l listedFS) ReadDir(dir string) ([]string, error) {
	if l[dir] != "/" {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: syscall.ENOTDIR}
	}
	var names []string
	for p := range l {
		if p != "/" && path.Dir(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (l listedFS) ReadFile(p string, _ int64) ([]byte, error) {
	if p == "/home/ada/.Xauthority" {
		return authEntry(familyLocal, "workstation", "0", "not a real key"), nil
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: syscall.ENOENT}
}

func (l listedFS) ReadPlain(p string, limit int64) ([]byte, FileStat, error) {
	text, err := l.ReadFile(p, limit)
	return text, FileStat{}, err
}

func (l listedFS) Access(p string, _ uint32) error {
	if _, ok := l[p]; !ok {
		return &fs.PathError{Op: "access", Path: p, Err: syscall.ENOENT}
	}
	return nil
}

// exampleHost is a desktop machine with a merged /usr, an X11 session and a
// graphics card, always the same.
func exampleHost() *Host {
	return &Host{
		Home: "/home/ada", User: "ada", Hostname: "workstation", Cwd: "/home/ada/project",
		UID: 1000, GID: 1000, Groups: []int{1000, 44},
		Env: map[string]string{"HOME": "/home/ada", "USER": "ada", "LANG": "de_DE.UTF-8", "TERM": "xterm-256color", "DISPLAY": ":0",
			"XAUTHORITY": "/home/ada/.Xauthority", "XDG_RUNTIME_DIR": "/run/user/1000", "XDG_SESSION_TYPE": "x11",
			"AWS_SECRET_ACCESS_KEY": "hunter2", "SSH_AUTH_SOCK": "/run/user/1000/ssh"},
		ConfigHome: "/home/ada/.config", StateHome: "/home/ada/.local/state", CacheHome: "/home/ada/.cache",
		DataHome: "/home/ada/.local/share", RuntimeDir: "/run/user/1000",
		SubUIDs: []IDRange{{100000, 65536}}, SubGIDs: []IDRange{{100000, 65536}},
		Shipped: profiles.Files,
		FS: newListedFS(
			"/bin -> usr/bin", "/sbin -> usr/sbin", "/lib -> usr/lib", "/lib64 -> usr/lib64",
			"/usr/bin/sh", "/usr/bin/true", "/usr/bin/Xephyr", "/usr/bin/xdg-dbus-proxy", "/usr/sbin/", "/usr/lib/os-release", "/usr/lib64/", "/usr/share/fonts/",
			"/usr/share/zoneinfo/Europe/Berlin", "/opt/", "/proc/", "/tmp/.X11-unix/X0 =", "/run/user/1000/bus =", "/run/user/1000/ssh =", "/run/user/1000/bus =", "/run/dbus/system_bus_socket =",
			"/run/systemd/resolve/stub-resolv.conf", "/var/cache/fontconfig/",
			"/dev/null !", "/dev/dri/card0 !", "/dev/dri/renderD128 !", "/sys/devices/system/cpu/", "/sys/dev/char/",
			"/sys/devices/pci0000:00/", "/sys/class/drm/",
			"/etc/alternatives/", "/etc/fonts/", "/etc/ld.so.cache", "/etc/localtime -> /usr/share/zoneinfo/Europe/Berlin",
			"/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf", "/etc/hosts", "/etc/passwd", "/etc/group",
			"/etc/nsswitch.conf", "/etc/os-release -> ../usr/lib/os-release", "/etc/ssl/certs/", "/etc/ca-certificates/",
			"/etc/bash.bashrc", "/etc/profile", "/etc/vim/", "/etc/firefox-esr/", "/etc/chromium/", "/etc/chromium.d/",
			"/home/ada/.ssh/id_ed25519", "/home/ada/.Xauthority", "/home/ada/Downloads/", "/home/ada/Documents/",
			"/home/ada/go/pkg/mod/", "/home/ada/project/.git/", "/home/ada/.config/jail/profiles/",
		),
	}
}

func shippedProfiles(t *testing.T) []string {
	t.Helper()
	files := embeddedFiles(&Host{Shipped: profiles.Files})
	if len(files) == 0 {
		t.Fatal("no shipped profiles")
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	return files
}

func resolveShipped(t *testing.T, name string, h *Host) *Resolved {
	t.Helper()
	p, err := Load(name, h)
	if err != nil {
		t.Fatalf("load %s: %v", name, err)
	}
	r, err := p.Resolve(h)
	if err != nil {
		t.Fatalf("resolve %s: %v", name, err)
	}
	return r
}

// checkGolden compares with testdata/golden/file, or writes it with -update.
func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", "golden", file)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./policy -update writes it)", err)
	}
	if got == string(want) {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := "", ""
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s:%d: got\n%s\nwant\n%s\n(go test ./policy -update accepts it)", file, i+1, g, w)
		}
	}
}

// The shipped profiles on a machine that never changes: what each compiles to.
// What explain says of them stands on their pages, which TestProfilePages keeps.
func TestShippedProfiles(t *testing.T) {
	for _, name := range shippedProfiles(t) {
		t.Run(name, func(t *testing.T) {
			if runtime.GOARCH != "amd64" {
				t.Skip("the golden files list the system calls of x86_64")
			}
			r := resolveShipped(t, name, exampleHost())
			c, err := r.Spec([]string{"/usr/bin/true", "an argument"})
			if err != nil {
				t.Fatal(err)
			}
			checkOCI(t, c.Spec)
			checkGolden(t, name+".spec", goldenText(t, c))
		})
	}
}

// goldenText shows a bundle so that a change of it can be read in a diff: the
// spec as JSON, but the system calls a line an answer and the rest a line each.
func goldenText(t *testing.T, c *Compiled) string {
	t.Helper()
	var b strings.Builder
	spec := *c.Spec
	linux := *spec.Linux
	spec.Linux, linux.Seccomp = &linux, nil
	spec.Annotations = nil
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "%s\n\nannotations\n", text)
	for _, key := range []string{annotationProfile, annotationDieWithParent, annotationTerminal, annotationTimeout,
		annotationEnforcement, annotationSymlinks, annotationNetwork} {
		if v, ok := c.Spec.Annotations[key]; ok {
			fmt.Fprintf(&b, "  %s: %s\n", key, v)
		}
	}
	if c.Spec.Annotations[annotationProfile] == "base" {
		b.WriteString("\norigins\n")
		for line := range strings.SplitSeq(strings.Trim(c.Spec.Annotations[annotationOrigins], "{}"), `,"`) {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(strings.TrimPrefix(line, `"`), `"`, ""))
		}
	}
	b.WriteString(goldenCalls(t, c.Spec))
	b.WriteString("\ntree\n")
	for _, e := range c.Tree {
		b.WriteString("  " + treeText(e) + "\n")
	}
	b.WriteString("\nfolders on the host\n")
	for _, d := range c.HostDirs {
		fmt.Fprintf(&b, "  %s %s\n", d.Path, d.Mode)
	}
	b.WriteString("\nwarnings\n")
	for _, w := range c.Warnings {
		b.WriteString("  " + w.Error() + "\n")
	}
	return place.ReplaceAllString(b.String(), "$1")
}

// goldenCalls lists the system calls of the profile base, and of any other what
// it has more (+) and less (-).
func goldenCalls(t *testing.T, spec *specs.Spec) string {
	t.Helper()
	lines := callLines(spec.Linux.Seccomp)
	if spec.Annotations[annotationProfile] == "base" {
		return strings.Join(lines, "")
	}
	base := baseCalls(t)
	if slices.Equal(lines, base) {
		return "\nsystem calls: those of base\n"
	}
	var b strings.Builder
	b.WriteString("\nsystem calls: those of base but\n")
	for _, l := range base {
		if !slices.Contains(lines, l) {
			b.WriteString("- " + strings.TrimSpace(l) + "\n")
		}
	}
	for _, l := range lines {
		if !slices.Contains(base, l) {
			b.WriteString("+ " + strings.TrimSpace(l) + "\n")
		}
	}
	return b.String()
}

func baseCalls(t *testing.T) []string {
	t.Helper()
	c, err := resolveShipped(t, "base", exampleHost()).Spec([]string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	return callLines(c.Spec.Linux.Seccomp)
}

// callLines gives the filter a line each: the plainly answered calls by their
// name, those with conditions as they are.
func callLines(s *specs.LinuxSeccomp) []string {
	lines := []string{fmt.Sprintf("\nsystem calls on %v, otherwise %s\n", s.Architectures, answerText(s.DefaultAction, s.DefaultErrnoRet))}
	for _, rule := range s.Syscalls {
		if len(rule.Args) > 0 {
			lines = append(lines, fmt.Sprintf("  %s: %s%s\n", answerText(rule.Action, rule.ErrnoRet), strings.Join(rule.Names, " "), argsText(rule.Args)))
			continue
		}
		for _, name := range rule.Names {
			lines = append(lines, fmt.Sprintf("  %s: %s\n", answerText(rule.Action, rule.ErrnoRet), name))
		}
	}
	return lines
}

// place matches the place of a value in a shipped profile. Golden files leave it
// out: a comment put into a profile would change all that build on it.
var place = regexp.MustCompile(`(shipped:[a-z0-9/.-]+\.yaml):\d+:\d+`)

func argsText(args []specs.LinuxSeccompArg) string {
	var b strings.Builder
	for _, a := range args {
		op := strings.ToLower(strings.TrimPrefix(string(a.Op), "SCMP_CMP_"))
		if a.Op == specs.OpMaskedEqual {
			fmt.Fprintf(&b, " arg%d&%#x==%#x", a.Index, a.Value, a.ValueTwo)
		} else {
			fmt.Fprintf(&b, " arg%d %s %#x", a.Index, op, a.Value)
		}
	}
	return b.String()
}

// No shipped profile shows a secret of the host, whatever else it grants.
func TestShippedProfilesKeepSecrets(t *testing.T) {
	secrets := []string{"/home/ada/.ssh/id_ed25519", "/home/ada/.Xauthority", "/run/user/1000/bus", "/home/ada/.config/jail/profiles", "/etc/passwd"}
	// Those that are there to use the ssh agent.
	agent := []string{"ssh", "rsync", "ssh-agent"}
	for _, name := range shippedProfiles(t) {
		t.Run(name, func(t *testing.T) {
			r := resolveShipped(t, name, exampleHost())
			c, err := r.Spec([]string{"true"})
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range secrets {
				// jail's own profiles may be read, not written.
				writable := strings.HasSuffix(secret, "/jail/profiles")
				for _, p := range shownAt(secret, writable, r, c.Spec) {
					t.Errorf("%s is shown at %s", secret, p)
				}
			}
			for _, e := range c.Spec.Process.Env {
				if strings.Contains(e, "hunter2") || strings.HasPrefix(e, "SSH_AUTH_SOCK=") && !slices.Contains(agent, name) {
					t.Errorf("the environment has %s", e)
				}
			}
			for _, args := range [][6]uint64{{0, 0x5412}, {0, 1<<32 | 0x541c}} {
				if got := verdictOf(t, c.Spec.Linux.Seccomp, "ioctl", args); got != "EPERM" {
					t.Errorf("ioctl %#x answers %s", args[1], got)
				}
			}
			if p := c.Spec.Process; !p.NoNewPrivileges || len(p.Capabilities.Bounding) > 0 {
				t.Errorf("privileges: %+v", p)
			}
		})
	}
}

// shownAt gives where a file of the host can be seen inside: through a mount that
// holds it, unless it is hidden or another mount lies over it there.
func shownAt(file string, writable bool, r *Resolved, spec *specs.Spec) []string {
	var at []string
	for _, m := range spec.Mounts {
		if m.Type != "bind" || !strings.HasPrefix(m.Source, "/") || !isBelow(file, m.Source) ||
			writable && slices.Contains(m.Options, "rro") {
			continue
		}
		p := path.Join(m.Destination, strings.TrimPrefix(file, m.Source))
		covered := slices.ContainsFunc(spec.Mounts, func(o specs.Mount) bool {
			return len(o.Destination) > len(m.Destination) && isBelow(p, o.Destination)
		}) || slices.ContainsFunc(r.Hidden, func(h Hidden) bool { return isBelow(p, h.Path) })
		if !covered {
			at = append(at, p)
		}
	}
	if root := spec.Root.Path; !writable && path.IsAbs(root) && isBelow(file, root) {
		at = append(at, file)
	}
	return at
}
