package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"golang.org/x/sys/unix"
)

// accountedV1 are the hierarchies that Stats, Kill and Freeze use, beside those that limits need.
var accountedV1 = []string{"memory", "pids", "cpuacct", "freezer"}

// buildV1 makes a folder in each hierarchy of cgroup v1 that is needed, below jail's own group in it, so that what
// holds for jail holds for the program. On a hybrid machine a v2 group comes first: it makes the kill complete, and
// carries the limits of controllers that are bound to v2.
func (w *work) buildV1() (g *Group, refused Refusals, err error) {
	limits, refused := settingsV1(w.res)
	onV1 := func(c string) bool { _, ok := w.v1[v1Name(c)]; return ok }
	v2 := *w
	v2.set = slices.DeleteFunc(slices.Clone(w.set), func(s setting) bool { return onV1(s.controller) })
	v2.refused, v2.options.Account = nil, false
	limits = slices.DeleteFunc(limits, func(l limitV1) bool {
		return !onV1(l.controller) && slices.ContainsFunc(v2.set, func(s setting) bool { return s.pointer == l.pointer })
	})
	g = &Group{file: -1}
	if r, ok := w.besideV1(controllersOf(v2.set)); ok {
		var more Refusals
		if g, more, err = v2.buildV2(r); err != nil {
			return nil, nil, err
		}
		refused = append(refused, more...)
	}
	g.way, g.text = V1, "root's cgroup v1 hierarchies"
	defer func() {
		if err != nil {
			_ = g.Close()
			g = nil
		}
	}()

	name := w.name()
	g.v1 = map[string]string{}
	wanted := slices.Clone(accountedV1)
	for _, l := range limits {
		wanted = append(wanted, l.controller)
	}
	if w.options.Account {
		wanted = append(wanted, "cpu", "blkio")
	}
	slices.Sort(wanted)
	var dirs []string
	for _, c := range slices.Compact(wanted) {
		h, ok := w.v1[c]
		if !ok {
			continue
		}
		sweep(h.own)
		g.v1[c] = filepath.Join(h.own, name)
		// cpu and cpuacct are often one hierarchy.
		if !slices.Contains(dirs, g.v1[c]) {
			dirs = append(dirs, g.v1[c])
		}
	}
	g.dirs = append(g.dirs, dirs...)
	// One watcher for all of it: its list has to be complete before the first folder is made.
	watch, err := startWatcher()
	if err != nil {
		return g, nil, err
	}
	watch.does(w.choresAfterDeath(g, route{}))
	g.watch.stop() // the v2 group's own, relieved
	g.watch = watch
	for _, d := range dirs {
		if _, err = g.mkdir(d); err != nil {
			return g, nil, err
		}
	}
	manager, err := fs.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{SkipDevices: true}}, maps.Clone(g.v1))
	if err != nil {
		return g, nil, err
	}
	// -1 puts nobody in; it fills the cpuset in from its parent, which is empty in a new folder.
	if err = manager.Apply(-1); err != nil {
		return g, nil, err
	}
	for _, l := range limits {
		if r := w.setV1(manager, g, l); r != nil {
			refused = append(refused, r)
			continue
		}
		g.limits = append(g.limits, l.setting)
	}
	return g, refused, nil
}

// besideV1 finds where the v2 group of a hybrid machine can be made.
func (w *work) besideV1(need []string) (route, bool) {
	for _, p := range w.groups {
		if p.writable && p.domain && len(without(need, p.controllers)) == 0 && (p.top || len(without(need, p.enabled)) == 0) {
			return route{way: V1, parent: p.dir, top: p.top, enable: without(need, p.enabled)}, true
		}
	}
	return route{}, false
}

// setV1 has the library write one limit, and reads it back: the library does so for cpu.shares alone.
func (w *work) setV1(manager *fs.Manager, g *Group, l limitV1) *Refused {
	dir, ok := g.v1[l.controller]
	if !ok {
		where, reason, remedy := w.whyNot(l.controller)
		return l.refused(where, reason, remedy, nil)
	}
	// As in cgroup v2 (work.weights): the kernel keeps a weight that no disk's scheduler heeds.
	if l.file == "blkio.weight" && !w.scheduler("bfq") && !w.scheduler("cfq") {
		return l.refused(dir, "no disk of this machine shares its time by weight", "as root: echo bfq > /sys/block/DISK/queue/scheduler", nil)
	}
	if err := manager.Set(l.resources); err != nil {
		reason, remedy := "the kernel refused the value", ""
		switch {
		case errors.Is(err, unix.ENOENT) && strings.HasPrefix(l.file, "memory.memsw"):
			reason, remedy = "this kernel does not count swap", "boot with swapaccount=1 on the kernel's command line"
		case errors.Is(err, unix.ENOENT):
			reason, remedy = "this kernel has no such file", "see "+dir
		case l.controller == "cpuset":
			have, _ := get(filepath.Join(filepath.Dir(dir), l.file))
			reason, remedy = "there is no such "+cpusetWord(l.file)+" in its group", "use some of "+have
		case errors.Is(err, unix.ENODEV):
			reason, remedy = "there is no such block device", "name a whole disk, such as /dev/sda: lsblk lists them"
		case l.controller == "blkio":
			remedy = "limits go to whole disks, not to partitions: see lsblk"
		}
		return l.refused(dir, reason, remedy, err)
	}
	file := l.file
	if file == "blkio.weight" {
		// The scheduler bfq has its own; the library has picked the one that is there.
		if _, err := get(filepath.Join(dir, file)); err != nil {
			file = "blkio.bfq.weight"
		}
	}
	reads, err := get(filepath.Join(dir, file))
	if err != nil {
		return l.refused(dir, "it could not be read back", "", err)
	}
	if !l.took(l.value, reads) {
		return l.refused(dir, "the kernel took "+quote(reads)+" instead", "give a value that the kernel keeps", nil)
	}
	return nil
}

// A limitV1 is one limit as the library takes it, and as the kernel's file then reads.
type limitV1 struct {
	setting
	resources *cgroups.Resources
}

// sameCount compares numbers, where v1 writes the highest one for "no limit".
func sameCount(wrote, reads string) bool {
	if wrote == "-1" {
		n, err := strconv.ParseUint(reads, 10, 64)
		return reads == "-1" || err == nil && n >= 1<<62
	}
	return samePages(wrote, reads) || wrote == reads
}

func throttled(major, minor int64, rate uint64) (line string, took check) {
	line = fmt.Sprintf("%d:%d %d", major, minor, rate)
	return line, func(wrote, reads string) bool {
		return hasLine(wrote, reads) || rate == 0 && !strings.Contains(reads, fmt.Sprintf("%d:%d ", major, minor))
	}
}
