package cgroup

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"jail/test/need"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// unified is for tests that an ordinary user with a systemd manager of their own can run on cgroup v2.
func unified(t testing.TB) {
	t.Helper()
	need.CgroupV2(t)
	need.OrdinaryUser(t)
	m, err := look("")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.manager) == 0 {
		t.Skip("needs a systemd manager of the user's own; log in, or loginctl enable-linger")
	}
}

// both runs a test by both ways of an ordinary user: a scope from the manager, and then, inside of a scope that was
// made before, a folder in the subtree that was handed over with it.
func both(t *testing.T, test func(t *testing.T, first, way Way)) {
	unified(t)
	t.Run("scope", func(t *testing.T) { test(t, Auto, Scope) })
	t.Run("direct", func(t *testing.T) { test(t, Scope, Direct) })
}

func TestUserEveryLimit(t *testing.T) {
	both(t, func(t *testing.T, first, way Way) {
		mem := memoryLimit(64 << 20)
		mem.Reservation, mem.Swap = new(int64(16<<20)), new(int64(64<<20))
		out := supervised(t, order{
			First: first, Options: Options{Name: "every", Account: true},
			Res: &specs.LinuxResources{
				Memory: mem, Pids: &specs.LinuxPids{Limit: 50},
				CPU:     &specs.LinuxCPU{Quota: new(int64(50000)), Cpus: "0", Mems: "0"},
				Unified: map[string]string{"memory.high": "32M", "memory.oom.group": "1", "cpu.weight": "50"},
			},
			Shell: `d=/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup)
				for f in memory.max memory.high memory.low memory.swap.max memory.oom.group pids.max cpu.max cpu.weight cpuset.cpus cpuset.mems cgroup.max.descendants; do
				echo $f $(cat $d/$f); done; grep Cpus_allowed_list /proc/self/status`,
		})
		want := "memory.max 67108864\nmemory.high 33554432\nmemory.low 16777216\nmemory.swap.max 0\nmemory.oom.group 1\npids.max 50\ncpu.max 50000 100000\n" +
			"cpu.weight 50\ncpuset.cpus 0\ncpuset.mems 0\ncgroup.max.descendants 0\nCpus_allowed_list:\t0\n"
		if out.Err != "" || out.Way != string(way) || out.Output != want {
			t.Errorf("%s by way %q (%s), program:\n%s\nwant\n%s", out.Err, out.Way, out.Exit, out.Output, want)
		}
		s := out.Stats
		if !s.Memory.Known || s.MemoryMax.Value != 64<<20 || s.ProcessesMax.Value != 50 || s.CPUQuota.Value != 500 || !s.CPUUser.Known || !s.Read.Known {
			t.Errorf("stats %+v", s)
		}
		t.Logf("%s; open %v, close %v", out.Text, out.Open, out.Close)
	})
}

func TestUserMemoryKillIsExplained(t *testing.T) {
	both(t, func(t *testing.T, first, way Way) {
		mem := memoryLimit(64 << 20)
		mem.Swap = new(int64(64 << 20))
		out := supervised(t, order{First: first, Options: Options{Name: "hog"}, Res: &specs.LinuxResources{Memory: mem}, Program: "hog"})
		if out.Exit != "signal: killed" || len(out.Causes) != 1 ||
			out.Causes[0].Text != "out of memory: the kernel killed 1 process that had reached the memory limit of 64 MiB" ||
			out.Causes[0].Pointer != "/linux/resources/memory/limit" {
			t.Errorf("%s %s, causes %+v, events %+v", out.Err, out.Exit, out.Causes, out.Events)
		}
	})
	t.Run("control", func(t *testing.T) {
		if text, err := os.ReadFile("/proc/swaps"); err != nil || !strings.Contains(string(text), " ") || strings.Count(string(text), "\n") < 2 {
			t.Skip("needs swap space to compare with")
		}
		mem := memoryLimit(64 << 20)
		mem.Swap = new(int64(320 << 20))
		out := supervised(t, order{First: Scope, Options: Options{Name: "control"}, Res: &specs.LinuxResources{Memory: mem}, Program: "hog"})
		if !strings.Contains(out.Output, "got 160 MB") || len(out.Causes) > 0 {
			t.Errorf("with swap to go to, the program shall get its memory: %+v", out)
		}
	})
}

func TestUserForksAreStoppedAndAllEnd(t *testing.T) {
	both(t, func(t *testing.T, first, way Way) {
		out := supervised(t, order{First: first, Options: Options{Name: "fork"}, Res: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 20}}, Program: "fork 30"})
		if out.Exit != "0" || len(out.Left) < 5 || len(out.Left) > 20 || out.Events.PidsRefused == 0 {
			t.Errorf("%s %s %q: %d left, %+v", out.Err, out.Exit, out.Output, len(out.Left), out.Events)
		}
		if len(out.Causes) != 1 || !strings.HasPrefix(out.Causes[0].Text, "too many processes: the limit of 20 refused ") {
			t.Errorf("causes %+v", out.Causes)
		}
		for _, pid := range out.Left {
			if alive(pid) {
				t.Errorf("process %d has outlived its group", pid)
			}
		}
	})
}

func TestUserCPUQuota(t *testing.T) {
	unified(t)
	out := supervised(t, order{
		Options: Options{Name: "cpu", Account: true},
		Res:     &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(50000))}},
		Program: "spin 5s",
	})
	share := float64(out.Stats.CPU.Value) / float64(out.Wall.Microseconds())
	t.Logf("%.3f of a cpu over %v, %d periods throttled", share, out.Wall, out.Stats.Throttled.Value)
	if out.Err != "" || share > 0.55 || share < 0.45 || out.Stats.Throttled.Value == 0 {
		t.Errorf("%s: used %.3f of a cpu with a quota of 0.5, stats %+v", out.Err, share, out.Stats)
	}
}

func TestUserRefusals(t *testing.T) {
	tests := []struct {
		name string
		res  specs.LinuxResources
		want string
	}{
		{"a cpu that is not there", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0-3"}}, "limit cpuset.cpus=0-3 cannot be applied in "},
		{"a number no machine has", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}, "there is no such cpu"},
		{"a device that is not there", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(4000, 1, 5)}}}, "there is no such block device"},
		{"a weight that nothing heeds", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(50))}}, "no disk of this machine shares its time by weight"},
		{"a file that does not exist", specs.LinuxResources{Unified: map[string]string{"memory.nonsense": "1"}}, "this kernel has no such file"},
		{"huge pages", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 0}}}, "systemd does not hand the hugetlb controller over to users"},
		{"what only v1 has", specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: new(uint64(0))}}, "cgroup v2 has no swappiness for a group"},
		{"a weight out of range", specs.LinuxResources{Unified: map[string]string{"cpu.weight": "20000"}}, "the kernel refused the value"},
	}
	unified(t)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			first := Scope
			if i == 0 {
				first = Auto
			}
			out := supervised(t, order{First: first, Options: Options{Name: "refused"}, Res: &test.res, Shell: "echo it ran"})
			if !strings.Contains(out.Err, test.want) || out.Output != "" {
				t.Errorf("error %q, output %q; want %q", out.Err, out.Output, test.want)
			}
			out = supervised(t, order{First: first, Options: Options{Name: "refused", Enforcement: Prefer}, Res: &test.res, Shell: "echo it ran"})
			if out.Err != "" || len(out.Warnings) == 0 || !strings.Contains(out.Warnings[0], test.want) || out.Output != "it ran\n" {
				t.Errorf("with prefer: error %q, warnings %q, output %q", out.Err, out.Warnings, out.Output)
			}
		})
	}
}

func TestUserKilledSupervisorLeavesNothing(t *testing.T) {
	times := 100
	if testing.Short() {
		times = 20
	}
	both(t, func(t *testing.T, first, way Way) {
		killAtRandom(t, times, order{
			First: first, Options: Options{Name: "killed", KillWithJail: true},
			Res:   &specs.LinuxResources{Memory: memoryLimit(64 << 20), Pids: &specs.LinuxPids{Limit: 20}},
			Shell: "sleep 1000 & sleep 1000", Hang: true,
		}, 600*time.Millisecond)
	})
}

// The group of a user whose manager does not answer any more.
func TestUserWithoutWatcherIsSweptByTheNext(t *testing.T) {
	unified(t)
	g, err := Open(nil, Options{Name: "home", Way: Scope})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	options := Options{Name: "left" + strconv.Itoa(time.Now().Nanosecond()), Way: Direct}
	left, err := Open(nil, options)
	if err != nil {
		t.Fatal(err)
	}
	// As if jail and its watcher had been killed together.
	left.watch.stop()
	for _, fd := range left.locks {
		unix.Close(fd)
	}
	living, err := Open(nil, options)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	gone(t, left.dirs, 0)
	next, err := Open(nil, options)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if !exist(living.dirs) {
		t.Error("the sweep has taken a group that lives")
	}
}

func TestUserFreezeStopsAndThaws(t *testing.T) {
	unified(t)
	g, err := Open(nil, Options{Name: "freeze", Account: true})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	freezeAndThaw(t, g)
}

func TestUserPeaksAreKept(t *testing.T) {
	unified(t)
	out := supervised(t, order{
		Options: Options{Name: "peak", Account: true}, Sample: true,
		Res:     &specs.LinuxResources{Memory: memoryLimit(-1)},
		Program: "hog", Wait: 0,
	})
	s := out.Stats
	if out.Err != "" || !s.MemoryPeak.Known || s.MemoryPeak.Value < 100<<20 || !s.ProcessesPeak.Known || s.ProcessesPeak.Value == 0 {
		t.Errorf("%s: peaks %+v, %+v", out.Err, s.MemoryPeak, s.ProcessesPeak)
	}
	t.Logf("report %s", out.Report)
}
