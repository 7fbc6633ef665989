//go:build amd64

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jail/test/need"
)

// A shortage is a machine, or a caller, that lacks something.
type shortage struct {
	name string
	// shell is done before jail is executed, by bash as the caller; with mounts, as root of a user and a mount namespace of
	// its own, after which jail is started as the caller again.
	shell  string
	mounts bool
	env    []string // instead of what is there; NAME alone takes a variable away
	flags  []string // of jail
	// runs says that it must run all the same. Otherwise it may refuse: 125 and a message.
	runs bool
	// runtime says that Go's runtime may be what gives up, in its own words.
	runtime bool
}

var shortages = []shortage{
	{name: "nothing", runs: true},
	{name: "24 descriptors", shell: "ulimit -n 24", runs: true},
	{name: "8 descriptors", shell: "ulimit -n 8"},
	{name: "no file may be written", shell: "ulimit -f 0"},
	{name: "no process more", shell: "ulimit -u 1", runtime: true},
	{name: "no process more, with a network", shell: "ulimit -u 1", flags: []string{"--set", "network.mode=veth"}, runtime: true},
	{name: "64 MiB of addresses", shell: "ulimit -v 65536", runtime: true},
	{name: "1 GiB of addresses", shell: "ulimit -v 1048576", runtime: true},
	{name: "2 GiB of addresses", shell: "ulimit -v 2097152", runtime: true},
	{name: "64 MiB of data", shell: "ulimit -d 65536", runtime: true},
	{name: "no locked memory", shell: "ulimit -l 0", runs: true},
	{name: "no queued signals", shell: "ulimit -i 0", runs: true},
	{name: "no stack to speak of", shell: "ulimit -s 64", runtime: true},

	{name: "a full disk", mounts: true, shell: `mount -t tmpfs -o size=64k none "$HOME"; cat /dev/zero > "$HOME/full" 2>/dev/null || true`, runs: true},
	{name: "a full disk for a persistent home", mounts: true, shell: `mount -t tmpfs -o size=64k none "$HOME"; cat /dev/zero > "$HOME/full" 2>/dev/null || true`,
		flags: []string{"--set", "filesystem=[{path: /data, persist: full}]"}},
	{name: "no inodes", mounts: true, shell: `mount -t tmpfs -o nr_inodes=3 none "$HOME"; touch "$HOME/a" "$HOME/b" "$HOME/c" 2>/dev/null || true`, runs: true},
	{name: "no inodes for a persistent home", mounts: true, shell: `mount -t tmpfs -o nr_inodes=3 none "$HOME"; touch "$HOME/a" "$HOME/b" "$HOME/c" 2>/dev/null || true`,
		flags: []string{"--set", "filesystem=[{path: /data, persist: full}]"}},
	{name: "a read-only home", mounts: true, shell: `mount -t tmpfs -o ro none "$HOME"`, runs: true},
	{name: "a read-only home and a persistent one", mounts: true, shell: `mount -t tmpfs -o ro none "$HOME"`, flags: []string{"--set", "filesystem=[{path: /data, persist: full}]"}},
	{name: "a home that nothing may be executed in", mounts: true, shell: `mount -t tmpfs -o noexec none "$HOME"`, runs: true},
	{name: "a home of somebody else's", mounts: true, shell: `mount -t tmpfs -o mode=0 none "$HOME"`},
	{name: "no /tmp", mounts: true, shell: `mount -t tmpfs -o mode=0 none /tmp`, runs: true},
	{name: "no /sys", mounts: true, shell: `mount -t tmpfs none /sys`, runs: true},
	{name: "an empty /dev", mounts: true, shell: `mount -t tmpfs none /dev`},

	{name: "no HOME", env: []string{"HOME"}, runs: true},
	{name: "an empty HOME", env: []string{"HOME="}},
	{name: "a relative HOME", env: []string{"HOME=some/where"}},
	{name: "a HOME that is not there", env: []string{"HOME=/nowhere/at/all"}},
	{name: "no environment at all", env: []string{"HOME", "PATH", "LANG"}},
	{name: "no runtime folder", env: []string{"XDG_RUNTIME_DIR"}, runs: true},
	{name: "a runtime folder that is not there", env: []string{"XDG_RUNTIME_DIR=/run/user/nobody"}, runs: true},
	{name: "a relative runtime folder", env: []string{"XDG_RUNTIME_DIR=run"}},
	{name: "a runtime folder of root's", env: []string{"XDG_RUNTIME_DIR=/run"}},
	{name: "a runtime folder for everybody", shell: `mkdir -m 0777 "$HOME/run"; XDG_RUNTIME_DIR="$HOME/run"; export XDG_RUNTIME_DIR`},
	{name: "a runtime folder that is a link", shell: `ln -s /tmp "$HOME/run"; XDG_RUNTIME_DIR="$HOME/run"; export XDG_RUNTIME_DIR`},
	{name: "a runtime folder that is a file", env: []string{"XDG_RUNTIME_DIR=/etc/passwd"}},
	{name: "a cache for everybody", shell: `mkdir -p "$HOME/c/jail/seccomp"; chmod -R 0777 "$HOME/c"; XDG_CACHE_HOME="$HOME/c"; export XDG_CACHE_HOME`, runs: true},
	{name: "a cache that is a file", shell: `touch "$HOME/c"; XDG_CACHE_HOME="$HOME/c"; export XDG_CACHE_HOME`, runs: true},
	{name: "a cache that is a link", shell: `ln -s /nowhere "$HOME/c"; XDG_CACHE_HOME="$HOME/c"; export XDG_CACHE_HOME`, runs: true},
	{name: "profiles for everybody", shell: `mkdir -p "$HOME/p/jail/profiles"; chmod -R 0777 "$HOME/p"; XDG_CONFIG_HOME="$HOME/p"; export XDG_CONFIG_HOME`},
	{name: "a state folder for everybody, and a persistent home", shell: `mkdir -p "$HOME/s/jail"; chmod -R 0777 "$HOME/s"; XDG_STATE_HOME="$HOME/s"; export XDG_STATE_HOME`,
		flags: []string{"--set", "filesystem=[{path: /data, persist: full}]"}},

	{name: "no standard input", shell: "exec 0<&-", runs: true},
	{name: "a clock that jumps", mounts: true, shell: "", flags: []string{"--set", "process.timeout=1h"}, runs: true},
	{name: "a working directory that is gone", shell: `mkdir "$HOME/gone"; cd "$HOME/gone"; rmdir "$HOME/gone"`},
}

// TestShortages starts sandboxes where something is used up, missing or somebody else's: a right run, or a clear error.
func TestShortages(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	for _, c := range shortages {
		t.Run(c.name, func(t *testing.T) {
			home, err := os.MkdirTemp("/var/tmp", "jail-home-")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = exec.Command("chmod", "-R", "u+rwx", home).Run(); _ = os.RemoveAll(home) }()
			out, errs, code := c.start(t, home)
			right := code == 0 && out == "ran\n"
			told := code == 125 && strings.HasPrefix(errs, "jail: ") && !strings.Contains(errs, "goroutine ")
			gaveUp := c.runtime && out == "" && code != 0 && errs != ""
			if right || !c.runs && told || gaveUp {
				t.Logf("ran %t %s", right, strings.TrimSpace(firstLine(errs)))
				return
			}
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		})
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// start runs jail in the shortage. Nothing may be waited for longer than a minute, which is generous.
func (c *shortage) start(t *testing.T, home string) (out, errs string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := append(append([]string{need.Jail(t), "-p", "default"}, c.flags...), "--", "sh", "-c", "echo ran")
	script := c.shell + "\nexec \"$@\""
	if c.mounts {
		back := fmt.Sprintf("unshare --user --map-user=%d --map-group=%d --", os.Getuid(), os.Getgid())
		if c.name == "a clock that jumps" {
			back = fmt.Sprintf("unshare --user --map-user=%d --map-group=%d --time --monotonic 100000000 --boottime 100000000 --fork --", os.Getuid(), os.Getgid())
		}
		script = c.shell + "\nexec " + back + " \"$@\""
		command = append([]string{"unshare", "--user", "--map-root-user", "--mount", "--", "/bin/bash", "-e", "-c", script, "bash"}, command...)
	} else {
		command = append([]string{"/bin/bash", "-e", "-c", script, "bash"}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = "/"
	env := map[string]string{"HOME": home, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
	for _, e := range c.env {
		name, value, set := strings.Cut(e, "=")
		if env[name] = value; !set {
			delete(env, name)
		}
	}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "NOTHING=") // os/exec takes an empty list for its own environment
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Errorf("not over after a minute")
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// TestManyAtOnce starts 500 sandboxes at the same time with JAIL_TEST_FULL=1, and 50 otherwise. Each runs right, or says
// why it does not: a user's processes, keys and namespaces are counted.
func TestManyAtOnce(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	count := 50
	if os.Getenv("JAIL_TEST_FULL") != "" {
		count = 500
	}
	home := t.TempDir()
	var mu sync.Mutex
	ran, refused := 0, 0
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			cmd := exec.Command(need.Jail(t), "-p", "default", "--", "sh", "-c", fmt.Sprintf("sleep 5; echo %d", i))
			cmd.Dir, cmd.Env = "/", []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			mu.Lock()
			defer mu.Unlock()
			switch code := cmd.ProcessState.ExitCode(); {
			case code == 0 && stdout.String() == fmt.Sprintf("%d\n", i):
				ran++
			case code == 125 && stdout.Len() == 0 && strings.HasPrefix(stderr.String(), "jail: "):
				refused++
				t.Logf("refused: %s", firstLine(stderr.String()))
			default:
				t.Errorf("sandbox %d: exit code %d\n%s%s", i, code, stdout.String(), stderr.String())
			}
		})
	}
	all.Wait()
	t.Logf("%d at once: %d ran, %d were refused", count, ran, refused)
	if ran == 0 {
		t.Error("none ran")
	}
	if left, _ := filepath.Glob(home + "/.cache/jail/seccomp/*"); len(left) != 1 {
		t.Errorf("left in the cache: %v", left)
	}
}
