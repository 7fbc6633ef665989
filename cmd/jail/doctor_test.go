package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestSplitHint(t *testing.T) {
	for _, c := range []struct{ hint, command, note string }{
		{"sudo sysctl -w kernel.unprivileged_userns_clone=1", "sudo sysctl -w kernel.unprivileged_userns_clone=1", ""},
		{"sudo sysctl -w user.max_user_namespaces=15000 (in a container it is that one)", "sudo sysctl -w user.max_user_namespaces=15000", "in a container it is that one"},
		{"install jail's AppArmor profile (it comes with the Debian package), or: sudo sysctl -w a=0", "sudo sysctl -w a=0",
			"install jail's AppArmor profile (it comes with the Debian package)"},
		{"sudo true; or go without", "sudo true", "or go without"},
		{"boot with another kernel", "", "boot with another kernel"},
		{"log in through a session, or as root: loginctl enable-linger 7", "sudo loginctl enable-linger 7", "log in through a session"},
		{"as root: mkdir a && printf '[b]' > a/c; then log out and in again", `sudo sh -c 'mkdir a && printf '\''[b]'\'' > a/c'`, "then log out and in again"},
		{"", "", ""},
	} {
		if command, note := splitHint(c.hint); command != c.command || note != c.note {
			t.Errorf("splitHint(%q) = %q, %q, want %q, %q", c.hint, command, note, c.command, c.note)
		}
	}
}

func TestAppArmor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const restrict = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	cannot := errors.New("operation not permitted")
	for _, c := range []struct {
		name          string
		files         map[string]string
		namespaces    error
		state, remedy string
	}{
		{"absent", nil, nil, works, ""},
		{"without the restriction", map[string]string{restrict: ""}, nil, works, ""},
		{"restriction off", map[string]string{restrict: "0"}, nil, works, ""},
		{"restriction on, a profile", map[string]string{restrict: "1", "/proc/self/attr/apparmor/current": "jail (unconfined)"}, nil, works, ""},
		{"restriction on, no profile", map[string]string{restrict: "1", "/proc/self/attr/current": "unconfined"}, cannot, missing,
			self + " doctor --apparmor | sudo tee /etc/apparmor.d/jail && sudo apparmor_parser -r /etc/apparmor.d/jail"},
		{"restriction on, root", map[string]string{restrict: "1", "/proc/self/attr/current": "unconfined"}, nil, optional,
			self + " doctor --apparmor | sudo tee /etc/apparmor.d/jail && sudo apparmor_parser -r /etc/apparmor.d/jail"},
	} {
		if c.files != nil {
			c.files["/sys/module/apparmor/parameters/enabled"] = "Y"
		}
		f := appArmorFeature(func(name string) string { return c.files[name] }, c.namespaces)
		if f.State != c.state || f.Remedy != c.remedy {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

func TestSubordinate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("somebody:100000:65536\nother:1:2\nsomebody:300000:10\nbroken\nsomebody:1:-5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := subordinate(file, "somebody"); n != 65546 {
		t.Errorf("%d ids, want 65546", n)
	}
	if n := freeSubordinate(file); n != 300010 {
		t.Errorf("ids from %d on are free, want 300010", n)
	}
	if n := freeSubordinate(file + "-not-there"); n != 100000 {
		t.Errorf("ids from %d on are free in a file that is not there", n)
	}
	if n := subordinate(file+"-not-there", "somebody"); n != 0 {
		t.Errorf("%d ids of a file that is not there", n)
	}
}

func TestRefusalOf(t *testing.T) {
	for _, c := range []struct{ messages, said, hint string }{
		{"jail: no\n  hint: do\n", "no", "do"},
		{"jail: no\r\n", "no", ""},
		{"jail: warning: weaker\n  hint: do not\njail: no\n  hint: do\n", "no", "do"},
		{"jail: warning: weaker\njail: one\n  hint: do\njail: two\n  hint: do that too\n", "one; two", "do"},
		{"runtime: out of memory\n", "runtime: out of memory", ""},
		{"jail: warning: weaker\n", "", ""},
	} {
		if said, hint := refusalOf(c.messages); said != c.said || hint != c.hint {
			t.Errorf("%q is %q and %q, not %q and %q", c.messages, said, hint, c.said, c.hint)
		}
	}
}
