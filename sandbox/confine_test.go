package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConfinedSupervisor tries in a process of its own what a supervisor never does, with and without its filter, and what
// it must go on doing.
func TestConfinedSupervisor(t *testing.T) {
	if mode := os.Getenv("JAIL_TEST_CONFINE"); mode != "" {
		if mode != "off" {
			if err := Confine(mode == "cgroup"); err != nil {
				t.Fatal(err)
			}
		}
		confinedAttempts()
		os.Exit(0)
	}
	if os.Getuid() == 0 {
		t.Skip("root's supervisor gives up capabilities, which a test program with C in it cannot")
	}
	for mode, refused := range map[string]bool{"off": false, "cgroup": true, "on": true} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestConfinedSupervisor$")
		cmd.Env = append(os.Environ(), "JAIL_TEST_CONFINE="+mode)
		cmd.Dir = t.TempDir()
		if err := os.WriteFile(cmd.Dir+"/made", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", mode, err, out)
		}
		said := string(out)
		for _, what := range []string{"exec", "inet", "netlink", "unshare", "clone-user", "ptrace", "mount", "userfaultfd"} {
			if got := strings.Contains(said, what+": EPERM\n"); got != refused {
				t.Errorf("%s: %s: refused: %t, want %t\n%s", mode, what, got, refused, said)
			}
		}
		for _, what := range []string{"make", "remove", "write"} {
			if got := strings.Contains(said, what+": EPERM\n"); got != (mode == "on") {
				t.Errorf("%s: %s: refused: %t\n%s", mode, what, got, said)
			}
		}
		for _, what := range []string{"thread", "unix", "memfd", "file", "fork"} {
			if !strings.Contains(said, what+": ok\n") {
				t.Errorf("%s: %s does not work any more\n%s", mode, what, said)
			}
		}
	}
}

func confinedAttempts() {
	say := func(what string, err error) {
		switch {
		case err == nil:
			tell(what + ": ok")
		case errors.Is(err, unix.EPERM):
			tell(what + ": EPERM")
		default:
			tell(what + ": " + err.Error())
		}
	}
	call := func(nr uintptr, args ...uintptr) error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
	const bad = ^uintptr(0)
	say("exec", call(unix.SYS_EXECVE, 1, 0, 0)) // EFAULT
	say("unshare", call(unix.SYS_UNSHARE, 1<<31))
	say("clone-user", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_FS)) // EINVAL
	say("ptrace", call(unix.SYS_PTRACE, bad, bad))
	fd, err := unix.Open("made", unix.O_RDONLY|unix.O_CREAT, 0o600)
	_ = unix.Close(fd)
	say("make", err)
	fd, err = unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	_ = unix.Close(fd)
	say("write", err)
	say("remove", unix.Unlink("made"))
	say("mount", call(unix.SYS_MOUNT, 1, 1, 1))
	say("userfaultfd", call(unix.SYS_USERFAULTFD, 0xffff)) // EINVAL
	for name, family := range map[string]int{"inet": unix.AF_INET, "netlink": unix.AF_NETLINK, "unix": unix.AF_UNIX} {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		say(name, err)
	}
	done := make(chan bool)
	go func() { done <- true }()
	<-done
	say("thread", nil)
	_, err = unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	say("memfd", err)
	_, err = os.ReadFile("/proc/self/status")
	say("file", err)
	pid, err := forkAndExit()
	if err == nil {
		_, err = unix.Wait4(pid, nil, 0, nil)
	}
	say("fork", err)
}

func tell(s string) { _, _ = os.Stdout.WriteString(s + "\n") }

// forkAndExit forks a process that ends at once.
//
//go:norace
func forkAndExit() (int, error) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return int(pid), nil
}
