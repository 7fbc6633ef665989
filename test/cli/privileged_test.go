package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jail/test/need"
)

// Nobody who installs jail set-uid, set-gid or with file capabilities gets a set-uid sandbox: it refuses
// before it reads anything. Run as an ordinary user, since for root such files give nothing.
func TestRootRefusesPrivileges(t *testing.T) {
	need.Root(t)
	jail := need.Jail(t)
	setcap := need.Program(t, "setcap")
	// The system's temporary folder may be mounted nosuid; its own is made readable for the user.
	dir, err := os.MkdirTemp("/var/tmp", "jail-privileged-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		prepare func(path string) error
		refused bool
	}{
		{"control", func(path string) error { return nil }, false},
		{"set-uid", func(path string) error { return os.Chmod(path, 0o755|os.ModeSetuid) }, true},
		{"set-gid", func(path string) error { return os.Chmod(path, 0o755|os.ModeSetgid) }, true},
		{"effective capability", func(path string) error { return exec.Command(setcap, "cap_sys_admin+ep", path).Run() }, true},
		{"permitted capability", func(path string) error { return exec.Command(setcap, "cap_net_admin+p", path).Run() }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-"))
			copyFile(t, jail, path)
			if err := tt.prepare(path); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, "version")
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			var out, errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errOut
			err := cmd.Run()
			if !tt.refused {
				if err != nil {
					t.Fatalf("the control run failed: %v: %s", err, errOut.String())
				}
				return
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 125 {
				t.Errorf("ended with %v, want exit code 125", err)
			}
			if out.Len() > 0 || !strings.HasPrefix(errOut.String(), "jail: refusing to run set-user-id") {
				t.Errorf("printed %q and %q", out.String(), errOut.String())
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	// Not left to the umask.
	if err := errors.Join(out.Chmod(0o755), out.Close()); err != nil {
		t.Fatal(err)
	}
}
