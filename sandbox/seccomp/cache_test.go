package seccomp

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/kept"
	"jail/test/need"
)

// cacheHome is a folder for caches that is fit for them whatever the umask.
func cacheHome(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// filled gives a cache with the default filter in it.
func filled(t *testing.T) (o Options, file string, code []byte) {
	t.Helper()
	o = Options{CacheHome: cacheHome(t)}
	p := mustFilter(t, defaultSpec(t), o)
	found, err := filepath.Glob(o.CacheHome + "/jail/seccomp/*")
	if err != nil || len(found) != 1 || p.CacheProblem != nil {
		t.Fatalf("%v, %v, %v", found, err, p.CacheProblem)
	}
	return o, found[0], p.Code
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file that is not as Filter left it is not used, and is replaced.
func TestDoubtfulFilesAreCompiledAnew(t *testing.T) {
	t.Parallel()
	rewrite := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			text, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(file, change(text), 0o600))
		}
	}
	flip := func(at int) func(*testing.T, string) {
		return rewrite(func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b })
	}
	for name, c := range map[string]struct {
		attack func(*testing.T, string)
		want   string
	}{
		"cut short":       {rewrite(func(b []byte) []byte { return b[:len(b)/2] }), "damaged"},
		"cut to nothing":  {rewrite(func([]byte) []byte { return nil }), "has 0 bytes"},
		"header alone":    {rewrite(func(b []byte) []byte { return b[:cacheHeader] }), "bytes"},
		"longer":          {rewrite(func(b []byte) []byte { return append(b, b[len(b)-8:]...) }), "damaged"},
		"huge":            {rewrite(func(b []byte) []byte { return append(b, make([]byte, cacheMaxFile)...) }), "bytes"},
		"mark changed":    {flip(0), "damaged"},
		"hash changed":    {flip(len(cacheMark)), "damaged"},
		"first bit":       {flip(cacheHeader), "damaged"},
		"last action":     {flip(-1), "damaged"},
		"readable":        {func(t *testing.T, f string) { must(t, os.Chmod(f, 0o644)) }, "mode 0644"},
		"writable":        {func(t *testing.T, f string) { must(t, os.Chmod(f, 0o620)) }, "mode 0620"},
		"second name":     {func(t *testing.T, f string) { must(t, os.Link(f, filepath.Join(t.TempDir(), "x"))) }, "has 2 names"},
		"a FIFO":          {replaceBy(func(f string) error { return unix.Mkfifo(f, 0o600) }), "not a regular file"},
		"a directory":     {replaceBy(func(f string) error { return os.Mkdir(f, 0o600) }), "not a regular file"},
		"a socket":        {replaceBy(func(f string) error { return unix.Mknod(f, unix.S_IFSOCK|0o600, 0) }), "no such device or address"},
		"a device's link": {replaceBy(func(f string) error { return os.Symlink("/dev/zero", f) }), "too many levels of symbolic links"},
		"a link to a copy": {func(t *testing.T, f string) {
			copied := filepath.Join(t.TempDir(), "copy")
			must(t, os.Rename(f, copied))
			must(t, os.Symlink(copied, f))
		}, "too many levels of symbolic links"},
		"a magic link": {replaceBy(func(f string) error { return os.Symlink("/proc/self/fd/0", f) }), "too many levels of symbolic links"},
		"valid code of another filter": {func(t *testing.T, f string) {
			text, err := os.ReadFile(f)
			must(t, err)
			key := cacheKey{1}
			sum := checksum(key, text[cacheHeader:])
			must(t, os.WriteFile(f, slices.Concat(text[:len(cacheMark)], sum[:], text[cacheHeader:]), 0o600))
		}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, file, code := filled(t)
			c.attack(t, file)
			p := mustFilter(t, defaultSpec(t), o)
			if p.Cached || p.CacheProblem == nil || !strings.Contains(p.CacheProblem.Error(), c.want) {
				t.Errorf("cached %v, problem %v, want %q", p.Cached, p.CacheProblem, c.want)
			}
			if !bytes.Equal(p.Code, code) {
				t.Error("another filter came out")
			}
			if again := mustFilter(t, defaultSpec(t), o); !again.Cached || again.CacheProblem != nil || !bytes.Equal(again.Code, code) {
				t.Errorf("was not replaced: cached %v, %v", again.Cached, again.CacheProblem)
			}
		})
	}
}

func replaceBy(what func(string) error) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		must(t, os.Remove(file))
		must(t, what(file))
	}
}

// A well-made header does not help a program that is none: what a kernel would
// refuse, or do something else with, is not handed to it.
func TestCodeOfAFileIsChecked(t *testing.T) {
	t.Parallel()
	o, file, _ := filled(t)
	digest, err := compilerDigest()
	must(t, err)
	key := keyOf(defaultSpec(t), digest)
	code := []byte("\x05\x00\x00\x00\xff\xff\x00\x00")
	sum := checksum(key, code)
	must(t, os.WriteFile(file, slices.Concat([]byte(cacheMark), sum[:], code), 0o600))
	if p := mustFilter(t, defaultSpec(t), o); p.Cached || !strings.Contains(p.CacheProblem.Error(), "jumps out of the program") {
		t.Errorf("cached %v, problem %v", p.Cached, p.CacheProblem)
	}
}

// A directory that others could write to, or that lies behind a link, is left
// alone altogether: nothing is read from it and nothing written.
func TestDoubtfulDirectoriesAreNotUsed(t *testing.T) {
	t.Parallel()
	swap := func(dir string) func(*testing.T, string) {
		return func(t *testing.T, home string) {
			moved := filepath.Join(t.TempDir(), "moved")
			must(t, os.Rename(filepath.Join(home, dir), moved))
			must(t, os.Symlink(moved, filepath.Join(home, dir)))
		}
	}
	chmod := func(dir string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, home string) { must(t, os.Chmod(filepath.Join(home, dir), mode)) }
	}
	for name, c := range map[string]struct {
		attack func(*testing.T, string)
		want   string
	}{
		"link for jail":       {swap("jail"), "/jail: too many levels of symbolic links"},
		"link for seccomp":    {swap("jail/seccomp"), "/jail/seccomp: too many levels of symbolic links"},
		"others write":        {chmod("jail/seccomp", 0o777), "/jail/seccomp has the mode 0777 (chmod 700 "},
		"sticky does not do":  {chmod("jail/seccomp", 0o777|os.ModeSticky), "/jail/seccomp has the mode 01777"},
		"others read":         {chmod("jail/seccomp", 0o755), "/jail/seccomp has the mode 0755"},
		"group writes jail":   {chmod("jail", 0o770), "/jail has the mode 0770"},
		"others write home":   {chmod("", 0o777), "others can write "},
		"jail is a file":      {replaceDir("jail"), "/jail: not a directory"},
		"seccomp is a file":   {replaceDir("jail/seccomp"), "/jail/seccomp: not a directory"},
		"the home is a file":  {replaceDir(""), ": not a directory"},
		"jail is /proc/self/": {swapTo("jail", "/proc/self/cwd"), "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, file, code := filled(t)
			text, err := os.ReadFile(file)
			must(t, err)
			t.Cleanup(func() { _ = os.Chmod(o.CacheHome, 0o700) })
			c.attack(t, o.CacheHome)
			p := mustFilter(t, defaultSpec(t), o)
			if p.Cached || p.CacheProblem == nil || !strings.Contains(p.CacheProblem.Error(), c.want) {
				t.Errorf("cached %v, problem %v, want %q", p.Cached, p.CacheProblem, c.want)
			}
			if !bytes.Equal(p.Code, code) {
				t.Error("another filter came out")
			}
			if now, err := os.ReadFile(file); err == nil && !bytes.Equal(now, text) {
				t.Error("the file was written")
			}
		})
	}
}

func replaceDir(dir string) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		must(t, os.RemoveAll(filepath.Join(home, dir)))
		must(t, os.WriteFile(filepath.Join(home, dir), nil, 0o600))
	}
}

func swapTo(dir, target string) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		must(t, os.RemoveAll(filepath.Join(home, dir)))
		must(t, os.Symlink(target, filepath.Join(home, dir)))
	}
}

func TestCacheHomesThatWork(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, string) string{
		"through a link": func(t *testing.T, home string) string {
			link := filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink(home, link))
			return link
		},
		"like /tmp":           func(t *testing.T, home string) string { must(t, os.Chmod(home, 0o777|os.ModeSticky)); return home },
		"readable by others":  func(t *testing.T, home string) string { must(t, os.Chmod(home, 0o755)); return home },
		"with an odd name":    func(t *testing.T, home string) string { return filepath.Join(home, "a b,c:\\\n\"") },
		"jail open to others": func(t *testing.T, home string) string { must(t, os.Mkdir(home+"/jail", 0o755)); return home },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{CacheHome: prepare(t, cacheHome(t))}
			mustFilter(t, defaultSpec(t), o)
			if p := mustFilter(t, defaultSpec(t), o); !p.Cached {
				t.Errorf("not cached: %v", p.CacheProblem)
			}
		})
	}
}

func TestCacheHomeMustBeAbsolute(t *testing.T) {
	t.Parallel()
	p := mustFilter(t, defaultSpec(t), Options{CacheHome: "cache"})
	if p.CacheProblem == nil || !strings.Contains(p.CacheProblem.Error(), `"cache" is not an absolute path`) {
		t.Errorf("got %v", p.CacheProblem)
	}
}

func TestUnwritableCacheOnlyCostsTime(t *testing.T) {
	t.Parallel()
	need.OrdinaryUser(t)
	o, file, code := filled(t)
	must(t, os.Remove(file))
	dir := filepath.Dir(file)
	must(t, os.Chmod(dir, 0o500))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	p := mustFilter(t, defaultSpec(t), o)
	if p.Cached || p.CacheProblem == nil || !strings.Contains(p.CacheProblem.Error(), "permission denied") || !bytes.Equal(p.Code, code) {
		t.Errorf("cached %v, problem %v", p.Cached, p.CacheProblem)
	}
}

func TestRootForeignFilesAndDirectoriesAreNotUsed(t *testing.T) {
	need.Root(t)
	for name, c := range map[string]struct{ path, want string }{
		"the home":      {"", "belongs to user 65534 (nothing is kept there)"},
		"jail":          {"jail", "/jail belongs to user 65534"},
		"the directory": {"jail/seccomp", "/jail/seccomp belongs to user 65534"},
		"the file":      {"jail/seccomp/*", "belongs to user 65534 (compiled anew)"},
	} {
		t.Run(name, func(t *testing.T) {
			o, _, code := filled(t)
			found, err := filepath.Glob(filepath.Join(o.CacheHome, c.path))
			if err != nil || len(found) != 1 {
				t.Fatalf("%v, %v", found, err)
			}
			must(t, os.Chown(found[0], 65534, 65534))
			p := mustFilter(t, defaultSpec(t), o)
			if p.Cached || p.CacheProblem == nil || !strings.Contains(p.CacheProblem.Error(), c.want) || !bytes.Equal(p.Code, code) {
				t.Errorf("cached %v, problem %v, want %q", p.Cached, p.CacheProblem, c.want)
			}
		})
	}
}

func TestOldFiltersAreRemoved(t *testing.T) {
	t.Parallel()
	o, file, code := filled(t)
	dir := filepath.Dir(file)
	for i := range maxKept {
		name := filepath.Join(dir, "old-"+strconv.Itoa(i))
		must(t, os.WriteFile(name, code, 0o600))
		must(t, os.Chtimes(name, time.Time{}, time.Now().Add(-time.Hour)))
	}
	must(t, os.Remove(file))
	mustFilter(t, defaultSpec(t), o)
	left, err := os.ReadDir(dir)
	must(t, err)
	if _, err := os.Stat(file); err != nil || len(left) != keptAfter {
		t.Errorf("%d files are left, the new one: %v", len(left), err)
	}
}

func TestFilesWithANameFirst(t *testing.T) {
	t.Parallel()
	o, file, code := filled(t)
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte("other"), 0o600))
	dir, err := openCache(o.CacheHome)
	must(t, err)
	defer kept.Close(dir)
	must(t, storeNamed(dir, filepath.Base(file), text))
	p := mustFilter(t, defaultSpec(t), o)
	left, err := os.ReadDir(filepath.Dir(file))
	must(t, err)
	if !p.Cached || !bytes.Equal(p.Code, code) || len(left) != 1 {
		t.Errorf("cached %v, problem %v, files %v", p.Cached, p.CacheProblem, left)
	}
}
