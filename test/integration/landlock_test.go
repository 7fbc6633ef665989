package integration

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// What the mounts alone do not hold, the second barrier does. Each case is seen to go through with it off.
func TestTheSecondBarrierOnFiles(t *testing.T) {
	need.Kernel(t, 6, 2)
	u := newUser(t)
	u.profile("held", "extends: [default]\nenforcement: {landlock: require}\n")
	u.profile("bare", "extends: [default]\nenforcement: {landlock: off}\n")
	notes := u.write("notes.txt", "as it was\n")
	// A file that the caller hands in to be read can be opened once more through /proc, on a mount that is not read-only.
	reopen := func(profile string) string {
		if err := os.WriteFile(notes, []byte("as it was\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		stdin, err := os.Open(notes)
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		cmd := u.jail("-p", profile, "--", "sh", "-c", "echo changed > /proc/self/fd/0; cat /proc/self/fd/0")
		cmd.Stdin = stdin
		_, _ = cmd.Output() // what counts is the file
		text, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := reopen("bare"); got != "changed\n" {
		t.Errorf("the control run cannot write the file either: %q", got)
	}
	if got := reopen("held"); got != "as it was\n" {
		t.Errorf("a file handed in to be read was written: %q", got)
	}
}

// What joins a sandbox is under the same rules, made from those of the start.
func TestExecIsBehindTheSecondBarrier(t *testing.T) {
	need.Kernel(t, 6, 2)
	u := newUser(t)
	for _, level := range []string{"off", "require"} {
		name := "barrier-" + level
		u.profile(name, "extends: [default]\nenforcement: {landlock: "+level+"}\n")
		box := u.jail("--name", name, "-p", name, "--", "sleep", "60")
		if err := box.Start(); err != nil {
			t.Fatal(err)
		}
		notes := u.write("notes-"+level, "as it was\n")
		stdin, err := os.Open(notes)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for range 100 { // the sandbox may not be there yet
			cmd := u.jail("exec", name, "sh", "-c", "echo changed > /proc/self/fd/0; echo inside")
			cmd.Stdin = stdin
			if out, _ = cmd.CombinedOutput(); strings.Contains(string(out), "inside") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		stdin.Close()
		_ = box.Process.Kill()
		_ = box.Wait()
		text, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"off": "changed\n", "require": "as it was\n"}[level]; string(text) != want {
			t.Errorf("landlock %s: the file holds %q, want %q; exec said %s", level, text, want, out)
		}
	}
}

// Everyday work goes on under it: files moved between folders, pipes and files as streams, temporary files.
func TestTheSecondBarrierIsNotInTheWay(t *testing.T) {
	need.Kernel(t, 6, 2)
	u := newUser(t)
	u.profile("held", "extends: [default]\nenforcement: {landlock: require}\n")
	u.write("work/a/f", "x\n")
	script := `set -e
cd work; mkdir b; mv a/f b/g; ln b/g a/h; echo y >> b/g; : > b/g; rm -r a b
mkfifo p; ln -s p q; rm p q; echo z > /dev/null; echo t > /tmp/t; mv /tmp/t /tmp/u; cat /dev/stdin < /tmp/u
echo to-pipe | tee /dev/stderr > /dev/stdout; exec 9<>/dev/shm/x; /proc/self/exe -c 'echo again' 2>/dev/null || true
stat -c %n /proc/self/status; dd if=/dev/zero of=/dev/full count=1 2>/dev/null || echo full`
	out, err := u.jail("-p", "held", "--bind", u.home+"/work", "--", "bash", "-c", script).CombinedOutput()
	if want := "t\nto-pipe\nto-pipe\nagain\n/proc/self/status\nfull\n"; err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	// A stream that is a file outside of the sandbox can be opened again for what it was opened for.
	file, err := os.Create(u.home + "/out.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := u.jail("-p", "held", "--", "sh", "-c", "echo once > /dev/stdout")
	cmd.Stdout = file
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(file.Name()); err != nil || string(text) != "once\n" {
		t.Errorf("%q %v", text, err)
	}
}

// With the host's network its abstract sockets would be in reach: CVE-2020-15257.
func TestAbstractSocketsOfTheHostStayOutOfReach(t *testing.T) {
	need.Kernel(t, 6, 12)
	need.Program(t, "python3")
	u := newUser(t)
	name := fmt.Sprintf("jail-test-%d", os.Getpid())
	l, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0" + name + "'); print('connected')"
	for level, want := range map[string]string{"off": "connected", "require": "PermissionError"} {
		u.profile("net-"+level, "extends: [default]\nnetwork: {mode: host}\nenforcement: {landlock: "+level+"}\n")
		out, _ := u.jail("-p", "net-"+level, "--", "python3", "-c", client).CombinedOutput()
		if !strings.Contains(string(out), want) {
			t.Errorf("landlock %s: %s, want %s", level, out, want)
		}
	}
}
