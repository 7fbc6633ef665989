package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// A readme is what the README shows: the commands of its consoles with what they print, those of its tables, and its
// profiles.
type readme struct {
	commands []string
	prints   map[string]string
	profiles []string
}

var (
	fence    = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```")
	tableRow = regexp.MustCompile("(?m)^\\| (`jail [^|]*) \\|")
	inTicks  = regexp.MustCompile("`(jail [^`]*)`")
	behind   = regexp.MustCompile(` {2,}# .*$`)
)

func readReadme(t *testing.T) readme {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(need.Tree(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := readme{prints: map[string]string{}}
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "yaml" {
			r.profiles = append(r.profiles, block[2])
			continue
		}
		command := ""
		for line := range strings.Lines(block[2]) {
			if rest, ok := strings.CutPrefix(line, "$ "); ok {
				command = behind.ReplaceAllString(strings.TrimSuffix(rest, "\n"), "")
				r.commands = append(r.commands, command)
				continue
			}
			r.prints[command] += line
		}
	}
	for _, row := range tableRow.FindAllStringSubmatch(string(text), -1) {
		for _, c := range inTicks.FindAllStringSubmatch(row[1], -1) {
			r.commands = append(r.commands, c[1])
		}
	}
	return r
}

// TestREADME types what the README shows, as it is printed, and compares what it prints. Commands that would wait for
// somebody, or that need a name, get the rest of their line here.
func TestREADME(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	for _, program := range []string{"make", "vim", "curl", "firefox-esr"} {
		need.Program(t, program)
	}
	r := readReadme(t)
	if len(r.profiles) != 2 || len(r.commands) < 25 {
		t.Fatalf("%d profiles and %d commands were found", len(r.profiles), len(r.commands))
	}
	notes := r.profiles[0]
	for _, c := range r.commands {
		x, known := readmeRuns[c]
		printed := r.prints[c]
		for i := range max(1, len(x)) {
			run := readmeRun{}
			if known {
				run = x[i]
			}
			if run.elsewhere != "" {
				continue
			}
			home := readmeHome(t)
			text := notes
			switch run.notes {
			case "network":
				text = strings.Replace(notes, "network: {mode: none}\n", r.profiles[1], 1)
			case "mistake":
				text = strings.Replace(notes, "mode: rw", "mode: wr", 1)
			}
			if err := os.WriteFile(filepath.Join(home, "project/notes.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, code := readmeShell(t, home, run.before, c+run.rest, run.stdin)
			if code != run.code {
				t.Errorf("%s%s: exit code %d, want %d\n%s", c, run.rest, code, run.code, got)
			}
			if want := run.says; !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s%s: prints\n%s\nwant %s", c, run.rest, got, want)
			}
			if run.asPrinted && !slices.Equal(sortedLines(got), sortedLines(printed)) {
				t.Errorf("%s: prints\n%s\nin the README\n%s", c, got, printed)
			}
		}
	}
	for c := range readmeRuns {
		if !strings.Contains(strings.Join(r.commands, "\n")+"\n", c+"\n") {
			t.Errorf("the README does not show %q any more", c)
		}
	}
}

// sortedLines leaves the order of two programs' messages aside.
func sortedLines(text string) []string { return slices.Sorted(strings.Lines(text)) }

// A readmeRun is how one command is run here.
type readmeRun struct {
	before    string // typed before it
	rest      string // of its line
	stdin     string
	notes     string // which notes.yaml lies there: "", network or mistake
	code      int
	says      string // an expression that what it prints matches
	asPrinted bool   // what it prints stands below it in the README
	elsewhere string // where it is run, if not here
}

var readmeRuns = map[string][]readmeRun{
	"jail --profile browser.yaml firefox":        {{rest: "-esr --version", says: "Mozilla Firefox"}},
	"jail -p build --bind . -- make -j4":         {{says: "built"}},
	"jail --hide '~/work/**/.env' -p shell bash": {{stdin: "cat ~/work/.env; echo $?"}},
	"make run":                {{elsewhere: ".ci/run, as TestBrowsersRenderAPage does the same"}},
	"make test":               {{elsewhere: ".ci/run"}},
	"jail explain notes.yaml": {{says: "~/notes|/notes"}},
	"jail -p notes.yaml vim":  {{rest: " --version", says: "VIM - Vi IMproved"}, {notes: "mistake", code: 125, says: "6:27", asPrinted: true}},
	"jail -p notes.yaml curl https://example.com": {{rest: " --silent --show-error", notes: "network", code: 6, says: "is refused to curl", asPrinted: true}},
	"jail run --bundle DIR":                       {{before: "jail compile --bundle DIR -- echo from a bundle", says: "(?m)^from a bundle$"}},
	"jail approve":                                {{before: "echo 'version: 1' > .jail.yaml", says: "approved"}},
	"jail --report make":                          {{says: "built"}},
	"jail stats --watch":                          {{elsewhere: "test/integration, which has terminals"}},
	"jail exec NAME PROGRAM":                      {{before: background, code: 127, says: "PROGRAM: not found"}, {before: background, rest: " || jail exec NAME uname", says: "(?m)^Linux$"}},
	"jail shell NAME":                             {{before: background, stdin: "uname", says: "^Linux"}},
	"jail stop NAME":                              {{before: background}},
	"jail net log NAME":                           {{before: background, code: 125, says: "has network mode none"}},
	"jail net top NAME":                           {{before: background, code: 125, says: "has network mode none"}},
	"jail run --detach NAME":                      {{code: 127, says: "NAME: not found"}, {rest: " 2>/dev/null || jail run --detach -- true"}},
	"jail logs NAME":                              {{before: "jail run --detach --name NAME -- echo kept; jail wait NAME", says: "(?m)^kept$"}},
	"jail wait NAME":                              {{before: "jail run --detach --name NAME -- sh -c 'exit 7'", code: 7}},
	"jail edit firefox":                           {{before: "export EDITOR=true"}},
	"jail diff firefox chromium":                  {{code: 1, says: "firefox"}},
	`eval "$(jail alias --all)"`:                  {{before: "export SHELL=/bin/bash", rest: "; alias curl", says: "jail run"}},
	`eval "$(jail completion bash)"`:              {{rest: "; complete -p jail", says: "jail"}},
	"jail install firefox mpv":                    {{before: "export PATH=$PATH:$HOME/.local/bin"}},
}

const background = "jail --name NAME -p shell sleep 60 & trap 'kill $!' EXIT; until jail ps | grep -q '^NAME  *shell'; do sleep 0.05; done"

// readmeHome is a home with the folders that the README speaks of.
func readmeHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for name, text := range map[string]string{
		"notes/plain": "", "work/.env": "secret", "Downloads/x": "", "project/Makefile": "all:\n\t@echo built\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func readmeShell(t *testing.T, home, before, command, stdin string) (string, int) {
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limit, "bash", "-c", "shopt -s expand_aliases\n"+before+"\n"+command)
	cmd.Dir = filepath.Join(home, "project")
	cmd.Env = []string{"HOME=" + home, "USER=somebody", "PATH=" + filepath.Dir(need.Jail(t)) + ":/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "TERM=xterm"}
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Errorf("%s: %v", command, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
