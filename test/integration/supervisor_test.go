package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// Once its program runs, the supervisor is confined in every one of its threads, and can still be found and joined.
func TestTheSupervisorIsConfined(t *testing.T) {
	u := newUser(t)
	cmd := u.jail("--name", "confined", "-p", "default", "--", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	isConfined(t, cmd.Process.Pid, "0000000000000000")
	for range 100 { // its spec is kept a moment later
		if out, _, code := u.run("exec", "confined", "echo", "joined"); code == 0 && out == "joined\n" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, errs, code := u.run("exec", "confined", "echo", "joined")
	t.Errorf("it cannot be joined: exit code %d, %q %q", code, out, errs)
}

// The same for one that serves a desktop session, whose program goes on being served.
func TestTheSupervisorOfASessionIsConfined(t *testing.T) {
	xvfb := need.Program(t, "Xvfb")
	need.Program(t, "Xephyr")
	u := newUser(t)
	u.env = append(u.env, "DISPLAY="+startXvfb(t, xvfb))
	u.profile("window", "extends: [base]\ndesktop: {x11: true}\n")
	cmd := u.jail("--profile", "window", "sh", "-c", "read line; xdpyinfo >/dev/null && echo shown")
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	isConfined(t, cmd.Process.Pid, "0000000000000000")
	hold.Close()
	if err := cmd.Wait(); err != nil || said.String() != "shown\n" {
		t.Errorf("%v, it says %q", err, said.String())
	}
}

// Root's has no capability left but the one to signal a program with another uid, and ends it by that.
func TestRootSupervisorIsConfined(t *testing.T) {
	need.Root(t)
	need.Kernel(t, 5, 12)
	cmd := exec.Command(need.Jail(t), "run", "--set", "process.uid=1000", "--set", "process.gid=1000", "-p", "default", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	isConfined(t, cmd.Process.Pid, fmt.Sprintf("%016x", 1<<unix.CAP_KILL))
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(unix.SIGTERM) {
		t.Errorf("with SIGTERM it ends with %v", err)
	}
}

// isConfined waits until every thread of a process has a filter and these capabilities alone.
func isConfined(t *testing.T, pid int, caps string) {
	t.Helper()
	if own("Seccomp") != "0" { // in a container
		t.Skip("this test itself runs behind a filter, so that nothing can be told")
	}
	var open []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		open = nil
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, file := range threads {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // a thread that has ended
			}
			for _, want := range []string{"Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t" + caps, "CapPrm:\t" + caps} {
				if !strings.Contains(string(text), "\n"+want+"\n") {
					open = append(open, file+" has no "+want)
				}
			}
		}
		if len(threads) > 0 && len(open) == 0 {
			return
		}
	}
	t.Errorf("threads that are not confined: %v", open)
}
