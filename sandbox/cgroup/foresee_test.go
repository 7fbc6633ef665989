package cgroup

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/test/need"
)

// Foresee names the way and what it lacks, and makes nothing.
func TestForesee(t *testing.T) {
	files := map[string]string{"proc/self/mountinfo": sysfsLine + unifiedLine, "proc/self/cgroup": "0::/box\n"}
	group(files, "", "", "cpuset memory pids", "memory pids", "1\n")
	group(files, "/box", "domain", "memory pids", "", "")
	root := tree(t, files)
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 5}, CPU: &specs.LinuxCPU{Cpus: "0"}}
	way, lacks, err := Foresee(res, Options{Root: root})
	if err != nil || !strings.HasPrefix(way, root+"/sys/fs/cgroup") {
		t.Fatalf("way %q, %v", way, err)
	}
	// The hierarchy's root has what the group below it was not given.
	if len(lacks) != 0 {
		t.Errorf("lacks %v", lacks)
	}
	res.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}
	res.Memory = &specs.LinuxMemory{Swappiness: new(uint64(1))}
	_, lacks, err = Foresee(res, Options{Root: root})
	if err != nil || !slices.ContainsFunc(lacks, func(r *Refused) bool { return r.Controller == "hugetlb" && r.Remedy != "" }) ||
		!slices.ContainsFunc(lacks, func(r *Refused) bool { return strings.Contains(r.Reason, "no swappiness") }) {
		t.Errorf("lacks %v, %v", lacks, err)
	}
	if made, _ := filepath.Glob(root + "/sys/fs/cgroup/*/jail-*"); len(made) > 0 {
		t.Errorf("it made %v", made)
	}
	empty := tree(t, map[string]string{"proc/self/mountinfo": sysfsLine, "proc/self/cgroup": "0::/\n"})
	if way, lacks, err := Foresee(res, Options{Root: empty}); err != nil || way != "" || len(lacks) == 0 {
		t.Errorf("without any cgroup: %q, %v, %v", way, lacks, err)
	}
}

// A manager that has ended and left its sockets behind is none, and the limits are refused as without one.
func TestManagerThatHasEnded(t *testing.T) {
	need.OrdinaryUser(t)
	files := map[string]string{"proc/self/mountinfo": sysfsLine + unifiedLine, "proc/self/cgroup": "0::/box\n", "run/systemd/system/.keep": ""}
	group(files, "", "", "memory pids", "memory pids", "1\n")
	root := tree(t, files)
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/own")
	sockets := filepath.Join(root, "run/user/own")
	if err := os.MkdirAll(sockets+"/systemd", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"systemd/private", "bus"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(sockets, name)})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
	}
	res := &specs.LinuxResources{Memory: memoryLimit(64 << 20)}
	if way, _, err := Foresee(res, Options{Root: root}); err != nil || !strings.Contains(way, "scope") {
		t.Fatalf("the sockets are not taken for a manager's: %q, %v", way, err)
	}
	g, err := Open(res, Options{Root: root, Name: "left"})
	if g != nil || err == nil || !strings.Contains(err.Error(), "no systemd manager of user") || !strings.Contains(err.Error(), "memory.max") {
		t.Errorf("%v, %v", g, err)
	}
	g, err = Open(res, Options{Root: root, Name: "left", Enforcement: Prefer})
	if err != nil || g.Way() != None || len(g.Warnings()) != 1 || !strings.Contains(g.Warnings()[0].Error(), "no systemd manager of user") {
		t.Errorf("preferred: %+v, %v", g, err)
	}
}

// A group that another process made is read by its folders.
func TestAt(t *testing.T) {
	dir := tree(t, map[string]string{"cgroup.events": "populated 1\n", "memory.current": "4096\n", "memory.max": "max\n", "pids.current": "3\n", "pids.max": "9\n"})
	s := At([]string{dir}).Stats()
	if s.Memory != (Reading{Value: 4096, Known: true}) || s.MemoryMax.Known || s.Processes.Value != 3 || s.ProcessesMax.Value != 9 || s.CPU.Known {
		t.Errorf("stats %+v", s)
	}
	if s := At([]string{dir + "/gone"}).Stats(); s.Memory.Known || s.CPU.Known {
		t.Errorf("of a group that is gone: %+v", s)
	}
}
