package cli

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"jail/test/need"
)

// A sandbox of another user's has no name for anybody else, root included: who may read its descriptors could otherwise be
// led to join what that user has made.
func TestRootSandboxesOfOthers(t *testing.T) {
	need.Root(t)
	dir, err := os.MkdirTemp("/var/tmp", "jail-others-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	jail := filepath.Join(dir, "jail")
	copyFile(t, need.Jail(t), jail)
	// as prepares a run of jail as a user with a home.
	as := func(uid uint32, args ...string) *exec.Cmd {
		home := filepath.Join(dir, strconv.Itoa(int(uid)))
		if err := os.MkdirAll(home, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(home, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(jail, args...)
		cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
		if uid != 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		}
		return cmd
	}
	const one, two = 61001, 61002
	for _, owner := range []uint32{0, one} {
		name := "of-" + strconv.Itoa(int(owner)) + "-" + filepath.Base(dir)
		run := as(owner, "run", "--name", name, "--", "sh", "-c", "echo up; sleep 1000")
		out, err := run.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		run.Stderr = os.Stderr
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = run.Process.Kill(); _ = run.Wait() })
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
			t.Fatalf("%q, %v", line, err)
		}
		// The control: its owner is let in.
		if said, err := as(owner, "exec", name, "--", "echo", "joined").CombinedOutput(); err != nil || string(said) != "joined\n" {
			t.Errorf("user %d, its own sandbox: %v %s", owner, err, said)
		}
		for _, other := range []uint32{0, one, two} {
			if other == owner {
				continue
			}
			for _, by := range []string{name, strconv.Itoa(run.Process.Pid)} {
				for _, command := range [][]string{{"exec", by, "--", "true"}, {"shell", by}, {"stop", by}} {
					said, err := as(other, command...).CombinedOutput()
					var exit *exec.ExitError
					if !errors.As(err, &exit) || exit.ExitCode() != 125 || !strings.Contains(string(said), "no running sandbox") {
						t.Errorf("user %d, %v of user %d: %v %s", other, command, owner, err, said)
					}
				}
			}
			if said, err := as(other, "ps").CombinedOutput(); err != nil || strings.Contains(string(said), name) {
				t.Errorf("user %d is shown the sandbox of user %d: %v %s", other, owner, err, said)
			}
		}
	}
}
