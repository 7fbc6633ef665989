package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jail/test/need"
)

// What a control group adds to a start. Times are those of an emulated machine, so they are compared with each other: the
// shortest, which nobody else's work is part of. The number of system calls is the same on every machine.
func TestStartCostOfLimits(t *testing.T) {
	limited(t, "")
	bench := filepath.Join(need.Tree(t), "test", "bench")
	start := func(profile string) []string {
		return []string{need.Jail(t), "--profile", filepath.Join(bench, profile), "/bin/true"}
	}
	for _, way := range ways {
		most := map[string]struct{ times, calls float64 }{"scope": {8, 2}, "direct": {1.35, 1.25}}[way.name]
		t.Run(way.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "figures")
			t.Log(must(t, join(way.argv, []string{"/stage/bench", "-tree", need.Tree(t), "-only", "same mounts", "-rounds", "15", "-json", file})...))
			var figures struct {
				Starts []struct {
					Name string  `json:"name"`
					Min  float64 `json:"min_ms"`
				} `json:"starts"`
			}
			text, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(text, &figures)
			}
			if err != nil {
				t.Fatal(err)
			}
			took := map[string]float64{}
			for _, s := range figures.Starts {
				took[s.Name] = s.Min
			}
			without, with := took["jail, same mounts"], took["jail, same mounts, scope"]
			if way.name == "direct" {
				with = took["jail, same mounts, subtree"]
			}
			if without == 0 || with == 0 {
				t.Errorf("%.1f ms without limits and %.1f with", without, with)
			} else if with/without > most.times { // a busy machine beside the guest makes it so, too: the calls below decide
				t.Logf("%.1f ms without limits and %.1f with: at most %.2f times as much is wanted", without, with, most.times)
			}
			plain, more := calls(t, way.argv, start("same.yaml")), calls(t, way.argv, start("limits.yaml"))
			t.Logf("%d system calls without limits, %d with", plain, more)
			if float64(more)/float64(plain) > most.calls {
				t.Errorf("%d system calls without limits and %d with: at most %.2f times as many are wanted", plain, more, most.calls)
			}
		})
	}
}

// calls counts the system calls of a command and all that it starts, without those that the Go runtime makes or not as
// time passes.
func calls(t *testing.T, way, argv []string) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calls")
	must(t, join(way, []string{need.Program(t, "strace"), "-f", "-qq", "-e", "signal=none", "-o", file,
		"-e", "trace=!nanosleep,futex,sched_yield,rt_sigreturn,tgkill,getpid,epoll_pwait,restart_syscall,madvise,wait4,waitid,poll,ppoll"}, argv)...)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A call that another thread's came in between of is on two lines.
	return strings.Count(string(text), "\n") - strings.Count(string(text), " resumed>")
}
