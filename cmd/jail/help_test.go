package main

import (
	"bytes"
	goflag "flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = goflag.Bool("update", false, "rewrite the golden files")

// helpTexts gives every help text there is, the overview first.
func helpTexts(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	a := &app{out: &b, err: &printer{out: &b}}
	for _, args := range append([][]string{{"--help"}}, commandLines("--help")...) {
		b.WriteString("$ jail " + strings.Join(args, " ") + "\n")
		if code := a.main(args); code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, b.String())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// commandLines gives a line for each command with a word behind it.
func commandLines(word string) [][]string {
	var lines [][]string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[grammar]()) {
		if _, ok := f.Tag.Lookup("cmd"); ok {
			lines = append(lines, []string{commandName(f), word})
		}
	}
	return lines
}

func TestHelp(t *testing.T) {
	golden := filepath.Join("testdata", "help.golden")
	got := helpTexts(t)
	if *update {
		must(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got != string(want) {
		t.Errorf("the help texts changed; look at them and run go test ./cmd/jail -update\n%s", got)
	}
	for line := range strings.Lines(got) {
		if utf8.RuneCountInString(line) > helpWidth+1 {
			t.Errorf("wider than %d: %s", helpWidth, line)
		}
	}
}

// An example that jail itself could not read would be worse than none.
func TestExamplesCanBeRead(t *testing.T) {
	for _, node := range newParser(new(grammar)).Model.Children {
		e, ok := node.Target.Addr().Interface().(exampler)
		if !ok {
			continue
		}
		for _, x := range e.examples() {
			_, line, found := strings.Cut(x.line, "jail ")
			if !found {
				t.Errorf("%s: no jail in %q", node.Name, x.line)
				continue
			}
			line, _, _ = strings.Cut(line, " && ")
			line, _, _ = strings.Cut(line, " | ")
			w := splitWords(strings.Fields(strings.ReplaceAll(line, "'", "")), isCommand, launchOptions())
			if w.odd != nil {
				t.Errorf("%s: %q is not understood at %q", node.Name, x.line, w.odd)
			}
			if w.command == "" && node.Name != "run" || w.command != "" && w.command != node.Name {
				t.Errorf("%s: %q is an example of %q", node.Name, x.line, w.command)
			}
		}
	}
}
