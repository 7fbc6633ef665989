package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxAloneRules bounds what siblings of a hidden file may come to. Landlock itself takes far more.
const maxAloneRules = 4096

// grants is what Landlock has to let the program do with the host's own files.
type grants struct {
	rights  map[string]uint64 // canonical path to the rights at and below it
	dirs    map[string]bool
	from    map[string]string    // the pointer that each comes from
	without map[string]exception // canonical paths below a grant that it must not reach
	missing []string             // what the program would have had of its own, and has not
}

// An exception is a path that no right may reach, though one above it is granted.
type exception struct {
	pointer string
	hidden  bool // what is granted below it is hidden with it
}

func (g *grants) add(at string, rights uint64, dir bool, pointer string) {
	if !dir {
		rights &= fileRights
	}
	g.rights[at] |= rights
	g.dirs[at], g.from[at] = dir, pointer
}

func (g *grants) rules() []landlockRule {
	var rules []landlockRule
	for _, at := range slices.Sorted(maps.Keys(g.rights)) {
		rules = append(rules, landlockRule{at, g.rights[at], g.dirs[at]})
	}
	return withoutImplied(rules)
}

// aloneFiles turns the mounts into grants.
func (c *compiler) aloneFiles() {
	c.granted = grants{rights: map[string]uint64{}, dirs: map[string]bool{}, from: map[string]string{}, without: map[string]exception{}}
	if root := c.spec.Root; path.IsAbs(root.Path) || !c.inMemory || path.Clean(root.Path) != bundleRoot {
		c.refuse("/root", "root "+root.Path, "another root needs a mount namespace", "")
	}
	for i, m := range c.spec.Mounts {
		c.aloneMount(fmt.Sprintf("/mounts/%d", i), m)
	}
	c.aloneTree()
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		c.aloneDevice("/dev/"+name, "")
	}
	for i, d := range c.spec.Linux.Devices {
		c.aloneDevice(d.Path, fmt.Sprintf("/linux/devices/%d", i))
	}
	c.aloneHidden()
	c.settleGrants()
}

// aloneMount is one mount. A bind of the host's own file at its own path is what Landlock can grant.
func (c *compiler) aloneMount(pointer string, m specs.Mount) {
	what := "mount at " + m.Destination
	o, err := parseOptions(m.Options)
	if err != nil {
		c.refuse(pointer, what, err.Error(), "")
		return
	}
	switch {
	case o.bind || m.Type == "bind":
		c.aloneBind(pointer, m, o)
	case m.Type == "proc" && slices.Contains(o.params, "subset=pid"):
		c.refuse(pointer+"/options", "process.proc", "a /proc with processes alone needs a mount and a pid namespace", "")
	case m.Type == "proc":
		// Landlock grants all below a folder or nothing, and those of processes come and go.
		c.granted.add("/proc", readRights, true, pointer)
	case m.Type == "cgroup" || m.Type == "cgroup2":
		c.except(m.Destination, pointer, false)
	case c.asked(pointer):
		kind := "a " + m.Type
		if m.Type == "overlay" {
			kind = "an overlay, whose writes must not reach the host,"
		}
		c.refuse(pointer, what, kind+" needs a mount namespace", "for the host's own write 'mode: ro' or 'mode: rw'")
	default: // a file system that jail gives unasked
		c.except(m.Destination, pointer, false)
		if m.Destination != "/dev" {
			c.granted.missing = append(c.granted.missing, m.Destination)
		}
	}
}

func (c *compiler) aloneBind(pointer string, m specs.Mount, o mountOptions) {
	what := "bind " + m.Source + " at " + m.Destination
	if !path.IsAbs(m.Source) {
		c.refuse(pointer, what, "a file of the profile's own needs a mount namespace to be shown in", "write 'mode: ro' to have the host's")
		return
	}
	host, mode, err := c.hostPath(m.Source)
	if err != nil {
		c.refuse(pointer, what, err.Error(), sourceHint(err))
		return
	}
	dest, _, err := canonical(c.facts.Files, m.Destination)
	rights := uint64(readRights)
	if !o.readonly {
		rights |= writeRights | makeRights
	}
	if o.attr&unix.MOUNT_ATTR_NOEXEC != 0 {
		rights &^= unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	nodev := o.attr&unix.MOUNT_ATTR_NODEV != 0
	if !nodev {
		rights |= writeRights | deviceRights // a device on a read-only mount can be written to
	}
	switch {
	case err != nil || dest != host:
		c.refuse(pointer, what, "a source at another path needs a mount namespace", "grant "+host+" itself")
	case mode&fs.ModeSocket != 0:
		// connect(2) is none of Landlock's business before version 9 of its interface.
		c.refuse(pointer, what, "without a mount namespace no socket can be let through and the others not", "")
	case o.attr&unix.MOUNT_ATTR_NOSYMFOLLOW != 0:
		c.refuse(pointer, what, "nosymfollow needs a mount", "")
	case mode.IsDir() && !o.recursive:
		c.refuse(pointer, what, "what is mounted below it can be left out in a mount namespace only", "")
	case nodev && isUnder(host, "/dev") || !nodev && !isUnder(host, "/dev"):
		c.refuse(pointer, what, "whether the devices below a path may be used can be said of a mount alone", "name the devices under devices")
	default:
		c.granted.add(host, rights, mode.IsDir(), pointer)
	}
}

// aloneDevice is a device node of the host, where the host has it.
func (c *compiler) aloneDevice(at, pointer string) {
	mode, err := c.facts.Files.Lstat(at)
	if err == nil && fileIsDevice(mode) {
		c.granted.add(at, unix.LANDLOCK_ACCESS_FS_READ_FILE|writeRights|deviceRights, false, pointer)
	} else if pointer != "" {
		c.refuse(pointer, "device "+at, "is no device of the host's", "")
	}
}

func fileIsDevice(mode fs.FileMode) bool { return mode&fs.ModeDevice != 0 }

// except keeps a path out of what is granted above it. Where nothing is there, nothing can be reached.
func (c *compiler) except(p, pointer string, hidden bool) {
	at, _, err := canonical(c.facts.Files, p)
	if err != nil {
		if at = path.Clean(p); !hidden {
			return
		}
	}
	if old, ok := c.granted.without[at]; ok {
		hidden = hidden || old.hidden
	}
	c.granted.without[at] = exception{pointer, hidden}
}

// aloneHidden is what the profile hides, and what of /proc and /sys is the machine's. The former holds or refuses the
// start; of the latter, which any program of the user's can read, /proc shows what it shows.
func (c *compiler) aloneHidden() {
	for i, p := range c.spec.Linux.MaskedPaths {
		pointer := fmt.Sprintf("/linux/maskedPaths/%d", i)
		switch hidden := isUnder(path.Clean(p), "/proc"); {
		case hidden && c.asked(pointer):
			c.refuse(pointer, "hide "+p, "of /proc Landlock can grant all or nothing", "")
		case !hidden:
			c.except(p, pointer, true)
		}
	}
	for i, p := range c.spec.Linux.ReadonlyPaths {
		if at, mode, err := canonical(c.facts.Files, p); err == nil && !isUnder(at, "/proc") {
			c.lesser(at, readRights, mode.IsDir(), fmt.Sprintf("/linux/readonlyPaths/%d", i))
		}
	}
	for _, own := range c.bundle.Own {
		if own.Hidden {
			c.except(own.Path, "/mounts", true)
		} else if at, mode, err := canonical(c.facts.Files, own.Path); err == nil {
			c.lesser(at, readRights, mode.IsDir(), "/mounts")
		}
	}
}

// lesser is a path that must have no more than these rights, where one above it is granted.
func (c *compiler) lesser(at string, rights uint64, dir bool, pointer string) {
	if above := c.granted.above(at); above&^rights != 0 {
		c.granted.add(at, rights&above, dir, pointer)
	}
}

// above are the rights that the grants above a path give below them.
func (g *grants) above(at string) uint64 {
	var rights uint64
	for p := at; p != "/"; {
		p = path.Dir(p)
		rights |= g.rights[p]
	}
	return rights
}

// settleGrants makes what Landlock can say of what was asked: its rules only add. A path with fewer rights than the one
// above it refuses the start. One without any is gone around, by granting what lies beside it, where nothing is written.
func (c *compiler) settleGrants() {
	g := &c.granted
	for _, at := range slices.Sorted(maps.Keys(g.rights)) {
		for p := at; ; p = path.Dir(p) {
			if g.without[p].hidden {
				delete(g.rights, at)
			}
			if p == "/" {
				break
			}
		}
	}
	for _, at := range slices.Sorted(maps.Keys(g.rights)) {
		below := g.exceptionsBelow(at)
		if len(below) == 0 {
			continue
		}
		if g.rights[at]&(writeRights|makeRights) != 0 {
			for _, e := range below {
				c.refuseBelow(e, g.without[e].pointer, "must not be reached, and lies below what can be written")
			}
			continue
		}
		rights := g.rights[at]
		delete(g.rights, at)
		if err := c.goAround(at, rights, below); err != nil {
			c.refuse(g.from[at], "grant "+at, "to leave "+below[0]+" out: "+err.Error(), "grant narrower directories")
		}
	}
	for _, at := range slices.Sorted(maps.Keys(g.rights)) {
		above := g.above(at)
		if !g.dirs[at] {
			above &= fileRights
		}
		if above&^g.rights[at] != 0 {
			c.refuseBelow(at, g.from[at], "must have fewer rights than what lies above it")
		}
	}
}

// refuseBelow names the line that asks for less, or where jail asks itself, the one that grants too much.
func (c *compiler) refuseBelow(at, pointer, why string) {
	if !c.asked(pointer) {
		for p := at; p != "/"; {
			if p = path.Dir(p); c.granted.rights[p] != 0 {
				pointer = c.granted.from[p]
			}
		}
	}
	c.refuse(pointer, at, why+", which takes a mount namespace: Landlock only adds rights on the way down", "grant narrower directories")
}

// exceptionsBelow are the paths below one that its rights must not reach.
func (g *grants) exceptionsBelow(at string) []string {
	var below []string
	for e := range g.without {
		if e != at && isUnder(e, at) {
			below = append(below, e)
		}
	}
	slices.Sort(below)
	return below
}

// goAround grants all that lies in a folder but for what is left out, and what leads there. The folders on the way can be
// listed where the names of what is left out are all that this shows.
func (c *compiler) goAround(dir string, rights uint64, without []string) error {
	names, err := c.facts.Files.ReadDir(dir)
	if errors.Is(err, unix.EACCES) {
		return nil // the program may not either
	}
	if err != nil {
		return err
	}
	onlyFiles := true
	for _, e := range without {
		if mode, err := c.facts.Files.Lstat(e); err == nil && mode.IsDir() {
			onlyFiles = false
		}
	}
	if onlyFiles {
		c.granted.add(dir, rights&unix.LANDLOCK_ACCESS_FS_READ_DIR, true, "")
	}
	for _, name := range names {
		at := path.Join(dir, name)
		below := slices.DeleteFunc(slices.Clone(without), func(e string) bool { return !isUnder(e, at) })
		mode, err := c.facts.Files.Lstat(at)
		switch {
		case slices.Contains(below, at), err != nil, mode&fs.ModeSymlink != 0: // a link is no way to more than it leads to
		case len(below) > 0:
			if err := c.goAround(at, rights, below); err != nil {
				return err
			}
		default:
			if c.granted.add(at, rights, mode.IsDir(), ""); len(c.granted.rights) > maxAloneRules {
				return fmt.Errorf("takes more than %d rules", maxAloneRules)
			}
		}
	}
	return nil
}
