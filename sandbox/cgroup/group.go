package cgroup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Enforcement says what becomes of a limit that cannot be applied.
type Enforcement string

// Require, the zero value too, makes it an error; Prefer a warning in Group.Warnings.
const (
	Require Enforcement = "require"
	Prefer  Enforcement = "prefer"
)

// Options say how a group is to be made.
type Options struct {
	Enforcement Enforcement
	Name        string // of the sandbox: a part of the group's name
	Way         Way    // this way and no other; Auto chooses
	// Account switches on the controllers that Stats reads, beyond those that the limits need and as far as
	// they are to be had.
	Account bool
	// KillWithJail ends the program when jail dies, whatever became of its parent death signal.
	KillWithJail bool
	// Survey is the look at the machine that was begun ahead, if there was one.
	Survey *Survey
	// Root comes before the paths of /proc, /run and the hierarchies, for tests on a tree of their own.
	Root string
}

// A Group is a sandbox's control group.
type Group struct {
	way      Way
	text     string
	dir      string // the v2 group with the limits, "" for none
	leaf     string // the v2 group with the program: dir, or one below it
	file     int    // leaf as a descriptor for clone3, or -1
	v1       map[string]string
	dirs     []string // every folder that was made, inner ones first
	locks    []int
	watch    *watcher
	late     bool // the program must be moved into the group, not cloned into it
	outlives bool // the watcher has something to do even after Close
	limits   []setting
	warnings Refusals
	peaks    *sampler
}

// A Survey is a look at the machine's control groups that goes on beside other work.
type Survey struct {
	done  chan struct{}
	found *machine
	err   error
}

// Look begins one, for a group that is likely to be asked for. It changes nothing on the machine.
func Look() *Survey {
	s := &Survey{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.found, s.err = look("")
	}()
	return s
}

// machine gives what was seen, and looks itself where there was no survey.
func (s *Survey) machine(root string) (*machine, error) {
	if s == nil {
		return look(root)
	}
	<-s.done
	return s.found, s.err
}

// Pending is an Open under way.
type Pending struct {
	done  chan struct{}
	group *Group
	err   error
}

// Begin starts Open beside other work. It may move this process into another group, so nothing that must stay in
// the caller's group may be started before Wait has returned.
func Begin(res *specs.LinuxResources, o Options) *Pending {
	p := &Pending{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.group, p.err = Open(res, o)
	}()
	return p
}

// Wait gives what Open gives. A Pending that is not wanted any more must be waited for and closed as well.
func (p *Pending) Wait() (*Group, error) {
	<-p.done
	return p.group, p.err
}

// Open makes a group with the limits in res, which may be nil. The error is of type Refusals when the machine or
// the kernel would not take a limit. With Prefer such limits are left out and told by Warnings.
func Open(res *specs.LinuxResources, o Options) (*Group, error) {
	switch {
	case !validName(o.Name):
		return nil, fmt.Errorf("cgroup name %q: want 1 to 64 of A-Z a-z 0-9 _ . -", o.Name)
	case o.Enforcement != "" && o.Enforcement != Require && o.Enforcement != Prefer:
		return nil, fmt.Errorf("cgroup enforcement %q: want require or prefer", o.Enforcement)
	}
	m, err := o.Survey.machine(o.Root)
	if err != nil {
		return nil, fmt.Errorf("look for cgroups: %w", err)
	}
	w := work{machine: m, options: o, res: res}
	w.set, w.refused = settings(res)
	return w.open()
}

// work is one Open.
type work struct {
	*machine
	options Options
	res     *specs.LinuxResources
	set     []setting
	refused Refusals // by cgroup v2; v1 may know better
}

func (w *work) open() (*Group, error) {
	prefer := w.options.Enforcement == Prefer
	need := w.need()
	var failed []error
	routes := w.routes(need, w.options.Way)
	if w.options.Account && len(need) == 0 {
		// The group is for its figures alone.
		slices.SortStableFunc(routes, func(a, b route) int { return w.unaccounted(a) - w.unaccounted(b) })
	}
	for _, r := range routes {
		if len(r.lacks) > 0 && !prefer && len(need) > 0 {
			break
		}
		if r.moves == moveAll && len(failed) > 0 {
			continue // others are moved where there is no way but that, not because another has failed
		}
		g, refused, err := w.build(r)
		if errors.Is(err, errNoManager) {
			w.manager = nil
			continue
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r, err))
			continue
		}
		if len(refused) > 0 && !prefer {
			return nil, errors.Join(refused, g.Close())
		}
		g.warnings = refused
		return g, nil
	}
	refusals := w.explain(w.routes(need, w.options.Way), failed)
	if prefer || len(need) == 0 {
		return &Group{way: None, text: "no cgroup", file: -1, warnings: refusals}, nil
	}
	return nil, refusals
}

// Foresee tells what Open would do on this machine, and makes nothing: the way in words, "" for none, and the limits
// that it lacks the controllers for. What a manager answers, and what the kernel says of a value, shows at a start only.
func Foresee(res *specs.LinuxResources, o Options) (way string, lacks Refusals, err error) {
	m, err := look(o.Root)
	if err != nil {
		return "", nil, fmt.Errorf("look for cgroups: %w", err)
	}
	w := work{machine: m, options: o, res: res}
	w.set, w.refused = settings(res)
	routes := w.routes(w.need(), o.Way)
	if len(routes) == 0 {
		return "", w.explain(nil, nil), nil
	}
	best := routes[0]
	if best.way == V1 {
		_, lacks = settingsV1(res)
	} else {
		lacks = slices.Clone(w.refused)
	}
	for _, s := range w.set {
		if slices.Contains(best.lacks, s.controller) {
			where, reason, remedy := w.whyNot(s.controller)
			lacks = append(lacks, s.refused(where, reason, remedy, nil))
		}
	}
	return best.String(), lacks, nil
}

// need lists the controllers that the limits take.
func (w *work) need() []string {
	need := controllersOf(w.set)
	for _, r := range w.refused {
		if r.Controller != "" && !slices.Contains(need, r.Controller) {
			need = append(need, r.Controller)
		}
	}
	return need
}

// explain turns "no way" into one refusal for each limit that stands in the way.
func (w *work) explain(routes []route, failed []error) Refusals {
	all := slices.Clone(w.refused)
	if err := errors.Join(failed...); err != nil {
		return append(all, &Refused{Reason: "every way to one failed", Remedy: "see jail explain", Err: err})
	}
	for _, s := range w.set {
		// What the best way could give is not to blame.
		if len(routes) > 0 && !slices.Contains(routes[0].lacks, s.controller) {
			continue
		}
		where, reason, remedy := w.whyNot(s.controller)
		all = append(all, s.refused(where, reason, remedy, nil))
	}
	if len(all) == 0 {
		where, reason, remedy := w.whyNot("memory")
		all = append(all, &Refused{Place: where, Reason: reason, Remedy: remedy})
	}
	return all
}

// name is the folder's name, new each time.
func (w *work) name() string {
	return prefix + w.options.Name + "-" + strconv.FormatUint(uint64(rand.Uint32()), 36)
}

// prefix begins the name of every group that jail makes. The sweeper looks for it.
const prefix = "jail-"

// Way tells how the group was come by.
func (g *Group) Way() Way { return g.way }

// String describes the group's place for people.
func (g *Group) String() string { return g.text }

// Warnings are the limits that could not be applied, with Prefer.
func (g *Group) Warnings() []*Refused { return g.warnings }

// FD is the group's folder for clone3's CLONE_INTO_CGROUP, or -1 where a clone into it is not possible.
func (g *Group) FD() int {
	if g.late {
		return -1
	}
	return g.file
}

// Held says that the child has to be held before exec until Add has put it into the group, even when it was
// cloned into FD: the v1 hierarchies know no such clone.
func (g *Group) Held() bool { return len(g.v1) > 0 || g.late }

// cloneForgetsCpuset is true for kernels on which a process that is cloned into a group keeps its parent's cpus and
// memory nodes: "cgroup/cpuset: Make cpuset_fork() handle CLONE_INTO_CGROUP properly" came
// with Linux 6.4 and not to all older ones.
func cloneForgetsCpuset() bool {
	var name unix.Utsname
	var major, minor int
	if unix.Uname(&name) != nil {
		return true
	}
	n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return n != 2 || major < 6 || major == 6 && minor < 4
}

// Path is the v2 group's path below the hierarchy's mount as a folder, "" without one.
func (g *Group) Path() string { return g.leaf }

// Add puts a process into the group.
func (g *Group) Add(pid int) error {
	dirs := []string{}
	if g.leaf != "" {
		dirs = append(dirs, g.leaf)
	}
	for _, d := range g.v1 {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	for _, d := range dirs {
		if err := move(d, pid); err != nil {
			return fmt.Errorf("put process %d into cgroup %s: %w", pid, d, err)
		}
	}
	return nil
}

// move writes a process into a group; 0 is the writer itself.
func move(dir string, pid int) error {
	// EINVAL may mean that the process is still being made (TASK_NEW); it passes.
	for wait := time.Millisecond; ; wait *= 2 {
		err := put(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
		if !errors.Is(err, unix.EINVAL) || wait > 100*time.Millisecond {
			return err
		}
		time.Sleep(wait)
	}
}

// Close ends what still runs in the group and removes it. It is safe to call on a nil group and twice.
func (g *Group) Close() error {
	if g == nil {
		return nil
	}
	g.peaks.stop()
	var errs []error
	if len(g.dirs) > 0 {
		if g.populated() {
			errs = append(errs, g.Kill())
		}
		for _, d := range g.dirs {
			errs = append(errs, remove(d))
		}
	}
	for _, fd := range g.locks {
		unix.Close(fd)
	}
	// What jail itself stands in, it cannot remove. The watcher does, when jail has ended.
	if !g.outlives {
		g.watch.stop()
	}
	g.dirs, g.locks, g.file, g.watch = nil, nil, -1, nil
	return errors.Join(errs...)
}

// remove deletes a group and the groups below it, and has patience with processes that are about to end.
func remove(dir string) error {
	var err error
	for wait := 100 * time.Microsecond; wait < time.Second; wait *= 2 {
		err = unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY):
			// Only groups are folders here; the program may have made some where its profile let it.
			below, _ := os.ReadDir(dir)
			for _, e := range below {
				if e.IsDir() {
					_ = remove(filepath.Join(dir, e.Name()))
				}
			}
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("remove cgroup %s: %w", dir, err)
}

func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-') {
			return false
		}
	}
	return true
}
