package main

import (
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
		{"", "", ""},
	} {
		if command, note := splitHint(c.hint); command != c.command || note != c.note {
			t.Errorf("splitHint(%q) = %q, %q, want %q, %q", c.hint, command, note, c.command, c.note)
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
	if n := subordinate(file+"-not-there", "somebody"); n != 0 {
		t.Errorf("%d ids of a file that is not there", n)
	}
}
