package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Way is how a group was come by.
type Way string

// The ways; the package comment describes them. Auto is the zero value of Options.Way.
const (
	Auto   Way = ""
	Direct Way = "direct"
	Scope  Way = "scope"
	Root   Way = "root"
	V1     Way = "v1"
	None   Way = "none" // no group at all, with enforcement "prefer"
)

// A route is one possible way on this machine with its particulars.
type route struct {
	way     Way
	parent  string   // the group in which the sandbox's is made; for a scope only known later
	top     bool     // the parent is the hierarchy's root
	address []string // D-Bus addresses of the manager, for a scope
	enable  []string // controllers to switch on for the parent's sub-groups
	moves   moves
	watch   *watcher // that has been started already, for a scope
	lacks   []string // controllers that are needed and cannot be had this way
}

// moves tells which processes have to leave the parent first: a group with processes of its own cannot switch
// controllers on for its sub-groups ("no internal processes", Documentation/admin-guide/cgroup-v2.rst).
type moves int

const (
	moveNone moves = iota
	moveSelf
	moveAll
)

func (r route) String() string {
	switch r.way {
	case Scope:
		return "a scope of the systemd manager at " + strings.TrimPrefix(r.address[0], "unix:path=")
	case V1:
		return "root's cgroup v1 hierarchies"
	}
	text := r.parent + ", a delegated cgroup v2 subtree"
	if r.way == Root {
		text = r.parent + ", root's own cgroup v2 tree"
	}
	switch r.moves {
	case moveSelf:
		text += " (jail moves into its sub-group " + outside + ")"
	case moveAll:
		text += " (its processes move into its sub-group " + outside + ")"
	}
	return text
}

// outside is the sub-group for what lives beside the sandboxes: jail's supervisor.
const outside = "outside"

// routes lists the possible ways, best first: those that give every controller in need before those that do not,
// and among these the cheap and quiet ones before those that ask others or move others.
func (m *machine) routes(need []string, forced Way) []route {
	var quiet, self, all []route
	for i, p := range m.groups {
		usable := p.writable && p.domain && !p.manager && (p.delegated || !m.systemd || forced == Direct)
		if !usable || i > 0 && slices.ContainsFunc(m.groups[:i], func(q place) bool { return q.manager }) {
			continue
		}
		r := route{way: Direct, parent: p.dir, top: p.top, lacks: without(need, p.controllers)}
		if m.uid == 0 && !p.delegated && forced != Direct {
			r.way = Root
		}
		r.enable = without(without(need, r.lacks), p.enabled)
		switch foreign := without(p.procs, []int{os.Getpid()}); {
		case p.top, len(r.enable) == 0, len(p.procs) == 0:
			quiet = append(quiet, r)
		case len(foreign) == 0:
			r.moves = moveSelf
			self = append(self, r)
		case slices.Contains(foreign, 0):
			// A process of another pid namespace has no number by which it could be moved.
		default:
			r.moves = moveAll
			all = append(all, r)
		}
	}
	list := append(quiet, self...)
	if len(m.manager) > 0 && m.v2 != "" {
		r := route{way: Scope, address: m.manager}
		switch {
		case m.uid == 0:
			r.lacks = without(need, m.kernelHas) // root switches on what systemd leaves off
		case m.managerHas != nil:
			r.lacks = without(need, m.managerHas)
		}
		list = append(list, r)
	}
	list = append(list, all...)
	if m.uid == 0 {
		// Behind the manager's back, when it does not answer: as runc's cgroupfs driver does.
		if n := len(m.groups); n > 0 && m.groups[n-1].top && m.groups[n-1].manager && m.groups[n-1].writable {
			p := m.groups[n-1]
			lacks := without(need, p.controllers)
			list = append(list, route{way: Root, parent: p.dir, top: true, lacks: lacks, enable: without(without(need, lacks), p.enabled)})
		}
		if len(m.v1) > 0 {
			var lacks []string
			for _, c := range need {
				if _, ok := m.v1[v1Name(c)]; !ok && !slices.Contains(m.kernelHas, c) {
					lacks = append(lacks, c)
				}
			}
			list = append(list, route{way: V1, lacks: lacks})
		}
	}
	if forced != Auto {
		list = slices.DeleteFunc(list, func(r route) bool { return r.way != forced })
	}
	slices.SortStableFunc(list, func(a, b route) int { return len(a.lacks) - len(b.lacks) })
	return list
}

// unaccounted counts the controllers of Stats that a way does not give.
func (m *machine) unaccounted(r route) (n int) {
	for _, c := range accounted {
		var has bool
		switch r.way {
		case V1:
			_, has = m.v1[v1Name(c)]
		case Scope:
			has = m.uid == 0 && slices.Contains(m.kernelHas, c) || m.uid != 0 && (m.managerHas == nil || slices.Contains(m.managerHas, c))
		default:
			has = slices.ContainsFunc(m.groups, func(p place) bool { return p.dir == r.parent && slices.Contains(p.controllers, c) })
		}
		if !has {
			n++
		}
	}
	return n
}

// whyNot says why a controller cannot be had on this machine, and what to do about it.
func (m *machine) whyNot(controller string) (where, reason, remedy string) {
	const unified = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line, or run jail as root"
	name := "the " + controller + " controller"
	if h, ok := m.v1[v1Name(controller)]; ok && !slices.Contains(m.kernelHas, controller) {
		return h.mount, name + " is bound to cgroup v1 here, where only root can set limits", unified
	}
	switch {
	case m.v2 == "":
		return "", "cgroup v2 is not mounted on this machine", unified
	case !slices.Contains(m.kernelHas, controller):
		return m.v2, "this kernel does not offer " + name, kernelRemedy(controller)
	}
	var near *place
	for i := range m.groups {
		if p := &m.groups[i]; p.writable && !p.manager && (p.delegated || !m.systemd) {
			near = p
			break
		}
	}
	switch {
	case near != nil && !slices.Contains(near.controllers, controller) && len(m.manager) == 0:
		if m.systemd {
			return near.dir, name + " was not handed over to this subtree", "add " + controller + " to Delegate= of the unit " + filepath.Base(near.dir)
		}
		return near.dir, name + " is not switched on for this subtree", fmt.Sprintf("as root: echo +%s > %s/cgroup.subtree_control", controller, filepath.Dir(near.dir))
	case near != nil && len(m.manager) == 0:
		return near.dir, "it holds processes that jail cannot move", "start jail in a group of its own: systemd-run --user --scope -p Delegate=yes jail ..."
	case !m.systemd:
		// What most limits need, as far as there is such, and what this one needs.
		on := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values([]string{"cpu", "io", "memory", "pids", controller}))), func(c string) bool { return !slices.Contains(m.kernelHas, c) })
		return m.ownDir(), "jail's own cgroup does not belong to user " + fmt.Sprint(m.uid), fmt.Sprintf(
			"as root: g=%s/jail-%d; mkdir -p $g/shell; echo '+%s' > %s/cgroup.subtree_control; chown -R %d $g; then echo PID > $g/shell/cgroup.procs for the shell that starts jail",
			m.v2, m.uid, strings.Join(on, " +"), m.v2, m.uid)
	case len(m.manager) == 0:
		return m.ownDir(), fmt.Sprintf("no systemd manager of user %d is running to ask for a scope", m.uid), fmt.Sprintf(
			"log in through a session (ssh, console; su opens none), or as root: loginctl enable-linger %d", m.uid)
	case m.managerHas != nil && !slices.Contains(m.managerHas, controller):
		if !slices.Contains(systemdKnows, controller) {
			return m.managerDir, "systemd does not hand " + name + " over to users", "run jail as root for this limit"
		}
		return m.managerDir, "the user's systemd manager was not given " + name, dropIn
	}
	return m.ownDir(), "no way to a cgroup with " + name + " was found", "see jail explain"
}

// dropIn hands the other controllers to the managers of all users; pids, memory and, since systemd 252, cpu are
// theirs already (systemd.resource-control(5), user@.service(5)).
const dropIn = `as root: mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > /etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload; then log out and in again`

// systemdKnows are the controllers that systemd can hand over (systemd.resource-control(5)).
var systemdKnows = []string{"cpu", "cpuset", "io", "memory", "pids"}

func (m *machine) ownDir() string {
	if len(m.groups) == 0 {
		return m.v2
	}
	return m.groups[0].dir
}

// kernelRemedy names the option that builds a controller in, and for memory the switch that distributions for
// small boards leave off.
func kernelRemedy(controller string) string {
	option, ok := map[string]string{
		"memory": "MEMCG", "io": "BLK_CGROUP", "cpu": "CGROUP_SCHED", "cpuset": "CPUSETS", "pids": "CGROUP_PIDS",
		"hugetlb": "CGROUP_HUGETLB", "rdma": "CGROUP_RDMA", "misc": "CGROUP_MISC",
	}[controller]
	switch {
	case !ok:
		return "check the controller's name: cgroup v2 has cpu, cpuset, hugetlb, io, memory, misc, pids and rdma"
	case controller == "memory":
		return "boot with cgroup_enable=memory on the kernel's command line (and without cgroup_disable=memory), or use a kernel with CONFIG_MEMCG=y"
	}
	return "use a kernel with CONFIG_" + option + "=y, and no cgroup_disable=" + controller + " on its command line"
}

// v1Name is what cgroup v1 calls a controller.
func v1Name(controller string) string {
	if controller == "io" {
		return "blkio"
	}
	return controller
}

// without gives the elements of all that are not in some.
func without[E comparable](all, some []E) []E {
	var rest []E
	for _, e := range all {
		if !slices.Contains(some, e) {
			rest = append(rest, e)
		}
	}
	return rest
}
