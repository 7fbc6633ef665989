package sandbox

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// holder starts a NetworkHolder whose program is a shell with a script, and gives the other end of its control socket.
func holder(t *testing.T, script string, inner6 ...[2]string) (*HeldNetwork, int) {
	t.Helper()
	need.UserNamespaces(t)
	shell, err := os.Open("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	n := &NetworkHolder{
		Program: shell, Args: []string{"sh", "-c", script}, Files: []*os.File{null, theirs, os.Stderr, theirs, null, null}, Control: 3, Message: "here",
		Wait: time.Hour, UID: os.Getuid(), GID: os.Getgid(), Device: "out0", Keep: unix.CAP_SYS_CHROOT, Slack: 1_000_000,
		Inner6: inner6, Outer: [][2]string{{"no/such/setting", "1"}},
	}
	held, err := n.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]) })
	return held, pair[0]
}

func ended(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			if err != nil {
				t.Fatal(err)
			}
			return status
		}
	}
}

// TestNetworkHolder follows a process from the message with its namespaces to the program that it becomes when the
// control socket is closed.
func TestNetworkHolder(t *testing.T) {
	held, control := holder(t, `readlink /proc/self/ns/net >&1; grep CapAmb /proc/self/status >&1; exit 7`, [2]string{"no/such/setting", "1"}, [2]string{"no/such/other", "1"})
	text, oob := make([]byte, 16), make([]byte, 256)
	n, oobn, _, _, err := unix.Recvmsg(control, text, oob, 0)
	if err != nil || string(text[:n]) != "here" {
		t.Fatalf("%q, %v, %v", text[:n], err, held.Failure())
	}
	parcel, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(parcel) != 1 {
		t.Fatalf("%d control messages, %v", len(parcel), err)
	}
	fds, err := unix.ParseUnixRights(&parcel[0])
	if err != nil || len(fds) != 5 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	for i, prefix := range []string{"user:", "net:", "", "socket:", "socket:"} {
		to, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fds[i]))
		if !strings.HasPrefix(to, prefix) {
			t.Errorf("descriptor %d is %s, not %s", i, to, prefix)
		}
		if own, _ := os.Readlink("/proc/self/ns/net"); to == own {
			t.Errorf("the sandbox's network namespace is this process's own")
		}
		unix.Close(fds[i])
	}
	if exe, _ := os.Readlink("/proc/" + strconv.Itoa(held.PID()) + "/exe"); strings.HasSuffix(exe, "sh") {
		t.Error("it is the program already")
	}
	if !held.Lost6() {
		t.Error("the settings of IPv6 are not said to be lost")
	}
	if err := unix.Shutdown(control, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for {
		n, err := unix.Read(control, oob)
		if n <= 0 || err != nil {
			break
		}
		said.Write(oob[:n])
	}
	if status := ended(t, held.PID()); status.ExitStatus() != 7 {
		t.Errorf("the program ended with %#x, not 7: %v", status, held.Failure())
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	if want := own + "\nCapAmb:\t0000000000040000\n"; said.String() != want {
		t.Errorf("the program is not in the caller's network namespace, with CAP_SYS_CHROOT:\n%s", said.String())
	}
}

// TestNetworkHolderFails wants a failure in the process that makes the namespaces told, and both processes gone.
func TestNetworkHolderFails(t *testing.T) {
	held, control := holder(t, "exit 0", [2]string{"ipv4/ip_unprivileged_port_start", "0"}, [2]string{"no/such/setting", "1"})
	if n, err := unix.Read(control, make([]byte, 16)); n > 0 || err != nil {
		t.Errorf("%d bytes, %v from a process that failed", n, err)
	}
	if status := ended(t, held.PID()); status.ExitStatus() != 125 {
		t.Errorf("it ended with %#x", status)
	}
	if err := held.Failure(); err == nil || !strings.Contains(err.Error(), "make the sandbox's network namespace: openat: no such file") {
		t.Errorf("the failure is told as: %v", err)
	}
	if held.Lost6() {
		t.Error("the first setting was made and is said to be lost")
	}
}
