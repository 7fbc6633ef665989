package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A pane is a terminal of tmux.
type pane struct {
	t      *testing.T
	tmux   string
	socket string
}

// newPane is a terminal with a shell in it.
func newPane(t *testing.T, u *user) *pane {
	t.Helper()
	u.env = append(u.env, "PATH="+filepath.Dir(need.Jail(t))+":"+os.Getenv("PATH"))
	p := newTerminal(t, u, "bash --norc --noprofile")
	p.line("PS1=outside'> '")
	p.sees("outside>")
	return p
}

// newTerminal runs a command in a terminal of its own, until the end of the test.
func newTerminal(t *testing.T, u *user, command string) *pane {
	t.Helper()
	p := &pane{t, need.Program(t, "tmux"), filepath.Join(t.TempDir(), "tmux")}
	cmd := exec.Command(p.tmux, "-S", p.socket, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", command)
	cmd.Dir = u.home
	cmd.Env = append(u.env, "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(p.tmux, "-S", p.socket, "kill-server").Run() })
	return p
}

func (p *pane) do(args ...string) string {
	p.t.Helper()
	out, err := exec.Command(p.tmux, append([]string{"-S", p.socket}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (p *pane) types(keys ...string) { p.t.Helper(); p.do(append([]string{"send-keys"}, keys...)...) }

func (p *pane) line(text string) { p.t.Helper(); p.do("send-keys", "-l", text); p.types("Enter") }

func (p *pane) screen() string { return p.do("capture-pane", "-p") }

// sees waits until a line of the screen is the text, or ends with it.
func (p *pane) sees(text string) {
	p.t.Helper()
	p.waits(text, func(line string) bool { return line == text || strings.HasSuffix(line, text) })
}

// shows waits until a line of the screen contains the text.
func (p *pane) shows(text string) {
	p.t.Helper()
	p.waits(text, func(line string) bool { return strings.Contains(line, text) })
}

func (p *pane) waits(text string, holds func(line string) bool) {
	p.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		screen := p.screen()
		for _, line := range strings.Split(screen, "\n") {
			if holds(strings.TrimRight(line, " ")) {
				return
			}
		}
		if time.Now().After(end) {
			p.t.Fatalf("no line %q on the screen:\n%s", text, screen)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// foreground waits until a program of that name, started with mark in its arguments, has a terminal to itself: keys
// that come earlier would be somebody else's.
func (p *pane) foreground(program, mark string) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		files, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, f := range files {
			stat, _ := os.ReadFile(f)
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			_, rest, ok := strings.Cut(string(stat), "("+program+") ") // proc_pid_stat(5)
			fields := strings.Fields(rest)
			if ok && len(fields) > 5 && strings.Contains(string(args), mark) && strings.Contains("RS", fields[0]) && fields[2] == fields[5] {
				return
			}
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s %s has no terminal in the foreground:\n%s", program, mark, p.screen())
		}
	}
}

// gone waits until no process has mark in its arguments: jail, as long as it serves the terminal, takes for its program
// what is typed for the shell.
func (p *pane) gone(mark string) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := false
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			args, _ := os.ReadFile(f)
			left = left || strings.Contains(string(args), mark)
		}
		if !left {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s is still there:\n%s", mark, p.screen())
		}
	}
}

// unique is an argument for sleep that no other process has.
func unique() string { return fmt.Sprintf("%d.%d", 1000000+os.Getpid(), time.Now().Nanosecond()) }

func TestAnInteractiveShell(t *testing.T) {
	u := newUser(t)
	need.Program(t, "vim")
	p := newPane(t, u)
	p.line("jail --profile shell bash --norc -i; echo left $?")
	p.line("PS1=inside'> '")
	p.sees("inside>")
	p.line("echo size $(stty size)")
	p.sees("size 30 100")
	p.do("resize-window", "-x", "121", "-y", "37")
	p.line("echo size $(stty size)")
	p.sees("size 37 121")
	p.line("tty")
	p.sees("/dev/pts/0")

	mark := unique()
	p.line("sleep " + mark)
	p.foreground("sleep", mark)
	p.types("C-z")
	p.sees("Stopped                 sleep " + mark)
	p.line("fg; echo after $?")
	p.foreground("sleep", mark)
	p.types("C-c")
	p.line("echo status $?")
	p.sees("status 130")

	p.line("vim -u NONE /tmp/note")
	p.shows(`"/tmp/note" [New`)
	p.types("i", "written in vim", "Escape")
	p.types(":wq", "Enter")
	p.line("clear; cat /tmp/note")
	p.sees("written in vim")

	p.line("exit 7")
	p.sees("left 7")
	p.line("stty -a | grep -o ' icanon\\| echo ' | tr -d '\\n'; echo .")
	p.sees(" icanon echo .")
}

// Ctrl-Z of a program that is not itself a shell stops jail as a job of the caller's shell.
func TestStoppingAndContinuing(t *testing.T) {
	u := newUser(t)
	p := newPane(t, u)
	mark := unique()
	p.line("jail --profile shell sh -c 'while :; do sleep 0.1; done' " + mark)
	p.foreground("sh", mark)
	p.types("C-z")
	p.shows("Stopped")
	p.line("clear; jobs | cut -d' ' -f1-3; echo looked")
	p.sees("looked")
	p.sees("[1]+  Stopped")
	p.line("fg")
	p.foreground("sh", mark)
	p.types("C-c")
	p.gone(mark)
	p.line("echo code $?")
	p.sees("code 130")
}

// The caller's terminal is as it was even after jail was killed, and nothing was typed into it.
func TestTheTerminalAfterAKill(t *testing.T) {
	u := newUser(t)
	p := newPane(t, u)
	p.line("jail --profile shell sh -c 'echo up; sleep 1000'; echo code $?")
	p.sees("up")
	pids, err := exec.Command("pgrep", "-f", "^jail --profile shell sh -c echo up", "-u", fmt.Sprint(os.Getuid())).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(pids)) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		// The supervisor takes those along that bear its command line.
		if err := unix.Kill(n, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
	p.sees("code 137")
	// The watcher puts the settings back when it notices, which may be after the shell has its prompt.
	p.line("until stty -a | grep -q ' icanon' && stty -a | grep -q ' echo '; do sleep 0.1; done; clear; echo settings are back")
	p.sees("settings are back")
}

// Somebody else's bundle says that it wants no terminal of its own, or says nothing. The caller's is not handed in all
// the same, unless an annotation says so in words.
func TestABundlesTerminal(t *testing.T) {
	u := newUser(t)
	u.profile("plain", "extends: [base]\n")
	bundle := filepath.Join(u.home, "bundle")
	u.must("compile", "--bundle", bundle, "-p", "plain", "--", "sh", "-c", "stat -L -c '%d:%i' /dev/fd/0 /dev/fd/1 /dev/fd/2 | sort -u; tty")
	config := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	p := newPane(t, u)
	p.line("stat -L -c '%d:%i' /dev/fd/0 > mine; clear")
	p.sees("outside>")
	for i, c := range []struct{ name, annotation, terminal string }{
		{"as jail writes it", "", "/dev/pts/0"}, {"without the annotation", "-", "/dev/pts/0"},
		{"auto", "auto", "/dev/pts/0"}, {"never: the control", "never", "not a tty"},
	} {
		var spec map[string]any
		if err := json.Unmarshal(text, &spec); err != nil {
			t.Fatal(err)
		}
		annotations := spec["annotations"].(map[string]any)
		switch c.annotation {
		case "":
		case "-":
			delete(annotations, "dev.jail.terminal")
		default:
			annotations["dev.jail.terminal"] = c.annotation
		}
		spec["process"].(map[string]any)["terminal"] = false
		changed, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		p.line(fmt.Sprintf("clear; jail run --bundle %s; echo run''%d", bundle, i))
		p.sees(fmt.Sprintf("run%d", i))
		mine, err := os.ReadFile(filepath.Join(u.home, "mine"))
		if err != nil {
			t.Fatal(err)
		}
		screen := p.screen()
		if handed := strings.Contains(screen, strings.TrimSpace(string(mine))); handed != (c.annotation == "never") || !strings.Contains(screen, c.terminal) {
			t.Errorf("%s: the caller's terminal is %s, inside is\n%s", c.name, mine, screen)
		}
	}
}
