package cgroup

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestOwnGroups(t *testing.T) {
	m := &machine{v2: "/sys/fs/cgroup", v1: map[string]hierarchy{
		"cpu":     {mount: "/sys/fs/cgroup/cpu,cpuacct", own: "/sys/fs/cgroup/cpu,cpuacct/jail-a"},
		"cpuacct": {mount: "/sys/fs/cgroup/cpu,cpuacct", own: "/sys/fs/cgroup/cpu,cpuacct/jail-a"},
		"pids":    {mount: "/sys/fs/cgroup/pids", own: "/sys/fs/cgroup/pids/jail-a"},
	}}
	type membership = map[string]string
	tests := []struct {
		name           string
		inside, around membership
		v2root         string
		unified        string
		v1             []string
		err            string
	}{
		{"no group of its own", membership{"": "/user.slice"}, membership{"": "/user.slice"}, "/", "", nil, ""},
		{"a group of cgroup v2", membership{"": "/user.slice/jail-a"}, membership{"": "/user.slice"}, "/", "/sys/fs/cgroup/user.slice/jail-a", nil, ""},
		{"seen from a container", membership{"": "/machine/c1/jail-a"}, membership{"": "/machine/c1"}, "/machine/c1", "/sys/fs/cgroup/jail-a", nil, ""},
		{"outside of what a container sees", membership{"": "/machine/c2/jail-a"}, membership{"": "/"}, "/machine/c1", "", nil, "is not to be seen from here"},
		{
			"some hierarchies of cgroup v1", membership{"": "/", "cpu": "/jail-a", "cpuacct": "/jail-a", "pids": "/jail-a", "memory": "/"},
			membership{"": "/", "cpu": "/", "cpuacct": "/", "pids": "/", "memory": "/"}, "/", "",
			[]string{"/sys/fs/cgroup/cpu,cpuacct/jail-a", "/sys/fs/cgroup/pids/jail-a"}, "",
		},
		{"a hierarchy that is not mounted", membership{"net_cls": "/jail-a"}, membership{"net_cls": "/"}, "/", "", nil, "hierarchy net_cls"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			unified, v1, err := m.ownGroups(test.inside, test.around, test.v2root)
			slices.Sort(v1)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if unified != test.unified || !slices.Equal(v1, test.v1) || (test.err == "") != (err == nil) || !strings.Contains(said, test.err) {
				t.Errorf("groups %q and %q, error %q; want %q and %q, error %q", unified, v1, said, test.unified, test.v1, test.err)
			}
		})
	}
}

func TestUnitOf(t *testing.T) {
	const slice = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice"
	for dir, want := range map[string][2]string{
		slice + "/jail-a-1-x.scope/program":        {"jail-a-1-x.scope", "/program"},
		slice + "/jail-a-1-x.scope":                {"jail-a-1-x.scope", "/"},
		slice + "/ci.service/jail-a-1-x/below":     {"ci.service", "/jail-a-1-x/below"},
		"/sys/fs/cgroup/system.slice/a.service/b/": {"a.service", "/b/"},
	} {
		if unit, sub, ok := unitOf(dir); !ok || unit != want[0] || sub != want[1] {
			t.Errorf("unitOf(%s) = %s, %s, %v; want %q", dir, unit, sub, ok, want)
		}
	}
	if unit, sub, ok := unitOf("/sys/fs/cgroup/jail-1000/jail-a-1-x"); ok {
		t.Errorf("a unit %s, %s where there is none", unit, sub)
	}
}

func TestUserJoins(t *testing.T) {
	both(t, func(t *testing.T, first, way Way) {
		joins(t, order{First: first, Options: Options{Name: "join", KillWithJail: true}, Res: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 20}}}, way)
	})
}

func TestRootJoins(t *testing.T) {
	rootUnified(t)
	joins(t, order{Options: Options{Name: "join", Way: Root, KillWithJail: true}, Res: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 20}}}, Root)
}

func TestRootV1Joins(t *testing.T) {
	hybrid(t)
	joins(t, order{
		Options: Options{Name: "join", KillWithJail: true},
		Res:     &specs.LinuxResources{Memory: memoryLimit(64 << 20), Pids: &specs.LinuxPids{Limit: 20}},
	}, V1)
}

// joins puts a process of this test's, which is no member of the group's unit, into the group of a sandbox, and sees to it
// that it is counted there and ends with the sandbox.
func joins(t *testing.T, o order, way Way) {
	t.Helper()
	o.Shell, o.Hang = "sleep 1000", true
	supervisor, tells := start(t, o)
	defer supervisor.Wait()
	defer supervisor.Process.Kill()
	var out outcome
	if err := tells.Decode(&out); err != nil || out.Err != "" || out.Way != string(way) {
		t.Fatalf("%v, %s by way %q, want %q", err, out.Err, out.Way, way)
	}
	group := ""
	for _, dir := range out.Dirs { // a scope has its processes in a folder below
		if len(words(filepath.Join(dir, "cgroup.procs"))) > 0 && words(filepath.Join(dir, "pids.max")) != nil {
			group = dir
		}
	}
	if group == "" {
		t.Fatalf("no process is in a group of %v", out.Dirs)
	}
	first, _ := strconv.Atoi(words(filepath.Join(group, "cgroup.procs"))[0])
	guest := exec.Command("/bin/sleep", "1000")
	if err := guest.Start(); err != nil {
		t.Fatal(err)
	}
	defer guest.Process.Kill()
	ended := make(chan struct{})
	go func() {
		_ = guest.Wait() // "signal: killed" is what is wanted
		close(ended)
	}()

	// What has no group of its own is joined by doing nothing.
	if add, err := Join(supervisor.Process.Pid, supervisor.Process.Pid); add != nil || err != nil {
		t.Errorf("a process without a group of its own: %v", err)
	}
	add, err := Join(first, supervisor.Process.Pid)
	if err != nil || add == nil {
		t.Fatalf("nothing to join: %v", err)
	}
	before := words(filepath.Join(group, "pids.current"))
	if err := add(guest.Process.Pid); err != nil {
		t.Fatal(err)
	}
	in, _ := get("/proc/" + strconv.Itoa(first) + "/cgroup")
	joined, _ := get("/proc/" + strconv.Itoa(guest.Process.Pid) + "/cgroup")
	after := words(filepath.Join(group, "pids.current"))
	if joined != in || slices.Equal(before, after) {
		t.Errorf("it is in\n%s\nthe sandbox in\n%s\nprocesses counted: %v, then %v", joined, in, before, after)
	}
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("it has outlived the sandbox")
	}
	gone(t, out.Dirs, 30*time.Second)
}
