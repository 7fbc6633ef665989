package policy

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
)

// fakeFile is one file of a fakeFS.
type fakeFile struct {
	mode    fs.FileMode
	target  string
	content string
	locked  bool   // the caller may not read it
	uid     uint32 // 0 for the caller's
	same    string // the path of the file that this is a further name of
	links   uint64 // further names
}

// fakeFS is a host's file system in a map.
type fakeFS map[string]fakeFile

// newFakeFS reads a description, one file a line: "/dir/", "/file", "/file=text",
// "/link -> target", "/fifo |", "/dev/char c", "/dev/block b", "/socket s",
// "/file locked". Directories above exist as well.
func newFakeFS(description string) fakeFS {
	f := fakeFS{"/": {mode: fs.ModeDir | 0o755}}
	for line := range strings.Lines(description) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		p, rest, _ := strings.Cut(line, " ")
		file := fakeFile{mode: 0o755}
		if name, content, ok := strings.Cut(p, "="); ok {
			p, file.content = name, content
		}
		switch {
		case strings.HasPrefix(rest, "-> "):
			file.mode, file.target = fs.ModeSymlink|0o777, rest[3:]
		case rest == "|":
			file.mode = fs.ModeNamedPipe | 0o644
		case rest == "c":
			file.mode = fs.ModeDevice | fs.ModeCharDevice | 0o666
		case rest == "b":
			file.mode = fs.ModeDevice | 0o660
		case rest == "s":
			file.mode = fs.ModeSocket | 0o777
		case rest == "locked":
			file.mode, file.locked = 0o600, true
		case rest != "":
			panic("fake file " + line)
		case strings.HasSuffix(p, "/"):
			p, file.mode = strings.TrimSuffix(p, "/"), fs.ModeDir|0o755
		}
		f.put(p, file)
	}
	return f
}

func (f fakeFS) put(p string, file fakeFile) {
	f[p] = file
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if _, ok := f[dir]; !ok {
			f[dir] = fakeFile{mode: fs.ModeDir | 0o755}
		}
	}
}

// link gives a file one more name.
func (f fakeFS) link(p, other string) {
	file := f[p]
	file.links++
	f[p] = file
	f.put(other, fakeFile{mode: file.mode, content: file.content, same: p})
}

// walk follows the symlinks above the last component, as the kernel does.
func (f fakeFS) walk(p string, last bool) (string, fakeFile, error) {
	for range maxLinks {
		at := ""
		followed := false
		names := components(p)
		for i, name := range names {
			at += "/" + name
			file, ok := f[at]
			if !ok {
				return at, file, syscall.ENOENT
			}
			if file.mode&fs.ModeSymlink != 0 && (last || i < len(names)-1) {
				p = path.Join(file.target, path.Join(names[i+1:]...))
				if !path.IsAbs(file.target) {
					p = path.Join(path.Dir(at), p)
				}
				followed = true
				break
			}
			if i < len(names)-1 && !file.mode.IsDir() {
				return at, file, syscall.ENOTDIR
			}
		}
		if !followed {
			if at == "" {
				at = "/"
			}
			return at, f[at], nil
		}
	}
	return p, fakeFile{}, syscall.ELOOP
}

func (f fakeFS) Lstat(p string) (FileStat, error) {
	at, file, err := f.walk(p, false)
	if err != nil {
		return FileStat{}, err
	}
	if file.same != "" {
		at = file.same
	}
	ino := uint64(14695981039346656037)
	for _, b := range []byte(at) {
		ino = (ino ^ uint64(b)) * 1099511628211
	}
	st := FileStat{Mode: file.mode, Dev: 1, Ino: ino, Links: 1 + f[at].links, UID: 1000}
	if file.uid != 0 {
		st.UID = file.uid
	}
	if file.locked {
		st.UID = 0
	}
	if file.mode&fs.ModeDevice != 0 {
		st.Rdev = 8<<8 | ino&0xf
	}
	return st, nil
}

func (f fakeFS) Readlink(p string) (string, error) {
	_, file, err := f.walk(p, false)
	return file.target, err
}

func (f fakeFS) ReadDir(p string) ([]string, error) {
	at, file, err := f.walk(p, true)
	if err != nil {
		return nil, err
	}
	if !file.mode.IsDir() {
		return nil, syscall.ENOTDIR
	}
	var names []string
	for q := range f {
		if q != "/" && path.Dir(q) == at {
			names = append(names, path.Base(q))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (f fakeFS) ReadFile(p string, limit int64) ([]byte, error) {
	_, file, err := f.walk(p, true)
	switch {
	case err != nil:
		return nil, err
	case file.locked:
		return nil, syscall.EACCES
	case !file.mode.IsRegular():
		return nil, ErrNotRegular
	case int64(len(file.content)) > limit:
		return nil, ErrTooLarge
	}
	return []byte(file.content), nil
}

func (f fakeFS) ReadPlain(p string, limit int64) ([]byte, FileStat, error) {
	st, err := f.Lstat(p)
	if err != nil {
		return nil, st, err
	}
	if st.Mode&fs.ModeSymlink != 0 {
		return nil, st, ErrNotRegular
	}
	text, err := f.ReadFile(p, limit)
	return text, st, err
}

func (f fakeFS) Access(p string, _ uint32) error {
	_, file, err := f.walk(p, true)
	if err == nil && file.locked {
		return syscall.EACCES
	}
	return err
}

// fakeMachine is a Debian-like machine of an ordinary user.
// The numbers below /sys/dev/block are those that Lstat makes of the names.
const fakeMachine = `
/usr/bin/sh
/usr/bin/firefox
/usr/bin/Xephyr
/usr/bin/Xwayland
/usr/bin/xdg-dbus-proxy
/usr/lib/x86_64/libc.so.6
/usr/share/doc/
/usr/local/bin/
/bin -> usr/bin
/sbin -> usr/sbin
/usr/sbin/
/lib -> usr/lib
/etc/hosts
/etc/passwd
/etc/shadow locked
/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf
/run/systemd/resolve/stub-resolv.conf
/var/run -> /run
/var/tmp/
/opt/
/tmp/
/proc/
/srv/fifo |
/srv/socket s
/srv/dangling -> gone
/srv/loop -> loop2
/srv/loop2 -> loop
/srv/data/a,b:c"d/
/srv/root/usr/
/srv/root/proc/
/srv/root/dev/
/srv/root/tmp/
/dev/null c
/dev/kvm c
/dev/sda b
/dev/sda1 b
/dev/cciss/c0d0p1 b
/dev/sdz b
/dev/dri/card0 c
/dev/snd/timer c
/dev/video0 c
/sys/devices/system/cpu/online=0-3
/sys/devices/system/node/online=0
/sys/dev/block/8:8 -> ../../devices/ata1/block/sda
/sys/dev/block/8:11 -> ../../devices/ata1/block/sda/sda1
/sys/dev/block/8:14 -> ../../devices/raid/block/cciss!c0d0/cciss!c0d0p1
/sys/devices/ata1/block/sda/sda1/partition=1
/sys/devices/raid/block/cciss!c0d0/cciss!c0d0p1/partition=1
/sys/kernel/mm/hugepages/hugepages-2048kB/
/sys/kernel/mm/hugepages/hugepages-1048576kB/
/proc/sys/net/ipv4/conf/eth0/
/proc/sys/net/ipv4/conf/br0/
/sys/dev/char/
/sys/class/drm/
/home/user/.ssh/id_ed25519
/home/user/.bashrc
/home/user/.gitconfig -> dotfiles/gitconfig
/home/user/dotfiles/gitconfig
/home/user/.config/user-dirs.dirs=XDG_DOWNLOAD_DIR="$HOME/Downloads"
/home/user/.cache/
/home/user/.local/state/
/home/user/Downloads/
/home/user/data/notes.txt
/home/user/work/app/.env
/home/user/work/app/src/main.c
/home/user/work/lib/.env
/home/user/work/link -> /home/user/.ssh
/run/user/1000/wayland-0 s
/run/user/1000/pulse/native s
/run/user/1000/bus s
/tmp/.X11-unix/X0 s
`

// machineFS is fakeMachine's file system; a fuzz target wants a fresh one often.
var machineFS = sync.OnceValue(func() fakeFS { return newFakeFS(fakeMachine) })

// fakeHost is that machine. files are profiles by path; a bare name lies in the
// working directory.
func fakeHost(_ testing.TB, files map[string]string) *Host {
	f := maps.Clone(machineFS())
	for name, text := range files {
		if !path.IsAbs(name) {
			name = "/home/user/work/" + name
		}
		f.put(name, fakeFile{mode: 0o644, content: text})
	}
	return &Host{
		Home: "/home/user", User: "user", Hostname: "machine", Cwd: "/home/user/work",
		UID: 1000, GID: 1000, FS: f,
		Env: map[string]string{
			"HOME": "/home/user", "USER": "user", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
			"TERM": "xterm", "SECRET": "s3cret", "EMPTY": "", "DOTS": "/srv/../etc", "RELATIVE": "some/dir",
			"STAR": "/home/*", "HOMEDIR": "/home/user", "DATA": "/srv/data", "PLAIN": "name",
		},
		SubUIDs: []IDRange{{100000, 65536}}, SubGIDs: []IDRange{{100000, 65536}},
		ConfigHome: "/home/user/.config", StateHome: "/home/user/.local/state",
		CacheHome: "/home/user/.cache", DataHome: "/home/user/.local/share",
		RuntimeDir: "/run/user/1000",
		Shipped: fstest.MapFS{
			"base.yaml":    {Data: []byte("version: 1\nname: base\nfilesystem:\n  - {path: /usr, mode: ro}\n  - {path: /bin, mode: ro}\n")},
			"browser.yaml": {Data: []byte("version: 1\nname: browser\nextends: [base]\nfilesystem:\n  - {path: \"~\", persist: browser}\n")},
		},
	}
}

// resolveText resolves one profile in the working directory.
func resolveText(t testing.TB, text string, overrides ...Override) *Resolved {
	t.Helper()
	return resolveFiles(t, map[string]string{"p.yaml": text}, overrides...)
}

func resolveFiles(t testing.TB, files map[string]string, overrides ...Override) *Resolved {
	t.Helper()
	h := fakeHost(t, files)
	return resolveOn(t, h, overrides...)
}

func resolveOn(t testing.TB, h *Host, overrides ...Override) *Resolved {
	t.Helper()
	p, err := Load("p.yaml", h, overrides...)
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	r, err := p.Resolve(h)
	if err != nil {
		t.Fatalf("resolve:\n%v", err)
	}
	return r
}
