package policy

import (
	"slices"
	"strconv"
)

// process reads `process:`, all but the working directory, which needs the
// file tree.
func (r *resolver) process() {
	in := mergeSection(r, "process", func(f *Fragment) *ProcessSection { return &f.Process }, func(f *Fragment) *List[Text] { return &f.Without.Process })
	out := &r.out.Process
	r.cwd = in.Cwd
	r.ids(&in)
	r.groups(&in)
	out.Hostname = r.hostname(in.Hostname, "process.hostname")
	out.Domainname = r.hostname(in.Domainname, "process.domainname")
	if !out.Hostname.Set && r.hasNamespace("uts") {
		out.Hostname = Text{V: "jail", Set: true, Origin: defaultOrigin}
	}
	if in.Umask.Set {
		if n, err := parseMode(in.Umask.V, 0o777); err != nil {
			r.fail(in.Umask.Origin, "process.umask", err.cause, `write it as "0022"`)
		} else {
			out.Umask = Value[uint32]{n, true, in.Umask.Origin}
		}
	}
	out.Nice = r.inRange(in.Nice, "process.nice", -20, 19)
	out.OOMScore = r.inRange(in.OOMScore, "process.oom-score", -1000, 1000)
	out.CPUAffinity = r.cpuset(in.CPUAffinity, "process.cpu-affinity", "processor", "/sys/devices/system/cpu/online")
	out.Terminal = in.Terminal
	if !out.Terminal.Set {
		out.Terminal = Text{V: "auto", Set: true, Origin: defaultOrigin}
	}
	out.DieWithParent, out.NoNewPrivileges = in.DieWithParent, in.NoNewPrivileges
	if !out.DieWithParent.Set {
		out.DieWithParent = Flag{V: true, Set: true, Origin: defaultOrigin}
	}
	if !out.NoNewPrivileges.Set {
		out.NoNewPrivileges = Flag{V: true, Set: true, Origin: defaultOrigin}
	}
	if !out.NoNewPrivileges.V && r.host.UID != 0 {
		r.fail(in.NoNewPrivileges.Origin, "process.no-new-privileges", "only root can start a filter of system calls without it (seccomp(2))", "leave it out, or set it to true")
	}
	out.NoDump, out.DenyWriteExec, out.CoreScheduling, out.Proc = in.NoDump, in.DenyWriteExec, in.CoreScheduling, in.Proc
	out.Timeout = r.timeout(in.Timeout, "process.timeout")
}

func (r *resolver) hostname(t Text, key string) Text {
	s, ok := r.text(t, key)
	if !ok {
		return Text{}
	}
	if cause := badHost(s); cause != "" || len(s) > 64 {
		if cause == "" {
			cause = "longer than 64 characters"
		}
		r.fail(t.Origin, key, quote(s)+" is not a host name: "+cause, "letters, digits and -")
		return Text{}
	}
	if !r.hasNamespace("uts") {
		r.fail(t.Origin, key, "needs a uts namespace, which the profile does not have ("+r.namespaceOrigin().String()+")", "add uts to namespaces, or take "+key+" out")
		return Text{}
	}
	return Text{V: s, Set: true, Origin: t.Origin}
}

// maxID: 2^32-1 is no id, it stands for "no change" in setresuid(2).
const maxID = 1<<32 - 2

func (r *resolver) id(n Number, key string, fallback int) Value[uint32] {
	if !n.Set {
		return Value[uint32]{uint32(fallback), true, defaultOrigin}
	}
	// One that is out of range keeps its line, for whatever else is said of it.
	return Value[uint32]{uint32(r.inRange(n, key, 0, maxID).V), true, n.Origin}
}

// ids reads who the program is inside, and how that maps to the host
// (user_namespaces(7)).
func (r *resolver) ids(in *ProcessSection) {
	out := &r.out.Process
	out.UID = r.id(in.UID, "process.uid", r.host.UID)
	out.GID = r.id(in.GID, "process.gid", r.host.GID)
	if !r.hasNamespace("user") {
		if in.IDRanges != nil {
			r.fail(in.IDRanges.Origin, "process.id-ranges", "needs a user namespace, which the profile does not have ("+r.namespaceOrigin().String()+")", "add user to namespaces, or take it out")
		}
		return
	}
	if mode := r.out.Network.Mode.V; in.IDRanges != nil && (mode == "veth" || mode == "join") {
		r.fail(in.IDRanges.Origin, "process.id-ranges", "cannot be had with network.mode: "+mode+", whose owner knows no id but the caller's own", "take it out, or set network.mode: none or host")
		return
	}
	users, groups := in.IDRanges.sides()
	out.UIDMap = r.idMap("process.id-ranges", "uid", in.IDRanges, users, out.UID.V, uint32(r.host.UID), r.host.SubUIDs, "/etc/subuid")
	out.GIDMap = r.idMap("process.id-ranges", "gid", in.IDRanges, groups, out.GID.V, uint32(r.host.GID), r.host.SubGIDs, "/etc/subgid")
	out.SubIDs = len(out.UIDMap) > 1 || len(out.GIDMap) > 1
}

// groups reads the supplementary groups, after ids: in a user namespace of its
// own the program can have those alone that are mapped.
func (r *resolver) groups(in *ProcessSection) {
	out := &r.out.Process
	for i, g := range in.Groups.Items {
		key := "process.groups[" + strconv.Itoa(i) + "]"
		if g = r.inRange(g, key, 0, maxID); !g.Set {
			continue
		}
		id := uint32(g.V)
		if out.GIDMap != nil && !slices.ContainsFunc(out.GIDMap, func(m IDMapping) bool { return id >= m.Inside && id-m.Inside < m.Count }) {
			r.fail(g.Origin, key, "group "+strconv.Itoa(int(g.V))+" is not mapped", "add 'id-ranges: auto', or a range that holds it")
			continue
		}
		out.Groups = append(out.Groups, Value[uint32]{id, true, g.Origin})
	}
}

func (s *IDRangesSpec) sides() (users, groups []IDRangeItem) {
	if s == nil {
		return nil, nil
	}
	return s.UID.Items, s.GID.Items
}

// idMap makes one of the two maps: the caller's own id at self, and the ranges.
func (r *resolver) idMap(key, kind string, s *IDRangesSpec, items []IDRangeItem, self, outside uint32, owned []IDRange, file string) []IDMapping {
	m := []IDMapping{{self, outside, 1}}
	if s == nil {
		return m
	}
	if s.Auto.V {
		if len(owned) == 0 {
			r.fail(s.Origin, key, "user "+printable(r.host.User)+" has no ranges in "+file, "as root: usermod --add-sub"+kind+"s 100000-165535 "+printable(r.host.User))
			return m
		}
		return append(m, spread(self, owned)...)
	}
	for i, item := range items {
		at := key + "." + kind + "[" + strconv.Itoa(i) + "]"
		in, out, count := r.inRange(item.Inside, at+".inside", 0, maxID), r.inRange(item.Outside, at+".outside", 0, maxID), r.inRange(item.Count, at+".count", 1, maxID)
		if !in.Set || !out.Set || !count.Set {
			continue
		}
		n := IDMapping{uint32(in.V), uint32(out.V), uint32(count.V)}
		switch {
		case in.V+count.V > maxID+1 || out.V+count.V > maxID+1:
			r.fail(item.Origin, at, "runs past the largest id", "lower count")
		case slices.ContainsFunc(m, func(o IDMapping) bool { return meet(o.Inside, o.Count, n.Inside, n.Count) }):
			r.fail(item.Origin, at, "overlaps another range inside, or the program's own id "+strconv.Itoa(int(self)), "move inside")
		case slices.ContainsFunc(m, func(o IDMapping) bool { return meet(o.Outside, o.Count, n.Outside, n.Count) }):
			r.fail(item.Origin, at, "overlaps another range outside", "move outside")
		case r.host.UID != 0 && !slices.ContainsFunc(owned, func(o IDRange) bool {
			return n.Outside >= o.Start && uint64(n.Outside)+uint64(n.Count) <= uint64(o.Start)+uint64(o.Count)
		}):
			r.fail(item.Origin, at, "ids "+strconv.FormatInt(out.V, 10)+" to "+strconv.FormatInt(out.V+count.V-1, 10)+" are not yours in "+file, "write auto, or a range that file gives you")
		default:
			m = append(m, n)
		}
	}
	return m
}

func meet(a, n, b, m uint32) bool {
	return uint64(a) < uint64(b)+uint64(m) && uint64(b) < uint64(a)+uint64(n)
}

// spread lays the owned ranges over the ids from 0 up, around self.
func spread(self uint32, owned []IDRange) []IDMapping {
	var m []IDMapping
	next := uint32(0)
	for _, o := range owned {
		for o.Count > 0 {
			if next == self {
				next++
			}
			n := o.Count
			if next < self {
				n = min(n, self-next)
			}
			if uint64(next)+uint64(n) > maxID {
				return m
			}
			m = append(m, IDMapping{next, o.Start, n})
			next += n
			o.Start += n
			o.Count -= n
		}
	}
	return m
}

// workingDirectory decides where the program starts: where it was told to, or
// the caller's directory where that is shown inside, or home, or the root.
func (r *resolver) workingDirectory() {
	out := &r.out.Process.Cwd
	if r.cwd.Set {
		p, ok := r.path(r.cwd, "process.cwd", useName)
		if !ok {
			return
		}
		s := r.view.resolve(p, true)
		switch {
		case s.blocked != "" || s.exists && !s.dir:
			r.fail(r.cwd.Origin, "process.cwd", printable(p)+" is not a directory inside", "name a directory that filesystem grants")
		case !r.inside(s):
			r.fail(r.cwd.Origin, "process.cwd", printable(p)+" does not exist inside", "grant it under filesystem, or name another directory")
		}
		*out = Text{V: p, Set: true, Origin: r.cwd.Origin}
		return
	}
	for _, p := range [...]string{r.host.Cwd, r.host.Home, "/"} {
		s := r.view.resolve(p, true)
		if s.dir && s.blocked == "" && r.inside(s) && !r.isHidden(s.path) || p == "/" {
			*out = Text{V: p, Set: true, Origin: defaultOrigin}
			return
		}
	}
}

// inside tells whether a directory will be there: on the host, as an entry, or
// on the way to one.
func (r *resolver) inside(s spot) bool {
	if s.exists {
		return true
	}
	for _, e := range r.out.Filesystem {
		if under(e.Path, s.path) {
			return true
		}
	}
	return slices.ContainsFunc(r.out.HostDirs, func(d HostDir) bool { return s.host != "" && under(d.Path, s.host) })
}

func (r *resolver) isHidden(p string) bool {
	return slices.ContainsFunc(r.out.Hidden, func(h Hidden) bool { return under(p, h.Path) })
}
