// Package integration runs jail itself, as an ordinary user, on the real kernel and with real programs.
//
// The test binary is also the observer: bound into a sandbox and started there as "observer NAME...", it makes
// the named observations and prints one a line. Every property is observed outside too, in a control run: what
// already holds there proves nothing about the sandbox.
package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jail/test/filters"
	"jail/test/need"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "observe" {
		os.Exit(observe(os.Args[2:]))
	}
	if len(os.Args) > 3 && os.Args[1] == "pose" {
		pose(os.Args[2], os.Args[3])
	}
	os.Exit(m.Run())
}

// A user is a home with baits in it, and an environment.
type user struct {
	t    testing.TB
	home string
	env  []string
}

// newUser makes a home outside /tmp, which every sandbox has of its own.
func newUser(t testing.TB) *user {
	t.Helper()
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	home, err := os.MkdirTemp("/var/tmp", "jail-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := filters.Lend(home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := filters.Keep(home); err != nil {
			t.Error(err)
		}
	})
	u := &user{t: t, home: home}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name != "HOME" && !strings.HasPrefix(name, "XDG_") && name != "DISPLAY" && name != "WAYLAND_DISPLAY" {
			u.env = append(u.env, v)
		}
	}
	// A shell that a test's terminal takes along would write its history into a home that is being removed.
	u.env = append(u.env, "HOME="+home, "HISTFILE=")
	u.write(".ssh/id_bait", "a planted key\n")
	u.write("Downloads/.keep", "")
	return u
}

// write puts a file into the home.
func (u *user) write(name, text string) string {
	u.t.Helper()
	path := filepath.Join(u.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// jail prepares a run of jail in the home.
func (u *user) jail(args ...string) *exec.Cmd {
	u.t.Helper()
	cmd := exec.Command(need.Jail(u.t), args...)
	cmd.Dir, cmd.Env = u.home, u.env
	return cmd
}

// run runs jail to its end.
func (u *user) run(args ...string) (stdout, stderr string, code int) {
	u.t.Helper()
	cmd := u.jail(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs jail and wants success.
func (u *user) must(args ...string) string {
	u.t.Helper()
	out, errs, code := u.run(args...)
	if code != 0 {
		u.t.Fatalf("jail %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// observer is the test binary's own path, and the flags that show it inside under the same path.
func observer(t testing.TB) (path string, flags []string) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path, []string{"--ro", path + ":/observer"}
}

// outside makes observations without a sandbox.
func (u *user) outside(names ...string) map[string]string {
	u.t.Helper()
	path, _ := observer(u.t)
	cmd := exec.Command(path, append([]string{"observe"}, names...)...)
	cmd.Dir, cmd.Env = u.home, u.env
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatalf("the control run: %v", err)
	}
	return lines(string(out))
}

// inside makes the same observations in a sandbox.
func (u *user) inside(flags []string, names ...string) map[string]string {
	u.t.Helper()
	_, own := observer(u.t)
	args := append(append(append([]string{}, flags...), own...), append([]string{"--", "/observer", "observe"}, names...)...)
	return lines(u.must(args...))
}

// lines reads "name = value" lines.
func lines(text string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		name, value, _ := strings.Cut(line, " = ")
		m[name] = value
	}
	return m
}

// profile puts a profile where jail looks for one by its name.
func (u *user) profile(name, text string) string {
	u.t.Helper()
	return u.write(".config/jail/profiles/"+name+".yaml", fmt.Sprintf("version: 1\nname: %s\n%s", name, text))
}
