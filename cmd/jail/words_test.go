package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSplitWords(t *testing.T) {
	for _, tt := range []struct {
		line []string
		want words
	}{
		{[]string{"ls"}, words{program: []string{"ls"}}},
		{[]string{"ls", "--help", "-p", "x"}, words{program: []string{"ls", "--help", "-p", "x"}}},
		{[]string{"ls", "--", "--profile", "x"}, words{program: []string{"ls", "--", "--profile", "x"}}},
		{[]string{"--", "show"}, words{program: []string{"show"}}},
		{[]string{"--", "--profile"}, words{program: []string{"--profile"}}},
		{[]string{"run", "show"}, words{command: "run", program: []string{"show"}}},
		{[]string{"run", "run"}, words{command: "run", program: []string{"run"}}},
		{[]string{"run", "--", "--", "x"}, words{command: "run", program: []string{"--", "x"}}},
		{[]string{"-", "x"}, words{program: []string{"-", "x"}}},
		{[]string{"", "x"}, words{program: []string{"", "x"}}},
		{[]string{"--profile", "x"}, words{flags: []flag{{"profile", "x"}}}},
		{[]string{"--profile", "show", "ls"}, words{flags: []flag{{"profile", "show"}}, program: []string{"ls"}}},
		{[]string{"--profile=x", "ls"}, words{flags: []flag{{"profile", "x"}}, program: []string{"ls"}}},
		{[]string{"--profile=", "ls"}, words{flags: []flag{{"profile", ""}}, program: []string{"ls"}}},
		{[]string{"--set", "a=b=c", "ls"}, words{flags: []flag{{"set", "a=b=c"}}, program: []string{"ls"}}},
		{[]string{"-p", "x", "ls", "-p"}, words{flags: []flag{{"profile", "x"}}, program: []string{"ls", "-p"}}},
		{[]string{"-px", "ls"}, words{flags: []flag{{"profile", "x"}}, program: []string{"ls"}}},
		{[]string{"-vpx", "ls"}, words{flags: []flag{{"verbose", "true"}, {"profile", "x"}}, program: []string{"ls"}}},
		{[]string{"-vp", "x", "ls"}, words{flags: []flag{{"verbose", "true"}, {"profile", "x"}}, program: []string{"ls"}}},
		{[]string{"--verbose=false", "ls"}, words{flags: []flag{{"verbose", "false"}}, program: []string{"ls"}}},
		{[]string{"--hide=-x", "ls"}, words{flags: []flag{{"hide", "-x"}}, program: []string{"ls"}}},
		{[]string{"--hide", "-", "ls"}, words{flags: []flag{{"hide", "-"}}, program: []string{"ls"}}},
		{[]string{"--bind", "a", "--hide", "a", "--bind", "b", "ls"}, words{
			flags: []flag{{"bind", "a"}, {"hide", "a"}, {"bind", "b"}}, program: []string{"ls"}}},
		{[]string{"--profile", "x", "compile", "--bundle", "d", "--", "ls", "--bundle"}, words{
			command: "compile", flags: []flag{{"profile", "x"}, {"bundle", "d"}}, program: []string{"ls", "--bundle"}}},
		{[]string{"show", "ls", "--help"}, words{command: "show", rest: []string{"ls", "--help"}}},
		{[]string{"-v", "check", "--json", "--", "-x"}, words{
			command: "check", flags: []flag{{"verbose", "true"}}, rest: []string{"-v", "--json", "--", "-x"}}},
		{[]string{"--report", "json"}, words{flags: []flag{{"report", "text"}}, program: []string{"json"}}},
		{[]string{"--report=json", "ls"}, words{flags: []flag{{"report", "json"}}, program: []string{"ls"}}},
		{[]string{"--help"}, words{flags: []flag{{"help", "true"}}}},

		{[]string{"--profle", "x", "ls"}, words{odd: []string{"--profle", "x"}}},
		{[]string{"-v", "run", "--profle=x", "ls", "-z"}, words{command: "run", flags: []flag{{"verbose", "true"}}, odd: []string{"-v", "--profle=x", "ls"}}},
		{[]string{"--profile"}, words{odd: []string{"--profile"}, bare: "profile"}},
		{[]string{"--profile", "--", "ls"}, words{odd: []string{"--profile", "--"}, bare: "profile"}},
		{[]string{"--profile", "-v", "ls"}, words{odd: []string{"--profile", "-v"}, bare: "profile"}},
		{[]string{"--verbose=perhaps", "ls"}, words{odd: []string{"--verbose=perhaps", "ls"}}},
		{[]string{"-vZ", "ls"}, words{odd: []string{"-vZ", "ls"}}},
		{[]string{"--=x", "ls"}, words{odd: []string{"--=x", "ls"}}},
	} {
		if got := splitWords(tt.line, isCommand, launchOptions()); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("splitWords(%q)\n got %+v\nwant %+v", tt.line, got, tt.want)
		}
	}
}

// Whatever the line, what stands behind the program or behind `--` arrives at the program unchanged,
// and the program's words are always a tail of the line.
func FuzzSplitWords(f *testing.F) {
	f.Add("--profile\x00x\x00ls\x00--help")
	f.Add("-vpx\x00run\x00--\x00show")
	f.Add("check\x00--json\x00--\x00-x")
	f.Add("--hide=-x\x00--=\x00-")
	f.Fuzz(func(t *testing.T, line string) {
		args := splitNUL(line)
		w := splitWords(args, isCommand, launchOptions())
		if n := len(w.program); n > 0 && !slices.Equal(w.program, args[len(args)-n:]) {
			t.Errorf("program %q is no tail of %q", w.program, args)
		}
		// The same line with anything behind it gives the program that and nothing else.
		if w.odd == nil && w.rest == nil && len(w.program) > 0 {
			more := splitWords(append(slices.Clone(args), "--profile", "evil"), isCommand, launchOptions())
			if !reflect.DeepEqual(more.flags, w.flags) || len(more.program) != len(w.program)+2 {
				t.Errorf("%q: words behind the program changed the flags: %v", args, more.flags)
			}
		}
		agreesWithKong(t, args, w)
	})
}

func splitNUL(line string) []string {
	var args []string
	for len(line) > 0 {
		i := 0
		for i < len(line) && line[i] != 0 {
			i++
		}
		args = append(args, line[:i])
		line = line[min(i+1, len(line)):]
	}
	return args
}

// agreesWithKong compares what splitWords read of the flags with what the flag library reads of the
// same words: both go by the same tags, and a difference would run something else than --help says.
func agreesWithKong(t *testing.T, args []string, w words) {
	t.Helper()
	if w.command == "" {
		w.command = "run"
	}
	// The library mends bytes that are no UTF-8; here they stay what they are. Each word for itself: two
	// halves of a character in neighbouring words are valid only when joined.
	if !utf8.ValidString(strings.Join(args, "\x00")) {
		return
	}
	if w.command != "run" || slices.Contains(w.flags, flag{"help", "true"}) {
		return
	}
	var g grammar
	if w.odd != nil {
		if _, err := newParser(&g).Parse(append([]string{"run"}, w.odd...)); err == nil && !slices.Contains(w.odd, "--help") {
			t.Errorf("%q: taken by the flag library although %q is not understood here", args, w.odd)
		}
		return
	}
	flagWords := args[:len(args)-len(w.program)]
	flagWords = slices.DeleteFunc(slices.Clone(flagWords), func(s string) bool { return s == "--" })
	if i := slices.Index(flagWords, "run"); i >= 0 && len(args) > 0 {
		return // where the command stands among values is splitWords's own business
	}
	if _, err := newParser(&g).Parse(append([]string{"run"}, flagWords...)); err != nil {
		t.Errorf("%q: refused by the flag library: %v", args, err)
		return
	}
	var fast runCmd
	var global globalFlags
	setFlags(reflect.ValueOf(&fast).Elem(), w.flags)
	setFlags(reflect.ValueOf(&global).Elem(), w.flags)
	if !reflect.DeepEqual(fast, g.Run) || global != g.globalFlags {
		t.Errorf("%q\n here %+v %+v\n kong %+v %+v", args, fast, global, g.Run, g.globalFlags)
	}
}

func TestSplitWordsAgreesWithTheFlagLibrary(t *testing.T) {
	for _, args := range [][]string{
		{"--profile", "x", "--bind", "a,b:c", "--bind", "d", "-v", "--cwd=/", "ls"},
		{"-vpx", "--set", "a=b", "--env", "A", "--env=B=", "--name", "n", "--tmpfs", "/t", "--ro", "/r", "ls"},
		{"--verbose=false", "--profile=", "ls"},
		{"--profle", "x"},
		{"--profile"},
		{"--profile", "--", "ls"},
		{"-vZ", "ls"},
		{"--bundle", "d"},
		{"--report", "--report-file", "f", "ls"},
		{"--report=json", "ls"},
		{"--report=", "ls"},
		{"--report=true", "ls"},
		{"--hide=${HOME}", "--env=X=$Y", "ls"},
	} {
		agreesWithKong(t, args, splitWords(args, isCommand, launchOptions()))
	}
}
