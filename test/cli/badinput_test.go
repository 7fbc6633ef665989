package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jail/test/need"
)

// A badCase is one of policy/testdata/bad_input.txt: files, and what is said of them, a line for each problem.
type badCase struct {
	name  string
	files map[string]string
	said  []string
}

func badCases(t *testing.T) []badCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(need.Tree(t), "policy/testdata/bad_input.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var all []badCase
	for _, part := range strings.Split(string(text), "\n=== ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		c := badCase{name: name, files: map[string]string{}}
		file := "p.yaml"
		for line := range strings.Lines(body) {
			switch {
			case strings.HasPrefix(line, "--- "):
				c.said = append(c.said, strings.TrimSuffix(line[4:], "\n"))
			case strings.HasPrefix(line, "+++ "):
				file = strings.TrimSpace(line[4:])
			default:
				c.files[file] += line
			}
		}
		all = append(all, c)
	}
	const source = "version: 1\nfilesystem:\n  - {path: /x, source: \"~/"
	return append(all,
		badCase{"a missing source", map[string]string{"p.yaml": source + "none\", mode: ro}\n"}, []string{"p.yaml:3:24: filesystem[0].source: /home/user/none does not exist (make it, or add 'optional: true')"}},
		badCase{"an unreadable source", map[string]string{"p.yaml": source + "unreadable\", mode: ro}\n"}, []string{"p.yaml:3:24: filesystem[0].source: /home/user/unreadable cannot be read by you (jail gives a program no more than you have; mend the permissions or take the entry out)"}},
		badCase{"a FIFO as a source", map[string]string{"p.yaml": source + "fifo\", mode: ro}\n"}, []string{"p.yaml:3:24: filesystem[0].source: /home/user/fifo is a FIFO, which leads to whoever has its other end open (grant the directory it lies in, or take the entry out)"}},
		badCase{"a dangling source", map[string]string{"p.yaml": source + "dangling\", mode: ro}\n"}, []string{"p.yaml:3:24: filesystem[0].source: /home/user/dangling is a dangling symbolic link: /home/user/gone does not exist (mend the link, or add 'optional: true')"}},
		badCase{"a looping source", map[string]string{"p.yaml": source + "loop\", mode: ro}\n"}, []string{"p.yaml:3:24: filesystem[0].source: /home/user/loop: its symbolic links go round in a loop (mend the link on the host)"}},
		badCase{"an empty file", map[string]string{"p.yaml": ""}, []string{"p.yaml:1:1: the file is empty (a profile starts with 'version: 1')"}},
		badCase{"NUL", map[string]string{"p.yaml": "version: 1\nname: a\x00b\n"}, []string{"p.yaml:2:8: a NUL byte (a profile is plain UTF-8 text)"}},
		badCase{"not UTF-8", map[string]string{"p.yaml": "version: 1\nname: caf\xe9\n"}, []string{"p.yaml:2:10: byte 0xe9 is not UTF-8 (save the file as UTF-8)"}},
		badCase{"a tab", map[string]string{"p.yaml": "version: 1\nfilesystem:\n\t- {path: /usr, mode: ro}\n"}, []string{"p.yaml:3:1: a tab in the indentation (YAML is indented with spaces)"}},
		badCase{"10 MB", map[string]string{"p.yaml": "version: 1\n" + strings.Repeat("# comment\n", 1<<20)},
			[]string{"p.yaml: larger than 1024 KiB (name a readable YAML file, or a profile that 'jail profiles' lists)"}},
		badCase{"deep nesting", map[string]string{"p.yaml": "version: 1\nvars: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n"},
			[]string{"p.yaml:2:39: nested more than 32 levels deep (no key of a profile needs more than ten)"}},
		badCase{"a FIFO as the profile", map[string]string{"p.yaml": "FIFO"}, []string{"p.yaml: not a regular file (name a readable YAML file, or a profile that 'jail profiles' lists)"}},
	)
}

// badHome makes a home with what the cases name.
func badHome(t *testing.T) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "user")
	for _, dir := range []string{".ssh", ".config/jail/profiles", ".local/state", "data", "work/app", "out"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(home, ".ssh/id_ed25519"), []byte("key"), 0o600),
		os.WriteFile(filepath.Join(home, "data/notes.txt"), nil, 0o644),
		os.WriteFile(filepath.Join(home, "unreadable"), nil, 0),
		os.WriteFile(filepath.Join(home, "work/app/.env"), nil, 0o644),
		os.Symlink(filepath.Join(home, ".ssh"), filepath.Join(home, "work/link")),
		os.Symlink("gone", filepath.Join(home, "dangling")),
		os.Symlink("loop2", filepath.Join(home, "loop")),
		os.Symlink("loop", filepath.Join(home, "loop2")),
		syscall.Mkfifo(filepath.Join(home, "fifo"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// Paths of the machine that policy's table was made for: what is said of them, or whether they are there, differs.
var itsMachine = []string{"/srv/", "/dev/", "/sys", "/home/user/", "~/work", "br0", "cpu-affinity", "hugepages"}

// TestBadInput has every mistake that policy's table has answered by jail itself: `check` exits with 1, a run with 125,
// both say the same, word by word, and nothing is started.
func TestBadInput(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	cases := badCases(t)
	exact := 0
	for _, c := range append([]badCase{{"control", map[string]string{"p.yaml": "version: 1\nextends: [default]\n"}, nil}}, cases...) {
		home := badHome(t)
		dir := filepath.Join(home, "work")
		run := func(args ...string) (string, int) {
			cmd := exec.Command(need.Jail(t), args...)
			cmd.Dir = dir
			cmd.Env = []string{"HOME=" + home, "USER=user", "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "TERM=xterm",
				"EMPTY=", "DOTS=/srv/../etc", "RELATIVE=some/dir", "STAR=/home/*", "HOMEDIR=" + home, "DATA=/srv/data", "PLAIN=name"}
			var said bytes.Buffer
			cmd.Stderr = &said
			var exit *exec.ExitError
			if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			return strings.ReplaceAll(said.String(), home, "/home/user"), cmd.ProcessState.ExitCode()
		}
		elsewhere := false
		for name, text := range c.files {
			path := filepath.Join(dir, name)
			if rest, ok := strings.CutPrefix(name, "/home/user/"); ok {
				path = filepath.Join(home, rest)
			}
			var err error
			if text == "FIFO" {
				err = syscall.Mkfifo(path, 0o644)
			} else {
				err = os.WriteFile(path, []byte(text), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, its := range itsMachine {
				elsewhere = elsewhere || strings.Contains(text, its)
			}
		}
		out := filepath.Join(home, "out")
		started := filepath.Join(out, "started")
		checked, code := run("check", "p.yaml")
		ran, ranCode := run("-p", "p.yaml", "--bind", out, "touch", started)
		_, err := os.Stat(started)
		if c.said == nil {
			if code != 0 || ranCode != 0 || err != nil {
				t.Fatalf("control: exit codes %d and %d, %v\n%s%s", code, ranCode, err, checked, ran)
			}
			continue
		}
		if code != 1 || ranCode != 125 || err == nil {
			t.Errorf("%s: check exits with %d, want 1; the run with %d, want 125; started: %t\n%s", c.name, code, ranCode, err == nil, checked)
		}
		want := printed(c.said)
		for _, line := range strings.SplitAfter(want, "\n") {
			if !elsewhere && !strings.Contains(ran, line) {
				t.Errorf("%s: the run says\n%s\nwithout %s", c.name, ran, line)
			}
		}
		if checked == want {
			exact++
		} else if !elsewhere {
			t.Errorf("%s: check says\n%s\nwant\n%s", c.name, checked, want)
		}
	}
	t.Logf("%d of %d cases word by word; in the others the machine differs from that of the table", exact, len(cases))
}

// printed is what `check` prints of problems.
func printed(problems []string) string {
	var b strings.Builder
	for _, p := range problems {
		text, fix := p, ""
		if strings.HasSuffix(p, ")") {
			at, open := len(p)-1, 1
			for open > 0 && at > 0 {
				at--
				open += strings.Count(p[at:at+1], ")") - strings.Count(p[at:at+1], "(")
			}
			text, fix = strings.TrimSuffix(p[:at], " "), p[at+1:len(p)-1]
		}
		b.WriteString("jail: " + text + "\n")
		if fix != "" {
			b.WriteString("  hint: " + fix + "\n")
		}
	}
	return b.String()
}
