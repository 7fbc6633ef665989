package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMain lets a test run the launcher in a process of its own: with a bundle named in its environment the
// test binary is a small jail.
func TestMain(m *testing.M) {
	if file := os.Getenv("SANDBOX_TEST_BUNDLE"); file != "" {
		os.Exit(launch(file))
	}
	// What loses its supervisor becomes a child of the test, where it can be counted.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func launch(file string) int {
	os.Unsetenv("SANDBOX_TEST_BUNDLE")
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	b := &Bundle{}
	if err := json.Unmarshal(text, b); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	if os.Getenv("SANDBOX_TEST_KEYS") != "" {
		if err := useUpKeys(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 125
		}
	}
	status, err := func() (Status, error) {
		facts, err := Gather()
		if err != nil {
			return Status{Code: 125}, err
		}
		plan, err := Compile(b, facts)
		if err != nil {
			return Status{Code: 125}, err
		}
		o := Options{}
		if ns := os.Getenv("SANDBOX_TEST_USERNS"); ns != "" {
			if o.ParentUserNS, err = os.Open(ns); err != nil {
				return Status{Code: 125}, err
			}
		}
		if late := os.Getenv("SANDBOX_TEST_READY"); late != "" {
			o.Ready = func() error {
				time.Sleep(300 * time.Millisecond) // time enough for a program that does not wait
				if late == "never" {
					return errors.New("what the program needs could not be made")
				}
				fmt.Println("ready")
				return nil
			}
		}
		return plan.Run(o, [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, func(s string) { fmt.Fprintln(os.Stderr, "jail:", s) })
	}()
	if err != nil {
		fmt.Fprintf(os.Stderr, "jail: %v\n", err)
		var e *Error
		if errors.As(err, &e) {
			if e.Hint != "" {
				fmt.Fprintf(os.Stderr, "  %s\n", e.Hint)
			}
			return e.Exit
		}
	}
	return status.Code
}

// shellBundle is a bundle with the host's system directories, a /proc and a /dev, that runs a shell command.
func shellBundle(script string) *Bundle {
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	b := &Bundle{Spec: &specs.Spec{
		Version:  "1.0.2",
		Hostname: "box",
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			User: specs.User{UID: uid, GID: gid}, Args: []string{"/bin/sh", "-c", script}, Cwd: "/",
			Env: []string{"PATH=/usr/bin:/bin"}, NoNewPrivileges: true,
		},
		Mounts: []specs.Mount{
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "ro", "nosuid", "nodev"}},
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
		},
		Linux: &specs.Linux{
			UIDMappings: []specs.LinuxIDMapping{{ContainerID: uid, HostID: uid, Size: 1}},
			GIDMappings: []specs.LinuxIDMapping{{ContainerID: gid, HostID: gid, Size: 1}},
			Namespaces: []specs.LinuxNamespace{{Type: "user"}, {Type: "mount"}, {Type: "pid"}, {Type: "ipc"}, {Type: "uts"},
				{Type: "network"}, {Type: "cgroup"}},
		},
		Annotations: map[string]string{},
	}, Tree: []TreeEntry{{Path: "rootfs", Mode: fs.ModeDir | 0o755}}}
	for _, dir := range []string{"bin", "lib", "lib64", "sbin"} {
		if target, err := os.Readlink("/" + dir); err == nil {
			b.Tree = append(b.Tree, TreeEntry{Path: "rootfs/" + dir, Mode: fs.ModeSymlink | 0o777, Target: target})
		} else if _, err := os.Stat("/" + dir); err == nil {
			b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/" + dir, Type: "bind", Source: "/" + dir, Options: []string{"rbind", "ro"}})
		}
	}
	return b
}

// command prepares the launcher for a bundle.
func command(t testing.TB, b *Bundle) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bundle.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_BUNDLE="+file)
	return cmd
}

// run runs a bundle to its end.
func run(t testing.TB, b *Bundle) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, b)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// sees runs a script inside and fails the test unless it succeeds.
func sees(t testing.TB, b *Bundle) string {
	t.Helper()
	out, errs, code := run(t, b)
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	return strings.TrimSpace(out)
}
