// Package cli tests the promises of the README, one script each, with the built program and real sandboxes.
package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"jail/test/filters"
	"jail/test/need"
)

func TestPromises(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	jail := need.Jail(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("USER", "somebody")
			env.Setenv("PATH", filepath.Dir(jail)+":/usr/local/bin:/usr/bin:/bin")
			env.Setenv("JAIL", jail)
			env.Setenv("LANG", "C.UTF-8")
			for _, name := range []string{"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "NO_COLOR"} {
				env.Setenv(name, "")
			}
			if err := os.MkdirAll(home, 0o700); err != nil {
				return err
			}
			env.Defer(func() {
				if err := filters.Keep(home); err != nil {
					env.T().Fatal(err)
				}
			})
			return filters.Lend(home)
		},
		Condition: func(cond string) (bool, error) {
			var major, minor int
			if _, err := fmt.Sscanf(cond, "linux-%d.%d", &major, &minor); err != nil {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			have := need.KernelVersion(t)
			return have[0] > major || have[0] == major && have[1] >= minor, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode, "jail-in-background": inBackground},
	})
}

// exits runs a command and compares its exit code: exits CODE PROGRAM ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mode compares a file's permission bits: mode 700 FILE
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode OCTAL FILE")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().Perm(); got != os.FileMode(want) {
		ts.Fatalf("%s has mode %o, want %o", args[1], got, want)
	}
}

// inBackground starts a named sandbox and waits until it is listed; it is ended with the script:
// jail-in-background NAME PROGRAM ARGS...
func inBackground(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: jail-in-background NAME PROGRAM [ARGS...]")
	}
	jail := ts.Getenv("JAIL")
	cmd := exec.Command(jail, append([]string{"--name", args[0], "--"}, args[1:]...)...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH")}
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 1000 {
		list := exec.Command(jail, "ps")
		list.Env = cmd.Env
		out, err := list.Output()
		ts.Check(err)
		if strings.Contains(string(out), "\n"+args[0]+" ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s does not run", args[0])
}
