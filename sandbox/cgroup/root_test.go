package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"jail/test/need"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// rootUnified is for tests of root's ways on cgroup v2.
func rootUnified(t *testing.T) {
	t.Helper()
	need.Root(t)
	need.CgroupV2(t)
}

func TestRootScopeWithWhatSystemdDoesNotKnow(t *testing.T) {
	rootUnified(t)
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd; this machine runs without")
	}
	text, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if !strings.Contains(string(text), "hugetlb") {
		t.Skip("needs a kernel with CONFIG_CGROUP_HUGETLB")
	}
	out := supervised(t, order{
		Options: Options{Name: "root"},
		Res: &specs.LinuxResources{
			Memory: memoryLimit(64 << 20), Pids: &specs.LinuxPids{Limit: 50}, CPU: &specs.LinuxCPU{Cpus: "0"},
			HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		},
		Shell: `d=/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup); for f in memory.max pids.max cpuset.cpus hugetlb.2MB.max hugetlb.2MB.rsvd.max; do echo $f $(cat $d/$f); done`,
	})
	want := "memory.max 67108864\npids.max 50\ncpuset.cpus 0\nhugetlb.2MB.max 4194304\nhugetlb.2MB.rsvd.max 4194304\n"
	if out.Err != "" || out.Way != "scope" || out.Output != want {
		t.Errorf("%s by way %q, program:\n%s\nwant\n%s", out.Err, out.Way, out.Output, want)
	}
}

func TestRootTree(t *testing.T) {
	rootUnified(t)
	mem := memoryLimit(64 << 20)
	mem.Swap = mem.Limit
	out := supervised(t, order{
		Options: Options{Name: "tree", Way: Root, KillWithJail: true},
		Res:     &specs.LinuxResources{Memory: mem, Pids: &specs.LinuxPids{Limit: 50}},
		Program: "hog",
	})
	if out.Err != "" || out.Way != "root" || len(out.Causes) != 1 {
		t.Errorf("%s by way %q, exit %s, causes %+v", out.Err, out.Way, out.Exit, out.Causes)
	}
}

// A group with processes of others cannot switch controllers on for its sub-groups: they are moved, as a container
// needs it, whose processes all sit in the group that is the root for it.
func TestRootMovesTheOthersOut(t *testing.T) {
	rootUnified(t)
	dir := "/sys/fs/cgroup/crowded" + strconv.Itoa(os.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = remove(dir) }()
	if err := put("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids"); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("/bin/sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if err := move(dir, other.Process.Pid); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{dir, filepath.Join(dir, outside)} { // the second finds what the first has arranged
		out := crowded(t, from, order{
			Options: Options{Name: "moves", Way: Direct, KillWithJail: true},
			Res:     &specs.LinuxResources{Memory: memoryLimit(64 << 20)},
			Shell:   "grep ^0: /proc/self/cgroup",
		})
		if out.Err != "" || !strings.HasPrefix(out.Output, "0::"+strings.TrimPrefix(dir, "/sys/fs/cgroup")+"/jail-moves-") {
			t.Errorf("%s: the program is in %q", out.Err, out.Output)
		}
		gone(t, out.Dirs, 30*time.Second)
		if text, _ := get("/proc/" + strconv.Itoa(other.Process.Pid) + "/cgroup"); !strings.HasSuffix(text, "/"+outside) {
			t.Errorf("the other process is in %q, want a sub-group %s", text, outside)
		}
	}
}

// A jail that is alone in its group moves itself, and leaves the group as it was: at its end, and when it is killed.
func TestRootAloneLeavesNoTrace(t *testing.T) {
	rootUnified(t)
	if err := put("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids"); err != nil {
		t.Fatal(err)
	}
	o := order{
		Options: Options{Name: "alone", Way: Direct, KillWithJail: true},
		Res:     &specs.LinuxResources{Memory: memoryLimit(64 << 20)}, Shell: "sleep 1000 & true",
	}
	for i, name := range []string{"ended", "killed"} {
		t.Run(name, func(t *testing.T) {
			dir := "/sys/fs/cgroup/alone" + strconv.Itoa(os.Getpid()) + name
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			o.Hang = i == 1
			out := crowded(t, dir, o)
			if out.Err != "" || out.Way != "direct" {
				t.Fatalf("%s by way %q", out.Err, out.Way)
			}
			gone(t, append(out.Dirs, filepath.Join(dir, outside)), 30*time.Second)
			if on := words(dir + "/cgroup.subtree_control"); len(on) > 0 {
				t.Errorf("controllers %q are still on", on)
			}
			if err := remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// crowded runs a supervisor that starts in a group, and kills it when it hangs.
func crowded(t *testing.T, dir string, o order) outcome {
	t.Helper()
	o.Join = dir
	cmd, tells := start(t, o)
	var out outcome
	if err := tells.Decode(&out); err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	if o.Hang {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil && !o.Hang {
		t.Fatal(err)
	}
	return out
}

func TestRootKilledSupervisorLeavesNothing(t *testing.T) {
	rootUnified(t)
	killAtRandom(t, 30, order{
		Options: Options{Name: "killed", Way: Root, KillWithJail: true},
		Res:     &specs.LinuxResources{Memory: memoryLimit(64 << 20), Pids: &specs.LinuxPids{Limit: 20}},
		Shell:   "sleep 1000 & sleep 1000", Hang: true,
	}, 300*time.Millisecond)
}
