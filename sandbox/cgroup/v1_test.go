package cgroup

import (
	"os"
	"strings"
	"testing"
	"time"

	"jail/test/need"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hybrid is for tests of cgroup v1 on a machine that has it.
func hybrid(t *testing.T) {
	t.Helper()
	need.Root(t)
	if text, _ := os.ReadFile("/proc/self/mountinfo"); !strings.Contains(string(text), " - cgroup cgroup ") {
		t.Skip("needs cgroup v1 hierarchies; machines with cgroup v2 alone have none")
	}
}

func memoryLimit(n int64) *specs.LinuxMemory { return &specs.LinuxMemory{Limit: &n} }

func TestRootV1EveryLimit(t *testing.T) {
	hybrid(t)
	mem := memoryLimit(64 << 20)
	mem.Reservation, mem.Swappiness = new(int64(32<<20)), new(uint64(0))
	out := supervised(t, order{
		Options: Options{Name: "every", Account: true},
		Res: &specs.LinuxResources{
			Memory: mem, Pids: &specs.LinuxPids{Limit: 50},
			CPU: &specs.LinuxCPU{Quota: new(int64(50000)), Period: new(uint64(100000)), Shares: new(uint64(512)), Cpus: "0", Mems: "0"},
		},
		Shell: `for c in memory pids cpu cpuset; do d=$(sed -n "s/^[0-9]*:$c:/\/sys\/fs\/cgroup\/$c/p" /proc/self/cgroup)
			for f in memory.limit_in_bytes memory.soft_limit_in_bytes memory.swappiness pids.max cpu.shares cpu.cfs_quota_us cpuset.cpus; do
				[ -e $d/$f ] && echo $f $(cat $d/$f); done; done; grep Cpus_allowed_list /proc/self/status`,
	})
	want := "memory.limit_in_bytes 67108864\nmemory.soft_limit_in_bytes 33554432\nmemory.swappiness 0\npids.max 50\ncpu.shares 512\ncpu.cfs_quota_us 50000\ncpuset.cpus 0\nCpus_allowed_list:\t0\n"
	if out.Err != "" || out.Way != "v1" || out.Output != want {
		t.Errorf("%s by way %q (%s), program:\n%s\nwant\n%s", out.Err, out.Way, out.Exit, out.Output, want)
	}
	s := out.Stats
	if !s.MemoryPeak.Known || !s.ProcessesMax.Known || s.ProcessesMax.Value != 50 || s.CPUQuota.Value != 500 || !s.CPU.Known || s.MemoryMax.Value != 64<<20 {
		t.Errorf("stats %+v", s)
	}
}

func TestRootV1MemoryKillIsExplained(t *testing.T) {
	hybrid(t)
	free := supervised(t, order{Options: Options{Name: "control"}, Res: &specs.LinuxResources{Memory: memoryLimit(-1)}, Program: "hog"})
	if !strings.Contains(free.Output, "got 160 MB") {
		t.Fatalf("without a limit the program shall get its memory: %+v", free)
	}
	both := memoryLimit(64 << 20)
	both.Swap = both.Limit
	for name, mem := range map[string]*specs.LinuxMemory{"memory": memoryLimit(64 << 20), "memory and swap": both} {
		t.Run(name, func(t *testing.T) {
			out := supervised(t, order{Options: Options{Name: "hog"}, Res: &specs.LinuxResources{Memory: mem}, Program: "hog"})
			if out.Exit != "signal: killed" || len(out.Causes) != 1 ||
				out.Causes[0].Text != "out of memory: the kernel killed 1 process that had reached the memory limit of 64 MiB" ||
				out.Causes[0].Pointer != "/linux/resources/memory/limit" {
				t.Errorf("%s %s, causes %+v", out.Err, out.Exit, out.Causes)
			}
		})
	}
}

func TestRootV1ForksAreStoppedAndAllEnd(t *testing.T) {
	hybrid(t)
	out := supervised(t, order{Options: Options{Name: "fork"}, Res: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 30}}, Program: "fork 100"})
	if out.Exit != "0" || len(out.Left) < 10 || len(out.Left) > 30 || out.Events.PidsRefused == 0 {
		t.Errorf("%s %s %q: %d left, %+v", out.Err, out.Exit, out.Output, len(out.Left), out.Events)
	}
	if len(out.Causes) != 1 || !strings.HasPrefix(out.Causes[0].Text, "too many processes: the limit of 30 refused ") {
		t.Errorf("causes %+v", out.Causes)
	}
	for _, pid := range out.Left {
		if alive(pid) {
			t.Errorf("process %d has outlived its group", pid)
		}
	}
}

func TestRootV1CPUQuota(t *testing.T) {
	hybrid(t)
	out := supervised(t, order{
		Options: Options{Name: "cpu", Account: true},
		Res:     &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(20000)), Period: new(uint64(100000))}},
		Program: "spin 2s",
	})
	share := float64(out.Stats.CPU.Value) / float64(out.Wall.Microseconds())
	// Only the ceiling: on a busy machine the program may get less, and is then never throttled.
	if out.Err != "" || share > 0.25 || share > 0.19 && out.Stats.Throttled.Value == 0 {
		t.Errorf("%s: used %.2f of a cpu with a quota of 0.2, stats %+v", out.Err, share, out.Stats)
	}
}

func TestRootV1Refusals(t *testing.T) {
	hybrid(t)
	tests := []struct {
		name string
		res  specs.LinuxResources
		want string
	}{
		{"a cpu that is not there", specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}, "limit cpuset.cpus=4000 cannot be applied in "},
		{"a device that is not there", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(4000, 1, 5)}}}, "there is no such block device"},
		{"what only v2 has", specs.LinuxResources{Unified: map[string]string{"memory.high": "1000000"}}, "cgroup v1 has nothing that means the same"},
		{"a period too long", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(5000000)), Quota: new(int64(1000))}}, "the kernel refused the value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := mine(t)
			out := supervised(t, order{Options: Options{Name: "refused"}, Res: &test.res, Shell: "echo it ran"})
			if !strings.Contains(out.Err, test.want) || out.Output != "" {
				t.Errorf("error %q, output %q; want %q", out.Err, out.Output, test.want)
			}
			if after := mine(t); strings.Join(after, " ") != strings.Join(before, " ") {
				t.Errorf("folders left: %v", after)
			}
			out = supervised(t, order{Options: Options{Name: "refused", Enforcement: Prefer}, Res: &test.res, Shell: "echo it ran"})
			if out.Err != "" || len(out.Warnings) == 0 || !strings.Contains(out.Warnings[0], test.want) || out.Output != "it ran\n" {
				t.Errorf("with prefer: error %q, warnings %q, output %q", out.Err, out.Warnings, out.Output)
			}
		})
	}
}

func TestRootV1KilledSupervisorLeavesNothing(t *testing.T) {
	hybrid(t)
	killAtRandom(t, 20, order{
		Options: Options{Name: "killed", KillWithJail: true},
		Res:     &specs.LinuxResources{Memory: memoryLimit(64 << 20), Pids: &specs.LinuxPids{Limit: 20}, HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}},
		Shell:   "sleep 1000 & sleep 1000", Hang: true,
	}, 60*time.Millisecond)
}

func TestRootV1FreezeStopsAndThaws(t *testing.T) {
	hybrid(t)
	g, err := Open(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 20}}, Options{Name: "freeze", Way: V1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	freezeAndThaw(t, g)
}
