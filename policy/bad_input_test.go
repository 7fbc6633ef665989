package policy

import (
	"os"
	"strings"
	"testing"
)

// TestBadInput checks each message of testdata/bad_input.txt word by word. A
// case is "=== what it is", the file p.yaml, then "--- " lines with what is
// said. "+++ NAME" starts another file.
func TestBadInput(t *testing.T) {
	text, err := os.ReadFile("testdata/bad_input.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(string(text), "\n=== ")[1:]
	var out strings.Builder
	head, _, _ := strings.Cut(string(text), "\n=== ")
	out.WriteString(head)
	for _, c := range cases {
		name, body, _ := strings.Cut(c, "\n")
		var want []string
		files := map[string]string{}
		file := "p.yaml"
		var given strings.Builder
		for line := range strings.Lines(body) {
			switch {
			case strings.HasPrefix(line, "--- "):
				want = append(want, strings.TrimSuffix(line[4:], "\n"))
				continue
			case strings.HasPrefix(line, "+++ "):
				file = strings.TrimSpace(line[4:])
			default:
				files[file] += line
			}
			given.WriteString(line)
		}
		got := badInput(t, files)
		out.WriteString("\n=== " + name + "\n" + strings.TrimRight(given.String(), "\n") + "\n")
		for _, g := range got {
			out.WriteString("--- " + g + "\n")
		}
		if *update {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if len(got) == 0 {
				t.Error("no problem was found")
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/bad_input.txt", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(cases) < 60 {
		t.Errorf("%d cases, want at least 60", len(cases))
	}
}

func badInput(t *testing.T, files map[string]string) []string {
	t.Helper()
	problems := Check("p.yaml", fakeHost(t, files))
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.Error())
	}
	return lines
}

// TestBadBytes has what cannot stand in a text file.
func TestBadBytes(t *testing.T) {
	const start = "version: 1\n"
	for _, c := range []struct{ name, text, want string }{
		{"an empty file", "", "p.yaml:1:1: the file is empty (a profile starts with 'version: 1')"},
		{"only comments", "# nothing\n", "p.yaml:1:1: the file is empty (a profile starts with 'version: 1')"},
		{"only a document mark", "---\n", "p.yaml:1:1: the file is empty (a profile starts with 'version: 1')"},
		{"NUL", start + "name: a\x00b\n", "p.yaml:2:8: a NUL byte (a profile is plain UTF-8 text)"},
		{"not UTF-8", start + "name: caf\xe9\n", "p.yaml:2:10: byte 0xe9 is not UTF-8 (save the file as UTF-8)"},
		{"overlong UTF-8", start + "name: \xc0\xaf\n", "p.yaml:2:7: byte 0xc0 is not UTF-8 (save the file as UTF-8)"},
		{"UTF-16", "\xff\xfev\x00e\x00", "p.yaml:1:1: byte 0xff is not UTF-8 (save the file as UTF-8)"},
		{"escape character", start + "name: \x1b[31m\n", `p.yaml:2:7: control character '\x1b' (take it out; inside double quotes it can be written as \x1b)`},
		{"tab in the indentation", start + "filesystem:\n\t- {path: /usr, mode: ro}\n", "p.yaml:3:1: a tab in the indentation (YAML is indented with spaces)"},
		{"a file of 10 MB", start + strings.Repeat("# comment\n", 1<<20), "p.yaml: larger than 1024 KiB (name a readable YAML file, or a profile that 'jail profiles' lists)"},
		{"deep nesting", start + "vars: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n", "p.yaml:2:39: nested more than 32 levels deep (no key of a profile needs more than ten)"},
		{"too many values", start + "capabilities: [" + strings.Repeat("a, ", 30000) + "b]\n", "p.yaml:2:60001: more than 20000 values (split the profile with 'extends')"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Check("p.yaml", fakeHost(t, map[string]string{"p.yaml": c.text})).Error()
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestBadReference has what is wrong with the name of a profile.
func TestBadReference(t *testing.T) {
	h := fakeHost(t, map[string]string{"here.yaml": "version: 1\n"})
	for _, c := range []struct{ ref, want string }{
		{"", "command line: --profile: an empty profile name ('jail profiles' lists them)"},
		{"brwser", "brwser: no profile of that name on the search path (did you mean `browser`?)"},
		{"here", "here: no profile of that name on the search path (a name is not looked up in the working directory; for the file there write ./here.yaml)"},
		{"nothing", "nothing: no profile of that name on the search path ('jail profiles' lists what there is)"},
		{"./no.yaml", "./no.yaml: does not exist (name a readable YAML file, or a profile that 'jail profiles' lists)"},
		{"/srv/fifo", "/srv/fifo: not a regular file (name a readable YAML file, or a profile that 'jail profiles' lists)"},
		{"/etc/shadow", "/etc/shadow: permission denied (name a readable YAML file, or a profile that 'jail profiles' lists)"},
		{"a b", "a b: not a profile name (a name is 1 to 64 of the characters A-Z a-z 0-9 _ . -; a file is named with a / in it)"},
		{"..", "..: not a profile name (a name is 1 to 64 of the characters A-Z a-z 0-9 _ . -; a file is named with a / in it)"},
		{"x\x1b[2J", `x\x1b[2J: not a profile name (a name is 1 to 64 of the characters A-Z a-z 0-9 _ . -; a file is named with a / in it)`},
	} {
		_, err := Load(c.ref, h)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: got\n%v\nwant\n%s", c.ref, err, c.want)
		}
	}
}
