package integration

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A sandbox ends with the process that started it, not with the thread of it that did: a launcher may well start
// programs in threads that come and go.
func TestTheThreadOfTheParentMayEnd(t *testing.T) {
	python := need.Program(t, "python3")
	u := newUser(t)
	u.write("launch.py", `
import subprocess, sys, threading, time
program = []
def launch():
    program.append(subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE))
    program[0].stdout.readline()  # it runs
thread = threading.Thread(target=launch)
thread.start()
thread.join()
try:
    print("ended with", program[0].wait(0.3))
except subprocess.TimeoutExpired:
    program[0].terminate()
    print("terminated with", program[0].wait())
`)
	cmd := exec.Command(python, "launch.py", need.Jail(t), "-p", "default", "sh", "-c", "echo runs; exec sleep 60")
	cmd.Dir, cmd.Env = u.home, u.env
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "terminated with 143\n" {
		t.Errorf("%v, %s", err, out)
	}
}

// The end of the parent is the sandbox's, on a terminal as well, unless the profile says otherwise.
func TestTheEndOfTheParent(t *testing.T) {
	script := need.Program(t, "script")
	for _, c := range []struct {
		name  string
		wrap  []string
		flags string
		lives bool
	}{
		{"plain", nil, "", false},
		{"on a terminal", []string{script, "-qec", `sh -c "$LINE"`, "/dev/null"}, "", false},
		{"asked to stay", nil, "--set process.die-with-parent=false", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUser(t)
			mark := "61" + time.Now().Format("150405.000000")
			line := "echo $$ > parent; " + need.Jail(t) + " run " + c.flags + " -p default sleep " + mark + "; true"
			argv := append(c.wrap, "sh", "-c", line)
			if c.wrap != nil {
				argv = c.wrap
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Env, cmd.Dir = append(slices.Clone(u.env), "LINE="+line), u.home
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			for deadline := time.Now().Add(30 * time.Second); len(processesNamed(mark, "sleep")) == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the program does not start")
				}
			}
			text, err := os.ReadFile(u.home + "/parent")
			if err != nil {
				t.Fatal(err)
			}
			parent, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(parent, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if !c.lives {
				none(t, mark)
				return
			}
			time.Sleep(200 * time.Millisecond)
			left := processesNamed(mark, "sleep")
			if len(left) == 0 {
				t.Error("it has ended, too")
			}
			for _, pid := range left {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		})
	}
}
