package net_test

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A gateway that serves its network has no file but those of /proc, no capability and few system calls. What it cannot
// do with them netsetup/gateway tests.
func TestJailConfinedGateway(t *testing.T) {
	world(t)
	for _, c := range []struct {
		name, more, caps string
	}{
		{"one sandbox's", "", "0000000000000000"},
		{"a named network's", "  name: confined\n", fmt.Sprintf("%016x", 1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_NET_ADMIN)},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, hold, _ := up(t, writeProfile(t, egress("")+c.more), "getent hosts good.test >/dev/null; echo up; read line || true")
			proc := gatewayOf(t, cmd.Process.Pid)
			if root, err := os.Readlink(proc + "/root"); err != nil || root != "/proc" {
				t.Errorf("its root is %q, %v", root, err)
			}
			if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != "/proc" {
				t.Errorf("its working directory is %q, %v", cwd, err)
			}
			tasks, err := filepath.Glob(proc + "/task/*/status")
			if err != nil || len(tasks) < 2 {
				t.Fatalf("its threads: %q, %v", tasks, err)
			}
			for _, task := range tasks {
				status, err := os.ReadFile(task)
				if os.IsNotExist(err) {
					continue // a thread that has ended
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"CapEff:\t" + c.caps, "CapPrm:\t" + c.caps, "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
					if !strings.Contains(string(status), "\n"+want+"\n") {
						t.Errorf("%s has no %q:\n%s", task, want, status)
					}
				}
			}
			fds, err := filepath.Glob(proc + "/fd/*")
			if err != nil || len(fds) == 0 {
				t.Fatalf("its descriptors: %q, %v", fds, err)
			}
			for _, fd := range fds {
				if info, err := os.Stat(fd); err == nil && info.Mode().Type() == fs.ModeDir {
					to, _ := os.Readlink(fd)
					t.Errorf("it has the directory %s open", to)
				}
			}
			hold.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// up starts a script that says so when it is up, and then waits for lines from hold.
func up(t *testing.T, profile, script string) (cmd *exec.Cmd, hold io.WriteCloser, lines *bufio.Reader) {
	t.Helper()
	cmd = ordinary(need.Jail(t), "-p", profile, "--", "sh", "-c", script)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines = bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd, hold, lines
}

// Until a packet comes there is no gateway: the process that becomes it has one thread, one capability, and no descriptor
// but those that the gateway will have.
func TestJailWaitingGateway(t *testing.T) {
	world(t)
	for range 20 { // it waits for a tenth of a second, in which a busy machine may not get to look at it
		if lookAtWaiting(t) {
			return
		}
	}
	t.Error("no process waits to become the gateway")
}

func lookAtWaiting(t *testing.T) (seen bool) {
	t.Helper()
	cmd, hold, lines := up(t, writeProfile(t, egress("")), "echo up; read line; getent hosts good.test >/dev/null && echo asked; read line || true")
	var waiting string
	for child := range strings.FieldsSeq(allChildren(t, cmd.Process.Pid)) {
		if comm, _ := os.ReadFile("/proc/" + child + "/comm"); string(comm) == waitingName {
			waiting = "/proc/" + child
		}
	}
	status, _ := os.ReadFile(waiting + "/status")
	fds, _ := filepath.Glob(waiting + "/fd/*")
	comm, _ := os.ReadFile(waiting + "/comm")
	if seen = string(comm) == waitingName; !seen {
		hold.Close()
		_ = cmd.Wait()
		return false
	}
	chroot := fmt.Sprintf("%016x", 1<<unix.CAP_SYS_CHROOT)
	for _, want := range []string{"Threads:\t1", "CapEff:\t" + chroot, "CapPrm:\t" + chroot, "CapAmb:\t" + chroot} {
		if !strings.Contains(string(status), "\n"+want+"\n") {
			t.Errorf("it has no %q:\n%s", want, status)
		}
	}
	if len(fds) != 9 {
		t.Errorf("its descriptors are %q; want 0 to 7, and the program", fds)
	}
	if _, err := hold.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); line != "asked\n" {
		t.Errorf("%q, %v", line, err)
	}
	if proc := gatewayOf(t, cmd.Process.Pid); proc != waiting {
		t.Errorf("the gateway is %s, and %s waited", proc, waiting)
	}
	hold.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	gone(t)
	return true
}

// What a program sends last is refused and reported, although there was no gateway before it and the program is gone
// before there is one.
func TestJailLastPacket(t *testing.T) {
	world(t)
	out, err := ordinary(need.Jail(t), "-p", writeProfile(t, egress("")), "--", "bash", "-c", "echo >/dev/udp/203.0.113.99/99").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "udp to 203.0.113.99, port 99, is refused") {
		t.Errorf("%v: %s", err, out)
	}
	gone(t)
}

// gatewayOf finds the gateway that a jail has started, as its folder in /proc.
func gatewayOf(t *testing.T, jail int) string {
	t.Helper()
	of := regexp.MustCompile(`\nPPid:\t` + strconv.Itoa(jail) + `\n`)
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range folders {
		status, err := os.ReadFile(p + "/status")
		exe, _ := os.Readlink(p + "/exe")
		if err == nil && of.Match(status) && strings.Contains(exe, "gateway") { // in memory, or kept in a folder of that name
			return p
		}
	}
	t.Fatal("there is no gateway")
	return ""
}

// A machine that comes into another network has other resolvers, and a sandbox that runs learns of them.
func TestJailOtherResolvers(t *testing.T) {
	world(t)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil { // where nobody listens
		t.Fatal(err)
	}
	jail := []string{need.Jail(t), "-p", writeProfile(t, egress("")), "--", "sh", "-c", `getent hosts good.test && echo too early
		echo up; until getent hosts good.test; do sleep 0.1; done`}
	cmd := exec.Command("unshare", slices.Concat([]string{"--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec setpriv "$@"`, file}, dropAll, jail)...)
	if asRoot {
		cmd = exec.Command("unshare", slices.Concat([]string{"--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, file}, jail)...)
	}
	cmd.Env = append(os.Environ(), "JAIL_ROLE=")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "up" {
		t.Fatalf("it begins with %q", lines.Text())
	}
	if err := os.WriteFile(file, []byte("nameserver 203.0.113.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), "good.test") {
		t.Errorf("with the right resolver it says %q", lines.Text())
	}
}
