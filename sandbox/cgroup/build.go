package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// accounted are the controllers that Stats reads.
var accounted = []string{"memory", "pids", "cpu", "io"}

// build makes the group along a route and writes the limits. What comes back as refusals was not applied; on an
// error nothing is left.
func (w *work) build(r route) (*Group, Refusals, error) {
	switch r.way {
	case V1:
		return w.buildV1()
	case Scope:
		watch, err := startWatcher()
		if err != nil {
			return nil, nil, err
		}
		dir, err := askForScope(r.address, scopeRequest{w.name() + ".scope", w.options.Name, w.options.Root, w.v2, watch})
		if err != nil {
			watch.stop()
			return nil, nil, err
		}
		r.watch = watch
		r.parent, r.moves = dir, moveAll
		if w.uid == 0 {
			w.switchOnAbove(dir, controllersOf(w.set))
		}
		have := words(dir + "/cgroup.controllers")
		if w.uid != 0 {
			w.managerHas = have // for whyNot: what the manager could pass on is what it has
		}
		r.lacks = without(controllersOf(w.set), have)
		r.enable = without(controllersOf(w.set), r.lacks)
	}
	return w.buildV2(r)
}

func (w *work) buildV2(r route) (g *Group, refused Refusals, err error) {
	g = &Group{way: r.way, text: r.String(), file: -1}
	defer func() {
		if err != nil {
			_ = g.Close()
			g = nil
		}
	}()
	sweep(r.parent)
	if w.options.Account {
		have := words(r.parent + "/cgroup.controllers")
		on := append(words(r.parent+"/cgroup.subtree_control"), r.enable...)
		for _, c := range accounted {
			if slices.Contains(have, c) && !slices.Contains(on, c) && r.canEnable() {
				r.enable = append(r.enable, c)
			}
		}
	}
	g.dir = filepath.Join(r.parent, w.name())
	g.leaf = g.dir
	g.dirs = []string{g.dir}
	if !w.nsdelegate {
		// Without nsdelegate a program that can mount its own namespace's cgroups could write the limits of the
		// namespace's root, whose files belong to its user. One level deeper there are none.
		g.leaf = filepath.Join(g.dir, "program")
		g.dirs = []string{g.leaf, g.dir}
	}
	g.outlives = r.moves == moveSelf
	// The watcher comes before the first folder, so that there is no moment at which a SIGKILL leaves one.
	if g.watch = r.watch; g.watch == nil {
		if g.watch, err = startWatcher(); err != nil {
			return g, nil, err
		}
	}
	g.watch.does(w.choresAfterDeath(g, r))
	if err = clearParent(r); err != nil {
		return g, nil, err
	}
	if g.file, err = g.mkdir(g.dir); err != nil {
		return g, nil, err
	}
	// No groups below: they would outlive the sandbox's end, and each takes the kernel's memory. A program that
	// may make user namespaces could otherwise mount its namespace's cgroups and make some.
	if err = put(filepath.Join(g.dir, "cgroup.max.descendants"), strconv.Itoa(len(g.dirs)-1)); err != nil {
		return g, nil, err
	}
	if g.leaf != g.dir {
		if g.file, err = g.mkdir(g.leaf); err != nil {
			return g, nil, err
		}
	}
	refused = append(slices.Clone(w.refused), w.apply(g, r)...)
	if slices.ContainsFunc(g.limits, func(s setting) bool { return s.controller == "cpuset" }) {
		g.late = cloneForgetsCpuset()
	}
	return g, refused, nil
}

// canEnable says whether further controllers can be switched on without moving anybody.
func (r route) canEnable() bool {
	return r.moves != moveNone || r.top || len(words(r.parent+"/cgroup.procs")) == 0
}

// apply writes each limit that the route has the controller for.
func (w *work) apply(g *Group, r route) Refusals {
	var refused Refusals
	for _, s := range w.set {
		if slices.Contains(r.lacks, s.controller) {
			where, reason, remedy := w.whyNot(s.controller)
			refused = append(refused, s.refused(where, reason, remedy, nil))
			continue
		}
		if r := w.write(g.dir, s); r != nil {
			refused = append(refused, r)
			continue
		}
		g.limits = append(g.limits, s)
	}
	return refused
}

// mkdir makes one folder of the group and locks it, which tells the sweepers of others that it lives. Before it is
// locked one of them may remove it: then it is made again.
func (g *Group) mkdir(dir string) (fd int, err error) {
	begun := time.Now()
	for again := false; ; again = true {
		if again {
			time.Sleep(time.Millisecond)
		}
		if err := unix.Mkdir(dir, 0o755); err != nil && !(again && errors.Is(err, unix.EEXIST)) {
			return -1, &fs.PathError{Op: "mkdir", Path: dir, Err: err}
		}
		if fd, err = lock(dir); err == nil {
			g.locks = append(g.locks, fd)
			return fd, nil
		}
		if swept := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EWOULDBLOCK); !swept || time.Since(begun) > sweepPatience {
			return -1, err
		}
	}
}

// sweepPatience is how long a sweeper may want for a folder that it has locked. It makes two system calls then, and may wait
// for a processor in between.
const sweepPatience = 10 * time.Second

// lock opens a group's folder and locks it. The error is ENOENT for one that is no more, also when it was removed between
// the two, and EWOULDBLOCK for one that somebody has locked.
func lock(dir string) (fd int, err error) {
	fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	var held, there unix.Stat_t
	if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
		if err = errors.Join(unix.Fstat(fd, &held), unix.Stat(dir, &there)); err == nil && held.Ino != there.Ino {
			err = unix.ENOENT
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "flock", Path: dir, Err: err}
	}
	return fd, nil
}

// clearParent moves the processes out of the parent where the route says so, and switches the controllers on.
func clearParent(r route) error {
	place := filepath.Join(r.parent, outside)
	if r.moves != moveNone {
		if err := unix.Mkdir(place, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return &fs.PathError{Op: "mkdir", Path: place, Err: err}
		}
	}
	if len(r.enable) == 0 && r.moves == moveNone {
		return nil
	}
	// Processes fork while they are being moved, so it may take more than one round.
	var err error
	for range 10 {
		if r.moves != moveNone {
			if err = moveOut(r, place); err != nil {
				return err
			}
		}
		if len(r.enable) == 0 {
			return nil
		}
		err = put(filepath.Join(r.parent, "cgroup.subtree_control"), "+"+strings.Join(r.enable, " +"))
		if !errors.Is(err, unix.EBUSY) || r.moves == moveNone {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("switch on %s for the sub-groups of %s: %w", strings.Join(r.enable, ", "), r.parent, err)
	}
	return nil
}

func moveOut(r route, place string) error {
	for _, word := range words(filepath.Join(r.parent, "cgroup.procs")) {
		if word == "0" {
			return fmt.Errorf("%s holds a process of another pid namespace, which cannot be moved", r.parent)
		}
		// ESRCH: it has ended meanwhile.
		if err := put(filepath.Join(place, "cgroup.procs"), word); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move process %s to %s: %w", word, place, err)
		}
	}
	return nil
}

// backFrom undoes moveSelf: jail was alone there and leaves the group as it was found. That is the watcher's to do,
// which has moved along and goes last.
func backFrom(r route) []chore {
	var list []chore
	if len(r.enable) > 0 {
		list = append(list, writeChore(filepath.Join(r.parent, "cgroup.subtree_control"), "-"+strings.Join(r.enable, " -")))
	}
	return append(list,
		writeChore(filepath.Join(r.parent, "cgroup.procs"), "0"),
		removeChore(filepath.Join(r.parent, outside)))
}

// choresAfterDeath is what the watcher does when jail has died.
func (w *work) choresAfterDeath(g *Group, r route) []chore {
	var list []chore
	if w.options.KillWithJail && g.dir != "" {
		list = append(list, writeChore(filepath.Join(g.dir, "cgroup.kill"), "1"))
	}
	for _, d := range g.dirs {
		list = append(list, removeChore(d))
	}
	if r.moves == moveSelf {
		list = append(list, backFrom(r)...)
	}
	return list
}

// switchOnAbove switches controllers on along the whole way down to a group, as only root can: systemd leaves off
// what no unit asks for, and what it does not know (hugetlb).
func (w *work) switchOnAbove(dir string, need []string) {
	rel, err := filepath.Rel(w.v2, dir)
	if err != nil || strings.HasPrefix(rel, "..") {
		return
	}
	at := w.v2
	for part := range strings.SplitSeq(rel, "/") {
		for _, c := range without(need, words(at+"/cgroup.subtree_control")) {
			// What fails here is missing at the end, and is told there.
			_ = put(at+"/cgroup.subtree_control", "+"+c)
		}
		at = filepath.Join(at, part)
	}
}

// sweep removes what a jail left behind whose watcher was killed with it. Whoever lives holds a lock.
func sweep(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) || strings.HasSuffix(e.Name(), ".scope") || strings.HasSuffix(e.Name(), ".service") || strings.HasSuffix(e.Name(), ".slice") {
			continue
		}
		sweepAbandoned(filepath.Join(parent, e.Name()))
	}
}

// sweepAbandoned removes a group that nobody holds.
func sweepAbandoned(dir string) {
	fd, err := lock(dir)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	sweepOne(dir)
}

// sweepOne removes an abandoned group that is empty. Processes in it belong to a sandbox that was told to outlive
// its jail.
func sweepOne(dir string) {
	below, _ := os.ReadDir(dir)
	for _, e := range below {
		if e.IsDir() {
			sweepOne(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}
