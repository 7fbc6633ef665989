package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What a group does cannot be tried in the test process: it moves its process about, and is about what happens when
// that is killed. So the test binary starts itself again, as a supervisor or as a program that strains a limit.
func TestMain(m *testing.M) {
	role, argument, _ := strings.Cut(os.Getenv("JAIL_CGROUP_TEST"), " ")
	switch role {
	case "":
		os.Exit(m.Run())
	case "supervise":
		supervise()
	case "hog":
		hog()
	case "fork":
		forkMany(argument)
	case "spin":
		spin(argument)
	default:
		fmt.Fprintln(os.Stderr, "unknown role "+role)
		os.Exit(99)
	}
}

// An order is what a supervisor shall do.
type order struct {
	Res     *specs.LinuxResources
	Options Options
	First   Way      // open another group this way before
	Program string   // a role of this binary,
	Shell   string   // or a line for the shell
	Join    string   // a group to go to first
	Hang    bool     // say "ready" and wait for the kill
	Sample  bool     // sample peaks
	Wait    duration // before the program's end is looked for
}

type duration = time.Duration

// An outcome is what it tells.
type outcome struct {
	Err, Way, Text, Exit, Output string
	Warnings                     []string
	Dirs                         []string
	Left                         []int
	Stats                        Stats
	Events                       Events
	Causes                       []Cause
	Wall, Open, Close            time.Duration
	CloseErr                     string
	Report                       json.RawMessage
}

func supervise() {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv("JAIL_CGROUP_ORDER")), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	var out outcome
	run(&o, &out)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		os.Exit(99)
	}
	os.Exit(0)
}

func run(o *order, out *outcome) {
	if o.Join != "" {
		if err := move(o.Join, 0); err != nil {
			out.Err = err.Error()
			return
		}
	}
	if o.First != Auto {
		if g, err := Open(nil, Options{Name: "first", Way: o.First}); err != nil {
			out.Err = "first: " + err.Error()
			return
		} else if err := g.Close(); err != nil {
			out.Err = "first: " + err.Error()
			return
		}
	}
	begun := time.Now()
	g, err := Open(o.Res, o.Options)
	out.Open = time.Since(begun)
	if err != nil {
		out.Err = err.Error()
		return
	}
	out.Way, out.Text, out.Dirs = string(g.Way()), g.String(), g.dirs
	for _, w := range g.Warnings() {
		out.Warnings = append(out.Warnings, w.Error())
	}
	if o.Sample {
		g.Sample(5 * time.Millisecond)
	}
	// A file and not a pipe: a straggler would hold that open, and the wait for the program with it.
	output, err := os.CreateTemp("", "output")
	if err != nil {
		out.Err = err.Error()
		return
	}
	defer os.Remove(output.Name())
	// The launcher holds its child with a pipe, and so does the shell here.
	line := "read go; " + o.Shell
	if o.Program != "" {
		self, _ := os.Executable()
		line = "read go; JAIL_CGROUP_TEST='" + o.Program + "' exec " + self
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Stdout, cmd.Stderr = output, output
	release, err := cmd.StdinPipe()
	if err != nil {
		out.Err = err.Error()
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if g.FD() >= 0 {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, g.FD()
	}
	defer pinThread()()
	started := time.Now()
	if err := cmd.Start(); err != nil {
		out.Err = errors.Join(err, g.Close()).Error()
		return
	}
	if g.Held() {
		if err := g.Add(cmd.Process.Pid); err != nil {
			out.Err = err.Error()
		}
	}
	fmt.Fprintln(release, "go")
	if o.Hang {
		text, _ := json.Marshal(out)
		fmt.Println(string(text))
		time.Sleep(time.Hour)
	}
	time.Sleep(o.Wait)
	out.Exit = "0"
	if err := cmd.Wait(); err != nil {
		out.Exit = err.Error()
	}
	out.Wall = time.Since(started)
	text, _ := os.ReadFile(output.Name())
	out.Output = string(text)
	out.Left, _ = g.Processes()
	out.Stats, out.Events = g.Stats(), g.Events()
	out.Causes = g.Causes(out.Events)
	out.Report, _ = NewReport(out.Wall, g, cmd.ProcessState.SysUsage().(*syscall.Rusage)).MarshalJSON()
	begun = time.Now()
	if err := g.Close(); err != nil {
		out.CloseErr = err.Error()
	}
	out.Close = time.Since(begun)
}

// pinThread keeps a goroutine on its thread: the parent death signal comes when the thread that cloned ends
// (prctl(2), PR_SET_PDEATHSIG).
func pinThread() func() {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// start starts a supervisor.
func start(t testing.TB, o order) (*exec.Cmd, *json.Decoder) {
	t.Helper()
	noRaceDetector(t)
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "JAIL_CGROUP_TEST=supervise", "JAIL_CGROUP_ORDER="+string(text))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, json.NewDecoder(stdout)
}

// supervised runs a supervisor to its end, and sees to it that it leaves nothing.
func supervised(t testing.TB, o order) outcome {
	t.Helper()
	cmd, tells := start(t, o)
	var out outcome
	if err := tells.Decode(&out); err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if out.CloseErr != "" {
		t.Errorf("close: %s", out.CloseErr)
	}
	gone(t, out.Dirs, 30*time.Second)
	return out
}

// gone fails when a folder is still there after a while.
func gone(t testing.TB, dirs []string, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for _, d := range dirs {
		for {
			_, err := os.Stat(d)
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if time.Now().After(deadline) {
				text, _ := get(d + "/cgroup.procs")
				t.Errorf("%s is still there (processes %q)", d, text)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// hog takes memory until it is stopped, or has 160 MB.
func hog() {
	var all [][]byte
	for range 160 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("got", len(all), "MB")
	os.Exit(0)
}

// forkMany starts processes until it may not any more, and tells how many came to be.
func forkMany(limit string) {
	n, _ := strconv.Atoi(limit)
	made := 0
	for range n {
		cmd := exec.Command("/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			break
		}
		made++
	}
	fmt.Println("made", made)
	os.Exit(0) // the others are for Close to end
}

// spin keeps a processor busy for a time.
func spin(text string) {
	d, _ := time.ParseDuration(text)
	for begun := time.Now(); time.Since(begun) < d; {
	}
	os.Exit(0)
}
