// Package need lets a test say what it cannot do without.
//
// A test that asks for something the machine lacks is skipped with the reason on a developer's machine. In CI
// (CI=true) it fails instead, because a skip there is a test that nobody runs, unless the thing truly cannot be
// there: a kernel that is too old, or cgroup v2 on a machine that has none, which the virtual machine's run covers.
//
// Tests named TestRoot* run as root, all others as an ordinary user; `make test` as root runs both. Tests for the
// virtual machine only live in test/guest.
package need

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Jail gives the path of the jail program under test, built by `make build`.
func Jail(t testing.TB) string {
	t.Helper()
	path := filepath.Join(Tree(t), "bin", "jail")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("need jail itself: %v (run: make build)", err)
	}
	return path
}

// Tree gives the root of the source tree.
func Tree(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for at := dir; at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
	}
	t.Fatalf("need the source tree: no go.mod at or above %s", dir)
	return ""
}

// Root is for tests named TestRoot*: they run in a pass of their own that `make test` adds when it is root. In the virtual
// machine those named TestPlainRoot* do in the boot without systemd.
func Root(t testing.TB) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestRoot") && !strings.HasPrefix(t.Name(), "TestPlainRoot") {
		t.Fatalf("%s needs root, so its name must start with TestRoot: that is how the pass as root finds it", t.Name())
	}
	if os.Geteuid() == 0 {
		return
	}
	missing(t, os.Getenv("JAIL_TEST_ROOT_PASS") == "follows", "needs root; `make test` as root runs it")
}

// OrdinaryUser is for tests of what somebody without any privilege can do.
func OrdinaryUser(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		missing(t, os.Getenv("JAIL_TEST_ROOT_PASS") == "now", "needs an ordinary user; `make test` arranges for one")
	}
}

// TUN is for tests named TestTUN*, of what an ordinary user can do with a TUN device. `make test` as root has a pass in
// which it lends one.
func TUN(t testing.TB) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestTUN") {
		t.Fatalf("%s needs a TUN device, so its name must start with TestTUN: that is how the pass with one finds it", t.Name())
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		missing(t, os.Getenv("JAIL_TEST_ROOT_PASS") == "follows" || os.Getenv("JAIL_TEST_ROOT_PASS") == "now", "needs /dev/net/tun: %v; `make test` as root lends it", err)
	}
	_ = f.Close()
}

// Program gives the path of the first of the programs that is installed.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		// An ordinary user's PATH leaves these out.
		for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/games/"} {
			if err := unix.Access(dir+name, unix.X_OK); err == nil {
				return dir + name
			}
		}
	}
	missing(t, guestLacks(names[0]), "needs %s; `make deps` installs it", strings.Join(names, " or "))
	return ""
}

// File gives the path of a file of an installed package, by a pattern of filepath.Match.
func File(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		missing(t, false, "needs %s; `make deps` installs it", pattern)
		return ""
	}
	return found[0]
}

// guestLacks tells whether the virtual machine's image leaves a program out on purpose: what draws on a screen
// or belongs to a desktop is tested on the host, and its packages would be most of the image.
func guestLacks(program string) bool {
	if os.Getenv("JAIL_GUEST") == "" {
		return false
	}
	switch program {
	case "firefox", "firefox-esr", "chromium", "Xvfb", "xdotool", "xterm", "import", "convert", "firejail",
		"Xephyr", "Xwayland", "xinput", "xdg-dbus-proxy", "xdg-open", "sway", "grim", "wtype", "foot", "wayland-info",
		"go", "gcc", "make", "cc", "git", "vim", "pdftoppm", "python3", "man", "node", "dig":
		return true
	}
	return false
}

// UserNamespaces is for tests that start a sandbox without privileges. On a kernel that jail refuses to work on they are
// skipped; test/guest checks the refusal.
func UserNamespaces(t testing.TB) {
	t.Helper()
	Kernel(t, 5, 12)
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if err := cmd.Run(); err != nil {
		missing(t, false, "needs user namespaces: %v; see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces", err)
	}
}

// SubordinateIDs is for tests that map several ranges of ids with newuidmap(1).
func SubordinateIDs(t testing.TB) {
	t.Helper()
	Program(t, "newuidmap")
	name := strconv.Itoa(os.Getuid())
	who, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		lines, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		text := "\n" + string(lines)
		if !strings.Contains(text, "\n"+strings.TrimSpace(string(who))+":") && !strings.Contains(text, "\n"+name+":") {
			missing(t, false, "needs a range of ids in %s; add one: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", file, strings.TrimSpace(string(who)))
		}
	}
}

// Kernel is for tests of what a kernel has only since that version.
func Kernel(t testing.TB, major, minor int) {
	t.Helper()
	have := KernelVersion(t)
	if have[0] < major || have[0] == major && have[1] < minor {
		missing(t, true, "needs Linux %d.%d; this is %d.%d", major, minor, have[0], have[1])
	}
}

// KernelVersion gives major and minor version of the running kernel.
func KernelVersion(t testing.TB) [2]int {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	var version [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &version[0], &version[1]); err != nil {
		t.Fatalf("kernel release %q: %v", release, err)
	}
	return version
}

// CgroupV2 is for tests that make cgroups in the unified hierarchy. The virtual machine always has it.
func CgroupV2(t testing.TB) {
	t.Helper()
	var fs unix.Statfs_t
	err := unix.Statfs("/sys/fs/cgroup", &fs)
	if err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		missing(t, os.Getenv("JAIL_GUEST") == "", "needs cgroup v2 on /sys/fs/cgroup; `make test-vm` has it")
	}
}

// Guest is for tests that change the machine, or need one set up just so: they run in the virtual machine only.
// It gives the Debian release of the guest.
func Guest(t testing.TB) string {
	t.Helper()
	release := os.Getenv("JAIL_GUEST")
	if release == "" {
		missing(t, true, "runs in the virtual machine only: make test-vm")
	}
	return release
}

// missing ends a test that lacks something. Expected means that another run covers the test, or that nothing could.
func missing(t testing.TB, expected bool, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if os.Getenv("CI") == "true" && !expected {
		t.Fatalf("%s (in CI this is a failure, not a skip)", reason)
	}
	t.Skip(reason)
}

// Plain is for tests named TestPlain*, of a machine without systemd: the virtual machine boots once so for them.
func Plain(t testing.TB) {
	t.Helper()
	Guest(t)
	if !strings.HasPrefix(t.Name(), "TestPlain") {
		t.Fatalf("%s needs a machine without systemd, so its name must start with TestPlain", t.Name())
	}
	if os.Getenv("JAIL_GUEST_INIT") != "plain" {
		missing(t, true, "needs a machine without systemd; the guest's second boot runs it")
	}
}
