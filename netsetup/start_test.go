package netsetup

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A gateway of the test's own: it hands over namespaces, and then fails.
const brokenGateway = "broken-gateway"

func TestMain(m *testing.M) {
	if len(os.Args) > 0 && os.Args[0] == brokenGateway {
		if err := beBroken(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func beBroken() error {
	c, err := net.FileConn(os.NewFile(3, "control"))
	if err != nil {
		return err
	}
	control := c.(*net.UnixConn)
	var req Request
	if _, err := Receive(control, &req); err != nil {
		return err
	}
	user, err := os.Open("/proc/self/ns/user")
	if err != nil {
		return err
	}
	space, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	if err := Send(control, Reply{Spaces: true}, user, space); err != nil {
		return err
	}
	return Send(control, Reply{Error: "no link could be made"})
}

// How a gateway ended that said nothing is told: before it has read the first request, and after.
func TestEndOfTheGatewayIsTold(t *testing.T) {
	need.UserNamespaces(t)
	config, err := Parse(`{"mode":"veth"}`)
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"kill -9 $$": "it ended before the network was ready (signal 9: killed)",
		"dd of=/dev/null bs=1M count=1 <&3; kill -9 $$": "it ended before the network was ready (signal 9: killed)",
		"exit 3": "it ended before the network was ready (exit code 3)",
	} {
		n, err := Start(config, Options{Gateway: func() (*os.File, []string, error) {
			f, err := os.Open("/bin/sh")
			return f, []string{"sh", "-c", script}, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Ready(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
		n.Close()
	}
}

// Namespaces that came before the failure do not make a network: Ready is what a
// program waits for.
func TestFailureAfterTheNamespaces(t *testing.T) {
	need.UserNamespaces(t)
	config, err := Parse(`{"mode":"veth"}`)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Start(config, Options{
		Gateway: func() (*os.File, []string, error) {
			f, err := os.Open("/proc/self/exe")
			return f, []string{brokenGateway}, err
		},
		Stderr: os.Stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	user, space, err := n.Spaces()
	if err != nil || user == nil || space == nil {
		t.Fatalf("no namespaces: %v", err)
	}
	at, err := n.Ready()
	if err == nil || !strings.Contains(err.Error(), "no link could be made") {
		t.Errorf("Ready gave %+v, %v", at, err)
	}
}

// TestProgramStaysWhereItIs starts with files of such numbers that the next one up, where a child moves things to, is the
// program's own.
func TestProgramStaysWhereItIs(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	high := func(f *os.File, least int) int {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, least)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	last := high(null, 100)
	given := []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(last)}
	run := func(program int) error {
		pid, err := syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(program), []string{brokenGateway, "true"}, &syscall.ProcAttr{Files: given})
		if err == nil {
			_, err = syscall.Wait4(pid, nil, 0, nil)
		}
		return err
	}
	if err := run(high(self, last+1)); err == nil {
		t.Error("control: the number next to the last file's did")
	}
	above, err := aboveOf(self, given)
	if err != nil {
		t.Fatal(err)
	}
	defer above.Close()
	if err := run(int(above.Fd())); err != nil {
		t.Error(err)
	}
}

// TestSlack: a process begun in between has late timers, and this one's are as before.
func TestSlack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	restore := slackTimers()
	out, err := exec.Command("cat", "/proc/self/timerslack_ns").Output()
	restore()
	if got := strings.TrimSpace(string(out)); err != nil || got != strconv.Itoa(timerSlack) {
		t.Errorf("the slack of a process begun: %q, %v", got, err)
	}
	if after, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || after != before {
		t.Errorf("the slack was %d and is %d: %v", before, after, err)
	}
}
