package policy

import (
	"io/fs"
	"strconv"
	"time"
)

// setAside makes the part of a project file that nobody approved. What of it only
// takes away under the ordinary rules of merging, being last, stays in the part.
// The rest is applied to what all others come to: a value here is a bound and
// never a new value, and a read-only path is never a new grant.
func (r *resolver) setAside(p part) part {
	p.project = true
	r.project = append(r.project, p)
	f := *p.Fragment
	f.Filesystem.Items = append([]FilesystemItem(nil), f.Filesystem.Items...)
	for i := range f.Filesystem.Items {
		if !f.Filesystem.Items[i].Hide.Set {
			f.Filesystem.Items[i] = FilesystemItem{}
		}
	}
	f.Limits, f.Rlimits, f.Network, f.Process.Timeout = LimitsSection{}, Map[RlimitValue]{}, NetworkSection{}, Text{}
	p.Fragment = &f
	return p
}

// cutOff tells whether the project file takes the network away.
func (r *resolver) cutOff() (Text, bool) {
	for _, p := range r.project {
		if p.Network.Mode.Set {
			return p.Network.Mode, true
		}
	}
	return Text{}, false
}

// projectEgress puts the project file's denials before every other rule.
func (r *resolver) projectEgress(n *Network) {
	var denied []EgressRule
	for _, p := range r.project {
		for i, item := range p.Network.Egress.Items {
			key := p.prefix + "network.egress[" + strconv.Itoa(i) + "]"
			if !item.Deny.Set || !r.holds(item.When, key+".when") {
				continue
			}
			switch rule, err := parseEgress(item.Deny.V); {
			case err != nil:
				r.fail(item.Deny.Origin, key+".deny", err.cause, err.fix)
			case n.Mode.V == "host" || n.Mode.V == "join":
				r.fail(item.Deny.Origin, key+".deny", "cannot hold with network.mode: "+n.Mode.V+" ("+n.Mode.Origin.String()+"), which jail does not filter",
					"run with --set network.mode=veth or none, or leave the project file out with --no-project")
			case n.Mode.V == "veth":
				rule.Origin = item.Deny.Origin
				denied = append(denied, rule)
			}
		}
	}
	n.Egress = append(denied, n.Egress...)
}

// atMost takes the smaller of two limits.
func (r *resolver) atMost(have *Number, bound Number) {
	if bound.Set && bound.V != Unlimited && (!have.Set || have.V == Unlimited || have.V > bound.V) {
		*have = bound
	}
}

func (r *resolver) projectLimits() {
	l := &r.out.Limits
	for _, p := range r.project {
		in := &p.Limits
		key := p.prefix + "limits."
		size := func(t Text, name string) Number {
			return r.above0(r.memorySize(t, key+name), key+name, "0 leaves the program no memory to start in")
		}
		r.atMost(&l.Memory, size(in.Memory, "memory"))
		r.atMost(&l.MemoryHigh, size(in.MemoryHigh, "memory-high"))
		r.atMost(&l.Swap, r.memorySize(in.Swap, key+"swap"))
		r.atMost(&l.CPUQuota, r.number(in.CPU, key+"cpu", parseCPU))
		r.atMost(&l.Pids, r.pids(in.Pids, key+"pids"))
		// What the profile wants below its own limit moves along with it.
		if l.MemoryHigh.Set {
			r.atMost(&l.MemoryHigh, l.Memory)
		}
		if l.MemoryLow.Set {
			r.atMost(&l.MemoryLow, l.Memory)
			r.atMost(&l.MemoryLow, l.MemoryHigh)
		}
	}
}

func (r *resolver) projectRlimits() {
	for _, p := range r.project {
		for _, bound := range r.readRlimits([]part{p}) {
			at := -1
			for i := range r.out.Rlimits {
				if r.out.Rlimits[i].Type == bound.Type {
					at = i
				}
			}
			if at < 0 {
				r.out.Rlimits = append(r.out.Rlimits, bound)
				continue
			}
			if l := &r.out.Rlimits[at]; bound.Soft < l.Soft || bound.Hard < l.Hard {
				l.Hard, l.Origin = min(l.Hard, bound.Hard), bound.Origin
				l.Soft = min(l.Soft, bound.Soft, l.Hard)
			}
		}
	}
}

func (r *resolver) projectTimeout() {
	t := &r.out.Process.Timeout
	for _, p := range r.project {
		if d := r.timeout(p.Process.Timeout, p.prefix+"process.timeout"); d.Set && (!t.Set || d.V < t.V) {
			*t = d
		}
	}
}

// timeout reads how long a program may run.
func (r *resolver) timeout(in Text, key string) Value[time.Duration] {
	if !in.Set {
		return Value[time.Duration]{}
	}
	d, err := parseDuration(in.V, false)
	if err == nil && d == 0 {
		err = &varError{"a timeout of 0 would end the program at once", "leave the key out for no limit"}
	}
	if err != nil {
		r.fail(in.Origin, key, err.cause, err.fix)
		return Value[time.Duration]{}
	}
	return Value[time.Duration]{V: d, Set: true, Origin: in.Origin}
}

// tighten makes read-only what a project file names, by whatever path it is
// shown. What is not shown from the host for writing needs nothing.
func (t *tree) tighten() {
	r := t.r
	for _, p := range r.project {
		for i := range p.Filesystem.Items {
			s := &p.Filesystem.Items[i]
			key := p.prefix + "filesystem[" + strconv.Itoa(i) + "]"
			if s.Hide.Set || !r.holds(s.When, key+".when") {
				continue
			}
			if path, ok := r.path(s.Path, key+".path", useName); ok {
				t.readOnly(s, path, key)
			}
		}
	}
}

func (t *tree) readOnly(s *FilesystemItem, p, key string) {
	inside := t.view.resolve(p, true)
	hosts := []string{inside.host}
	if f := t.r.look.walk(p); f.err == nil && f.path != inside.host {
		hosts = append(hosts, f.path)
	}
	for _, real := range hosts {
		if real == "" {
			continue
		}
		f := t.r.look.walk(real)
		if f.err != nil {
			if e := inside.entry; e != nil && (e.Kind == KindRW || e.Kind == KindPersist) {
				t.r.warn(s.Path.Origin, key+".path", printable(p)+" does not exist now, so nothing keeps the program from making and writing it", "make it before the start")
			}
			continue
		}
		for _, i := range t.shown() {
			t.readOnlyFrom(i, f.path, f.stat.Mode.Type(), s.Origin)
		}
	}
}

// readOnlyFrom makes a file of the host read-only where one entry shows it.
func (t *tree) readOnlyFrom(i *fsItem, real string, kind fs.FileMode, o Origin) {
	if i.Kind != KindRW && i.Kind != KindPersist {
		return
	}
	if under(i.Source, real) {
		i.Kind, i.Origin, i.Reason = KindRO, o, ""
		return
	}
	if !under(real, i.Source) {
		return
	}
	p := join(i.Path, below(real, i.Source))
	if t.view.cover(p) != i || t.r.isHidden(p) {
		return
	}
	t.pin(i, p, o, "keeps "+p+" read-only", "")
	e := &fsItem{rank: i.rank, active: true, Entry: Entry{
		Path: p, Written: p, Kind: KindRO, Source: real, SourceType: kind, Options: i.Options, Recursive: true, Origin: o,
	}}
	t.items = append(t.items, e)
	t.view.entries[p] = e
}
