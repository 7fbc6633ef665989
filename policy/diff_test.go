package policy

import (
	"testing"
)

func TestItemKey(t *testing.T) {
	for text, want := range map[string]string{
		"- {path: /tmp, tmpfs: true}":        "/tmp",
		"- {path: /x}":                       "/x",
		`- {path: "/a, b", mode: ro}`:        `"/a, b"`,
		"- user":                             "user",
		"cwd: /root":                         "cwd",
		`- {allow: "*.example.org:443"}`:     `{allow: "*.example.org:443"}`,
		"PATH: /usr/local/bin:/usr/bin:/bin": "PATH",
		"- {names: [socket], action: allow}": "{names: [socket], action: allow}",
		"capabilities: []":                   "capabilities",
	} {
		if got := itemKey(text); got != want {
			t.Errorf("itemKey(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestInsertBesideKin(t *testing.T) {
	got := insertBesideKin([]string{"filesystem /a", "filesystem /b", "process cwd"}, "filesystem /c")
	if len(got) != 4 || got[2] != "filesystem /c" {
		t.Errorf("%q", got)
	}
	if got := insertBesideKin([]string{"process cwd"}, "limits memory"); len(got) != 2 || got[1] != "limits memory" {
		t.Errorf("%q", got)
	}
}
