package cgroup

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// alive says whether a process still runs; a zombie does not.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// mine lists the groups and scopes that jail has made and not removed, anywhere in the hierarchies.
func mine(t testing.TB) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// watchers lists the watcher processes of this test program.
func watchers(t testing.TB) []string {
	t.Helper()
	var all []string
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, _ := os.ReadFile(f); strings.TrimSpace(string(text)) == "jail-sweep" && alive(pidOf(f)) && ofThisProgram(f) {
			all = append(all, f)
		}
	}
	return all
}

// ofThisProgram tells this test's processes from those of jails that other tests run meanwhile.
func ofThisProgram(comm string) bool {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return true
	}
	exe, err := os.Stat(filepath.Join(filepath.Dir(comm), "exe"))
	return err != nil || os.SameFile(own, exe)
}

func pidOf(file string) int {
	pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
	return pid
}

// killAtRandom kills supervisors with SIGKILL at random moments of their first milliseconds, and sees to it that
// nothing is left of them. Every third is killed when its program runs.
func killAtRandom(t *testing.T, times int, o order, within time.Duration) {
	t.Helper()
	o.Options.Name += strconv.Itoa(os.Getpid())
	made := 0
	for i := range times {
		cmd, tells := start(t, o)
		ready := make(chan outcome, 1)
		go func() {
			var out outcome
			if tells.Decode(&out) == nil {
				ready <- out
			}
		}()
		if i%3 == 0 {
			select {
			case out := <-ready:
				if out.Err != "" {
					t.Fatal(out.Err)
				}
				made++
			case <-time.After(30 * time.Second):
				t.Fatal("the supervisor does not get ready")
			}
		} else {
			time.Sleep(rand.N(within))
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // "signal: killed" is what was wanted
	}
	if made == 0 {
		t.Fatal("no supervisor got as far as its program")
	}
	// One whose jail died just before the manager was asked stays as long as the manager may take to answer, and
	// half as long again (awaitScope).
	deadline := time.Now().Add(3 * scopePatience)
	for time.Now().Before(deadline) && len(watchers(t)) > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if w := watchers(t); len(w) > 0 {
		t.Errorf("watchers left: %v", w)
	}
	deadline = time.Now().Add(30 * time.Second)
	for {
		var left []string
		for _, d := range mine(t) {
			if strings.Contains(d, o.Options.Name) {
				left = append(left, d)
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// freezeAndThaw freezes a counting program and looks whether it counts.
func freezeAndThaw(t *testing.T, g *Group) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "count")
	cmd := exec.Command("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > "+file+"; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	progress := func(within time.Duration) bool {
		before, _ := os.ReadFile(file)
		for begun := time.Now(); time.Since(begun) < within; time.Sleep(10 * time.Millisecond) {
			if after, _ := os.ReadFile(file); string(before) != string(after) {
				return true
			}
		}
		return false
	}
	if !progress(20 * time.Second) {
		t.Fatal("the program does not count before it is frozen")
	}
	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	if progress(300 * time.Millisecond) {
		t.Error("the program counts although it is frozen")
	}
	if err := g.Freeze(false); err != nil {
		t.Fatal(err)
	}
	if !progress(20 * time.Second) {
		t.Error("the program does not count again")
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	if pids, err := g.Processes(); err != nil || len(pids) > 0 {
		t.Errorf("after the kill: %v, %v", pids, err)
	}
}

// noRaceDetector leaves a test to the run without the race detector: under it no watcher lives, and whatever process a
// watcher belongs to may end with it.
func noRaceDetector(t testing.TB) {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector ends the watcher, whose memory is its supervisor's; the run without it has this test")
	}
}

func TestWatcherIsNobodysChild(t *testing.T) {
	noRaceDetector(t)
	dir := filepath.Join(t.TempDir(), "folder")
	w, err := startWatcher()
	if err != nil {
		t.Fatal(err)
	}
	w.does([]chore{removeChore(dir)})
	defer w.stop()
	// A wait for any child, which others in the process may do, must neither find nor wait for the watcher.
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("wait for any child: %d, %v; want ECHILD", pid, err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		entries, _ := os.ReadDir("/proc/" + strconv.Itoa(w.pid) + "/fd")
		sid, _ := unix.Getsid(w.pid)
		if len(entries) == 1 && sid == w.pid {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the watcher holds %d descriptors in session %d; want its own session and the pidfd alone", len(entries), sid)
		}
		time.Sleep(time.Millisecond)
	}
	if err := syscall.Kill(w.pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if !alive(w.pid) {
		t.Error("SIGINT has ended the watcher")
	}
	w.stop()
	if alive(w.pid) {
		t.Error("the watcher lives after stop")
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a.b-c_D9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a/b": false, "a b": false, "ä": false, "a\n": false,
	} {
		if got := validName(name); got != want {
			t.Errorf("validName(%q) = %v, want %v", name, got, want)
		}
		if !want {
			if _, err := Open(nil, Options{Name: name}); err == nil {
				t.Errorf("Open takes the name %q", name)
			}
		}
	}
	if _, err := Open(nil, Options{Name: "a", Enforcement: "maybe"}); err == nil {
		t.Error("Open takes the enforcement maybe")
	}
}

func TestCloseOfNothing(t *testing.T) {
	var none *Group
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

func exist(dirs []string) bool {
	for _, d := range dirs {
		if _, err := os.Stat(d); err != nil {
			return false
		}
	}
	return true
}
