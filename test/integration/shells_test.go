package integration

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jail/test/need"
)

// theShells are those that jail writes for: how each is started without a setting of anybody's, evaluates what is
// printed, says its prompt, and names the words that are its own.
var theShells = []struct{ name, start, eval, prompt, own string }{
	{"bash", "bash --norc --noprofile", `eval "$(jail alias --shell bash cat)"`, `PS1=ready'> '`, `bash --norc -c 'compgen -bk'`},
	{"zsh", "zsh -f", `eval "$(jail alias --shell zsh cat)"`, `PS1=ready'> '`, `zsh -f -c 'print -l ${(k)builtins} ${(k)reswords}'`},
	{"fish", "fish --no-config", `jail alias --shell fish cat | source`, `function fish_prompt; echo ready'> '; end`, `fish --no-config -c 'builtin --names'`},
}

// What is typed starts the program itself before, and in its sandbox after: by an alias, and by a wrapper.
func TestAliasesAndWrappersInShells(t *testing.T) {
	for _, s := range theShells {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			need.Program(t, s.name)
			u := newUser(t)
			u.write("letter", "what the letter says\n")
			u.profile("cat", "extends: [default]\nprograms: [cat]\n")
			u.env = append(u.env, "PATH="+u.home+"/.local/bin:"+filepath.Dir(need.Jail(t))+":/usr/bin:/bin", "XDG_DATA_HOME=", "FISH_UNIT_TESTS_RUNNING=1")

			// The names of the shell's own are refused, as many as it has here.
			cmd := exec.Command("sh", "-c", s.own)
			cmd.Env = u.env
			words, err := cmd.Output()
			if err != nil || len(strings.Fields(string(words))) < 40 {
				t.Fatalf("%v: the shell names %q", err, words)
			}
			for word := range strings.FieldsSeq(string(words)) {
				if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" { // no name of a program
					continue
				}
				if _, errs, code := u.run("alias", "--shell", s.name, word); code != 125 || !strings.Contains(errs, "is a command of "+s.name+"'s own") {
					t.Errorf("alias %s: exit code %d, %s", word, code, errs)
				}
			}

			p := newTerminal(t, u, s.start)
			p.line(s.prompt)
			p.sees("ready>")
			p.line("cat letter")
			p.sees("what the letter says")
			p.line("clear; " + s.eval)
			p.line("cat letter")
			p.sees("cat: letter: No such file or directory")
			p.line("exit")

			u.must("install", "cat")
			p = newTerminal(t, u, s.start)
			p.line(s.prompt)
			p.sees("ready>")
			p.line("cat letter")
			p.sees("cat: letter: No such file or directory")
			u.must("uninstall", "cat")
			p = newTerminal(t, u, s.start)
			p.line(s.prompt)
			p.sees("ready>")
			p.line("cat letter")
			p.sees("what the letter says")
		})
	}
}

// snapshot describes every file of a folder: type and permissions, and for all but folders, which change as names come
// and go, the content, the owner and the time.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(strings.TrimPrefix(path, dir), " ", st.Mode())
		if st.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s %q", st.ModTime(), text)
		} else if st.Mode()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprint(" ", st.ModTime(), " -> ", to)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A home is after install and uninstall what it was before, file by file: an empty one, and one that has all the
// folders with files of the user's in them.
func TestUninstallLeavesTheHomeAsItWas(t *testing.T) {
	for _, lived := range []bool{false, true} {
		for _, all := range []bool{false, true} {
			u := newUser(t)
			u.write("data/applications/editor.desktop", "[Desktop Entry]\nType=Application\nName=Editor\nExec=vi %f\n")
			u.env = append(u.env, "XDG_DATA_DIRS="+u.home+"/data", "XDG_DATA_HOME=", "XDG_STATE_HOME=")
			for _, name := range []string{"vi", "tar", "gzip"} {
				if err := os.Chmod(u.write("programs/"+name, "#!/bin/sh\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			u.env = append(u.env, "PATH="+u.home+"/.local/bin:"+u.home+"/programs:/usr/bin:/bin")
			if lived {
				u.write(".local/bin/mine", "#!/bin/sh\n")
				u.write(".local/share/applications/mine.desktop", "[Desktop Entry]\nName=Mine\n")
				u.write(".local/state/jail/home/vim/kept", "a home of its own\n")
				for dir, mode := range map[string]fs.FileMode{".local/bin": 0o750, ".local/share/applications": 0o711, ".local/state/jail": 0o700} {
					if err := os.Chmod(filepath.Join(u.home, dir), mode); err != nil {
						t.Fatal(err)
					}
				}
			}
			u.must("check", "vim") // what the first run of jail itself leaves in its cache
			before := snapshot(t, u.home)
			names := []string{"vi", "tar", "gzip"}
			made := u.must(append([]string{"install"}, names...)...)
			if n := strings.Count(made, "made "); n != 4 || len(snapshot(t, u.home)) < len(before)+4 {
				t.Fatalf("%d files are told of:\n%s", n, made)
			}
			if all {
				u.must("uninstall", "--all")
			} else {
				u.must(append([]string{"uninstall"}, names...)...)
			}
			if after := snapshot(t, u.home); !slices.Equal(before, after) {
				t.Errorf("lived in: %t, with --all: %t: before\n%s\nafter\n%s", lived, all, strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			if out := u.must("installed"); strings.Contains(out, "starts") {
				t.Errorf("still installed: %s", out)
			}
		}
	}
}

// Help and lists are folded between words where the terminal has fewer columns than they are written for.
func TestTextsFitTheTerminal(t *testing.T) {
	u := newUser(t)
	p := newPane(t, u)
	p.do("resize-window", "-x", "60", "-y", "40")
	p.line("clear; stty size; jail stop --help")
	p.sees("40 60")
	p.sees("when the time is up is ended with all that runs in it. The")
	p.line("clear; jail profiles | grep -c 'Your Music, Pictures, Videos and Downloads, read-only.'")
	p.sees("1")
	p.line("clear; jail profiles")
	p.sees("media       Your Music, Pictures, Videos and Downloads,")
}
