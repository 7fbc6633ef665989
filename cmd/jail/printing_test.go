package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jail/policy"
	"jail/sandbox"
)

func TestEscape(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain", "plain"},
		{"grün 日本 ✓", "grün 日本 ✓"},
		{"a\x1b[2Kb", `a\x1b[2Kb`},
		{"a\rb\nc\td", `a\rb\nc\td`},
		{"\x7f\u0085\u009b", `\x7f\u0085\u009b`},
		{"exe\u202egpj", `exe\u202egpj`},
		{"\u200bx\u2066y", `\u200bx\u2066y`},
		{"bad\xff\xc3", `bad\xff\xc3`},
		{"\ufffd", "\ufffd"},
		{"\U000e0041", `\U000e0041`},
	} {
		if got := escape(tt.in); got != tt.want {
			t.Errorf("escape(%q) = %q, want %q", tt.in, got, tt.want)
		}
		if got := escape(escape(tt.in)); got != tt.want {
			t.Errorf("escaping %q twice gives %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEscapeLinesKeepsLinesAndTabs(t *testing.T) {
	for _, in := range []string{"", "\n", "a", "a\n", "a\tb\n\nc", "\t\n\t"} {
		var b bytes.Buffer
		n, err := escapeLines{&b}.Write([]byte(in))
		if err != nil || n != len(in) || b.String() != in {
			t.Errorf("%q: wrote %q, %d, %v", in, b.String(), n, err)
		}
	}
	var b bytes.Buffer
	fmt.Fprint(escapeLines{&b}, "a\x1b[31mb\n\tc\rd")
	if want := "a\\x1b[31mb\n\tc\\rd"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestEscapeJSONKeepsTheMeaning(t *testing.T) {
	in := "{\"a\": \"x\u202ey\x7f\U000e0041ü\"\n}"
	want := "{\"a\": \"x\\u202ey\\u007f\\udb40\\udc41ü\"\n}"
	if got := string(escapeJSON([]byte(in))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFail(t *testing.T) {
	problem := policy.Problem{File: "a\x1b.yaml", Line: 3, Column: 5, Key: "filesystem[0].mode", Cause: "unknown mode", Fix: "write ro"}
	for _, tt := range []struct {
		name string
		err  error
		want string
		code int
	}{
		{"plain", errors.New("no way"), "jail: no way\n", 125},
		{"hint", &hinted{errors.New("no way"), "take another"}, "jail: no way\n  hint: take another\n", 125},
		{"wrapped hint", fmt.Errorf("run: %w", &hinted{errors.New("no"), "h"}), "jail: run: no\n  hint: h\n", 125},
		{"hint in the text", errors.New("no way\nhint: go round"), "jail: no way\n  hint: go round\n", 125},
		{"problems", policy.Problems{problem, {File: "b.yaml", Cause: "empty"}},
			"jail: a\\x1b.yaml:3:5: filesystem[0].mode: unknown mode\n  hint: write ro\njail: b.yaml: empty\n", 125},
		{"launcher", &sandbox.Error{Origin: "a.yaml:1:2", What: "mount /x", Cause: errors.New("move_mount: permission denied"), Hint: "h", Exit: 125},
			"jail: a.yaml:1:2: mount /x: move_mount: permission denied\n  hint: h\n", 125},
		{"not found", &sandbox.Error{What: "nosuch", Cause: errors.New("not found"), Exit: 127}, "jail: nosuch: not found\n", 127},
		{"several lines", errors.New("one\ntwo\x1b[0m"), `jail: one\ntwo\x1b[0m` + "\n", 125},
	} {
		var b bytes.Buffer
		a := &app{err: &printer{out: &b}}
		if code := a.fail(tt.err); code != tt.code || b.String() != tt.want {
			t.Errorf("%s: exit %d, printed %q; want %d, %q", tt.name, code, b.String(), tt.code, tt.want)
		}
	}
}

func TestColour(t *testing.T) {
	var b bytes.Buffer
	(&printer{out: &b, colour: true}).line(red, "jail:", "x\x1b[0m", "y")
	if want := "\x1b[1;31mjail:\x1b[0m x\\x1b[0m\n  \x1b[1mhint:\x1b[0m y\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	(&printer{out: &b}).line(red, "jail:", "x", "y")
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("colour without asking for it: %q", b.String())
	}
}

// Colours are for terminals, and for those who want them: no-color.org.
func TestWantsColour(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	defer file.Close()
	for _, tt := range []struct {
		name, noColor, term string
		to                  *os.File
		want                bool
	}{
		{"terminal", "", "xterm", terminal, true},
		{"file", "", "xterm", file, false},
		{"NO_COLOR", "1", "xterm", terminal, false},
		{"NO_COLOR=0", "0", "xterm", terminal, false},
		{"dumb terminal", "", "dumb", terminal, false},
	} {
		t.Setenv("NO_COLOR", tt.noColor)
		t.Setenv("TERM", tt.term)
		if got := wantsColour(tt.to); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
