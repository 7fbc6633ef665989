package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/netsetup/procfs"
)

// TestConfinedGateway tries in a process like the gateway's what it never does once its network stands, before and after it
// is confined, and what it must go on doing.
func TestConfinedGateway(t *testing.T) {
	if mode := os.Getenv("JAIL_TEST_CONFINE"); mode != "" {
		if mode != "off" {
			// Not its capabilities: a test program with C in it cannot change those of all its threads.
			g := &gateway{shared: mode == "shared"}
			if err := errors.Join(procfs.MakeRoot(), g.filter()); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		confinedAttempts()
		os.Exit(0)
	}
	never := []string{"exec", "a file", "a file by self/root", "a file by the parent's root", "make a file", "unix socket", "signal", "thread's signal", "ptrace",
		"user namespace", "mount", "chroot"}
	for mode, refused := range map[string][]string{
		"off":    {"a file by the parent's root"}, // which the user namespace refuses
		"on":     append(never, "write below /proc", "network namespace"),
		"shared": never,
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestConfinedGateway$")
		cmd.Env = append(os.Environ(), "JAIL_TEST_CONFINE="+mode)
		cmd.SysProcAttr = netsetup.UserNamespace(&netsetup.Config{})
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", mode, err, out)
		}
		for line := range strings.Lines(string(out)) {
			what, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
			want := "goes"
			for _, r := range refused {
				if r == what {
					want = "refused"
				}
			}
			if result != want {
				t.Errorf("%s: %s: %s, want %s", mode, what, result, want)
			}
		}
		if n := strings.Count(string(out), "\n"); n != 20 {
			t.Errorf("%s: %d attempts:\n%s", mode, n, out)
		}
	}
}

// confinedAttempts prints a line for each. Calls that could do harm are made with arguments that end in another error.
func confinedAttempts() {
	say := func(what string, err error, harmless ...error) {
		for _, h := range harmless {
			if errors.Is(err, h) {
				err = nil
			}
		}
		switch {
		case err == nil:
			fmt.Println(what + ": goes")
		case errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist):
			fmt.Println(what + ": refused")
		default:
			fmt.Println(what + ": " + err.Error())
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
	read := func(name string) error {
		_, err := os.ReadFile(name)
		return err
	}
	socket := func(family int) error {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	parent := os.Getppid()
	say("exec", call(unix.SYS_EXECVE, 1, 0, 0), unix.EFAULT)
	say("a file", read("/etc/passwd"))
	say("a file by self/root", read(procfs.Path("self/root/etc/passwd")))
	say("a file by the parent's root", read(procfs.Path(strconv.Itoa(parent)+"/root/etc/passwd")))
	f, err := os.CreateTemp("", "")
	if err == nil {
		_ = os.Remove(f.Name())
	}
	say("make a file", err)
	f, err = os.OpenFile(procfs.Path("self/comm"), os.O_WRONLY, 0)
	f.Close()
	say("write below /proc", err)
	say("unix socket", socket(unix.AF_UNIX))
	say("signal", unix.Kill(parent, 0))
	say("thread's signal", unix.Tgkill(parent, parent, 0))
	say("ptrace", call(unix.SYS_PTRACE, ^uintptr(0), ^uintptr(0)), unix.ESRCH)
	say("user namespace", call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_THREAD), unix.EINVAL)
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		made <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	say("network namespace", <-made)
	say("mount", call(unix.SYS_MOUNT, 1, 1, 1), unix.EFAULT)
	say("chroot", unix.Chroot(procfs.Path("self/status")), unix.ENOTDIR)

	say("inet socket", socket(unix.AF_INET))
	_, err = net.InterfaceAddrs()
	say("addresses of the host", err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	say("listen", err)
	c, err := net.Dial("tcp", l.Addr().String())
	say("connect", err)
	_, err = c.Write([]byte("x"))
	say("send", err)
	done := make(chan bool)
	for range 20 {
		go func() { done <- true }()
	}
	<-done
	say("read a table of sockets", read(procfs.Path("thread-self/net/tcp")))
}
