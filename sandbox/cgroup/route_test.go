package cgroup

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What the machines below are made of.
var (
	most  = []string{"cpu", "memory", "pids"}
	every = []string{"cpu", "cpuset", "io", "memory", "pids"}
	self  = []int{os.Getpid()}
	crowd = []int{os.Getpid(), 99991, 99992}
)

const userDir = "/user.slice/user-1000.slice/user@1000.service"

func handedOver(dir string, procs []int, enabled ...string) place {
	return place{dir: dir, writable: true, delegated: true, domain: true, controllers: most, enabled: enabled, procs: procs}
}

// desktop is a machine with systemd where an ordinary user is logged in.
func desktop(groups ...place) *machine {
	return &machine{
		uid: 1000, systemd: true, manager: []string{"unix:path=/run/user/1000/systemd/private"}, managerDir: userDir, managerHas: most,
		v2: "/cg", nsdelegate: true, kernelHas: every, groups: groups,
	}
}

func TestRoutes(t *testing.T) {
	session := place{dir: "/cg/s.scope"}
	noManager := func(m *machine) *machine {
		m.manager, m.managerHas = nil, nil
		return m
	}
	noSystemd := func(m *machine) *machine {
		m.systemd = false
		return noManager(m)
	}
	asRoot := func(m *machine) *machine {
		m.uid, m.managerHas, m.managerDir = 0, nil, "/"
		return m
	}
	top := place{dir: "/cg", writable: true, domain: true, top: true, controllers: every, enabled: []string{"pids"}, procs: []int{1, 2}}
	managed := top
	managed.manager = true
	threaded := handedOver("/cg/t.scope", nil)
	threaded.domain = false
	own := func(p place) place { p.delegated = false; return p }

	tests := []struct {
		name   string
		m      *machine
		need   string
		forced Way
		want   string // WAY PARENT [moves] [+enable] [-lacks]; ...
	}{
		{"a session asks for a scope", desktop(session), "memory pids", Auto, "scope"},
		{"a scope of a manager without io", desktop(session), "memory io", Auto, "scope -io"},
		{"an arranged subtree", desktop(handedOver("/cg/a.service/outside", self), handedOver("/cg/a.service", nil, "memory")), "memory", Auto,
			"direct /cg/a.service; direct /cg/a.service/outside self +memory; scope"},
		{"a subtree whose controllers are still off", desktop(handedOver("/cg/a.service", nil)), "memory pids", Auto, "direct /cg/a.service +memory,pids; scope"},
		{"alone in a unit of its own", desktop(handedOver("/cg/a.scope", self)), "memory", Auto, "direct /cg/a.scope self +memory; scope"},
		{"others in the unit: the manager is asked first", desktop(handedOver("/cg/a.scope", crowd)), "memory", Auto, "scope; direct /cg/a.scope all +memory"},
		{"others in the unit and no manager", noManager(desktop(handedOver("/cg/a.scope", crowd))), "memory", Auto, "direct /cg/a.scope all +memory"},
		{"processes of another pid namespace stay", noManager(desktop(handedOver("/cg/a.scope", []int{0, os.Getpid()}))), "memory", Auto, ""},
		{"no controller needed, nobody moves", desktop(handedOver("/cg/a.scope", crowd)), "", Auto, "direct /cg/a.scope; scope"},
		{"a subtree that lacks one comes after the complete way", desktop(handedOver("/cg/a.scope", nil)), "io", Auto, "direct /cg/a.scope -io; scope -io"},
		{"a writable unit of the manager's is not jail's", desktop(own(handedOver("/cg/a.scope", self))), "memory", Auto, "scope"},
		{"unless it is asked for", desktop(own(handedOver("/cg/a.scope", self))), "memory", Direct, "direct /cg/a.scope self +memory"},
		{"a threaded group holds no processes", noManager(desktop(threaded)), "memory", Auto, ""},
		{"forced to what there is not", desktop(session), "memory", Direct, ""},
		{"without systemd a writable folder is the user's", noSystemd(desktop(own(handedOver("/cg/u", nil)))), "memory", Auto, "direct /cg/u +memory"},
		{"root, systemd", asRoot(desktop(session, managed)), "memory", Auto, "scope; root /cg +memory"},
		{"root, no systemd: the tree's root may keep its processes", asRoot(noSystemd(desktop(top))), "memory pids", Auto, "root /cg +memory"},
		{"root in a container", asRoot(noSystemd(desktop(own(handedOver("/cg", crowd))))), "memory", Auto, "root /cg all +memory"},
		{"root on a hybrid machine", &machine{
			uid: 0, v2: "/cg/unified", kernelHas: []string{"hugetlb"}, v1: map[string]hierarchy{"memory": {}, "blkio": {}},
			groups: []place{{dir: "/cg/unified", writable: true, domain: true, top: true, controllers: []string{"hugetlb"}}},
		}, "memory io hugetlb", Auto, "v1; root /cg/unified +hugetlb -memory,io"},
		{"an ordinary user on a hybrid machine", &machine{uid: 1000, v2: "/cg/unified", v1: map[string]hierarchy{"memory": {}}}, "memory", Auto, ""},
		{"root on a v1 machine", &machine{uid: 0, v1: map[string]hierarchy{"memory": {}}}, "memory pids", Auto, "v1 -pids"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, r := range test.m.routes(strings.Fields(test.need), test.forced) {
				text := strings.TrimSpace(string(r.way) + " " + r.parent)
				text += []string{"", " self", " all"}[r.moves]
				if len(r.enable) > 0 {
					text += " +" + strings.Join(r.enable, ",")
				}
				if len(r.lacks) > 0 {
					text += " -" + strings.Join(r.lacks, ",")
				}
				got = append(got, text)
			}
			if all := strings.Join(got, "; "); all != test.want {
				t.Errorf("routes %q\nwant   %q", all, test.want)
			}
		})
	}
}

func TestWhyNot(t *testing.T) {
	session := place{dir: "/cg/s.scope"}
	tests := []struct {
		name                      string
		change                    func(*machine)
		groups                    []place
		controller                string
		where, reason, remedyPart string
	}{
		{"v1 has it", func(m *machine) { m.v1, m.kernelHas = map[string]hierarchy{"blkio": {mount: "/cg/blkio"}}, nil }, nil, "io",
			"/cg/blkio", "the io controller is bound to cgroup v1 here, where only root can set limits", "systemd.unified_cgroup_hierarchy=1"},
		{"no v2 at all", func(m *machine) { m.v2 = "" }, nil, "memory", "", "cgroup v2 is not mounted on this machine", "systemd.unified_cgroup_hierarchy=1"},
		{"the kernel lacks it", func(m *machine) { m.kernelHas = []string{"cpu"} }, nil, "memory", "/cg", "this kernel does not offer the memory controller", "cgroup_enable=memory"},
		{"a controller that does not exist", nil, nil, "memroy", "/cg", "this kernel does not offer the memroy controller", "check the controller's name"},
		{"the manager was not given io", nil, []place{session}, "io", userDir, "the user's systemd manager was not given the io controller", `[Service]\nDelegate=cpu cpuset io memory pids\n`},
		{"systemd never hands over hugetlb", func(m *machine) { m.kernelHas = append(every, "hugetlb") }, []place{session}, "hugetlb", userDir,
			"systemd does not hand the hugetlb controller over to users", "run jail as root"},
		{"no manager runs", func(m *machine) { m.manager = nil }, []place{session}, "memory", "/cg/s.scope", "no systemd manager of user 1000 is running to ask for a scope", "loginctl enable-linger 1000"},
		{"no systemd, nothing handed over", func(m *machine) { m.manager, m.systemd = nil, false }, []place{session}, "memory", "/cg/s.scope",
			"jail's own cgroup does not belong to user 1000", "chown -R 1000 $g"},
		{"a unit without io", func(m *machine) { m.manager = nil }, []place{handedOver("/cg/ci.service", self)}, "io", "/cg/ci.service",
			"the io controller was not handed over to this subtree", "add io to Delegate= of the unit ci.service"},
		{"a folder without io", func(m *machine) { m.manager, m.systemd = nil, false }, []place{handedOver("/cg/mine", self)}, "io", "/cg/mine",
			"the io controller is not switched on for this subtree", "echo +io > /cg/cgroup.subtree_control"},
		{"processes that cannot be moved", func(m *machine) { m.manager = nil }, []place{handedOver("/cg/a.scope", []int{0})}, "memory", "/cg/a.scope",
			"it holds processes that jail cannot move", "systemd-run --user --scope -p Delegate=yes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := desktop(test.groups...)
			if test.change != nil {
				test.change(m)
			}
			where, reason, remedy := m.whyNot(test.controller)
			if where != test.where || reason != test.reason || !strings.Contains(remedy, test.remedyPart) {
				t.Errorf("%s: %s (%s)\nwant %s: %s (...%s...)", where, reason, remedy, test.where, test.reason, test.remedyPart)
			}
		})
	}
}

func TestRefusalText(t *testing.T) {
	io := setting{controller: "io", file: "io.max", value: "8:0 rbps=1", pointer: "/linux/resources/blockIO/throttleReadBpsDevice/0"}
	high := setting{controller: "memory", file: "memory.high", value: "1"}
	all := Refusals{
		io.refused("/cg/x", "the manager was not given it", "log in again", nil),
		high.refused("", "not here", "log in again", os.ErrPermission),
		{Controller: "net_cls", Reason: "no such thing"},
		{Reason: "nowhere to make it"},
	}
	want := `limit io.max=8:0 rbps=1 cannot be applied in /cg/x: the manager was not given it
limit memory.high=1 cannot be applied: not here: permission denied
hint: log in again
limits on net_cls cannot be applied: no such thing
no control group can be made for the limits: nowhere to make it`
	if got := fmt.Sprint(error(all)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
