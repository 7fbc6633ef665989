package policy

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mostPids is the largest limit that the kernel takes: PID_MAX_LIMIT of linux/threads.h.
const mostPids = 4 << 20

// number reads a value of a section with one of the parsers of units.go.
func (r *resolver) number(t Text, key string, parse func(string) (int64, *varError)) Number {
	if !t.Set {
		return Number{}
	}
	n, err := parse(t.V)
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
		return Number{}
	}
	return Number{V: n, Set: true, Origin: t.Origin}
}

// smallestPage is that of the machines jail runs on; some count in larger ones.
const smallestPage = 4096

// memorySize reads an amount of memory. The kernel keeps whole pages and rounds
// down, so that less than one is nothing: most often a unit was forgotten.
func (r *resolver) memorySize(t Text, key string) Number {
	n := r.number(t, key, parseLimitSize)
	if n.V <= 0 || n.V >= smallestPage {
		return n
	}
	fix := "at least 4K"
	if strings.Trim(t.V, "0123456789") == "" {
		// Nobody limits a program to a few megabytes.
		unit := "M"
		if n.V < 32 {
			unit = "G"
		}
		fix = "did you mean `" + strconv.FormatInt(n.V, 10) + unit + "`?"
	}
	r.fail(n.Origin, key, quote(t.V)+" is less than one page of memory", fix)
	return Number{}
}

// above0 refuses a limit that would leave nothing.
func (r *resolver) above0(n Number, key, cause string) Number {
	if n.Set && n.V == 0 {
		r.fail(n.Origin, key, cause, "leave the key out for no limit")
	}
	return n
}

func (r *resolver) inRange(n Number, key string, low, high int64) Number {
	if n.Set && (n.V < low || n.V > high) {
		r.fail(n.Origin, key, strconv.FormatInt(n.V, 10)+" is out of range", "from "+strconv.FormatInt(low, 10)+" to "+strconv.FormatInt(high, 10))
		return Number{}
	}
	return n
}

func (r *resolver) limits() {
	in := mergeSection(r, "limits", func(f *Fragment) *LimitsSection { return &f.Limits }, func(f *Fragment) *List[Text] { return &f.Without.Limits })
	l := &r.out.Limits
	const starve = "0 leaves the program no memory to start in"
	l.Memory = r.above0(r.memorySize(in.Memory, "limits.memory"), "limits.memory", starve)
	l.MemoryHigh = r.above0(r.memorySize(in.MemoryHigh, "limits.memory-high"), "limits.memory-high", starve)
	l.MemoryLow = r.memorySize(in.MemoryLow, "limits.memory-low")
	l.Swap = r.memorySize(in.Swap, "limits.swap")
	l.CPUQuota = r.number(in.CPU, "limits.cpu", parseCPU)
	r.looksLikePercent(in.CPU, l.CPUQuota)
	l.CPUWeight = r.inRange(in.CPUWeight, "limits.cpu-weight", 1, 10000)
	l.CPUs = r.cpuset(in.CPUs, "limits.cpus", "processor", onlineProcessors)
	l.Mems = r.cpuset(in.Mems, "limits.mems", "memory node", "/sys/devices/system/node/online")
	l.Pids = r.pids(in.Pids, "limits.pids")
	l.IOWeight = r.inRange(in.IOWeight, "limits.io-weight", 1, 10000)
	l.OOMGroup = in.OOMGroup
	r.ordered(l.MemoryHigh, "limits.memory-high", l.Memory, "limits.memory")
	r.ordered(l.MemoryLow, "limits.memory-low", l.Memory, "limits.memory")
	r.ordered(l.MemoryLow, "limits.memory-low", l.MemoryHigh, "limits.memory-high")
	r.hugePages()
	items := mergeList(r, "limits.io", func(f *Fragment) *List[IOItem] { return &f.Limits.IO }, nil, func(i *IOItem) *When { return i.When }, nil)
	if in.IO.Set {
		r.ioLimits(slices.DeleteFunc(active(items), func(e listed[IOItem]) bool {
			return !slices.ContainsFunc(in.IO.Items, func(i IOItem) bool { return i.Origin == e.item.Origin })
		}))
	}
}

// pids reads the most processes, two of which every start takes, with a pid namespace and without.
func (r *resolver) pids(t Text, key string) Number {
	n := r.number(t, key, func(s string) (int64, *varError) { return parseCount(s, "processes") })
	switch {
	case n.V == 1:
		r.fail(n.Origin, key, "1 leaves no room for the program: the sandbox's own pid 1 counts too", "at least 2")
	case n.V > mostPids:
		r.fail(n.Origin, key, strconv.FormatInt(n.V, 10)+" is more processes than Linux can have", "at most "+strconv.Itoa(mostPids)+", or max for no limit")
	}
	return n
}

// ordered refuses a low limit above a high one.
func (r *resolver) ordered(low Number, lowKey string, high Number, highKey string) {
	if !low.Set || !high.Set || high.V == Unlimited || (low.V != Unlimited && low.V <= high.V) {
		return
	}
	// `memory-high: max` above `memory: 1G` is the kernel's default and says nothing.
	if low.V == Unlimited && lowKey == "limits.memory-high" {
		return
	}
	r.fail(low.Origin, lowKey, "is above "+highKey+" ("+high.Origin.String()+")", "lower it, or raise "+highKey)
}

func (r *resolver) cpuset(t Text, key, what, online string) Text {
	if !t.Set {
		return Text{}
	}
	text, set, err := parseCPUSet(t.V)
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
		return Text{}
	}
	if list, there := r.online(online); there != nil {
		for _, n := range set {
			if !slices.Contains(there, n) {
				r.fail(t.Origin, key, "this machine has no "+what+" "+strconv.Itoa(n), "it has "+list)
				return Text{}
			}
		}
	}
	return Text{V: text, Set: true, Origin: t.Origin}
}

const onlineProcessors = "/sys/devices/system/cpu/online"

// online reads one of the kernel's lists of what the machine has, and gives
// nothing where it cannot be read.
func (r *resolver) online(file string) (text string, set []int) {
	have, err := r.host.FS.ReadFile(file, 64<<10)
	if err != nil {
		return "", nil
	}
	text, set, bad := parseCPUSet(strings.TrimSpace(string(have)))
	if bad != nil {
		return "", nil
	}
	return text, set
}

// looksLikePercent warns of a number of processors that the machine does not
// have: who writes `cpu: 50` means 50% more often than not.
func (r *resolver) looksLikePercent(t Text, quota Number) {
	if !quota.Set || quota.V == Unlimited || strings.HasSuffix(t.V, "%") {
		return
	}
	if _, there := r.online(onlineProcessors); there != nil && quota.V > int64(len(there))*CPUPeriod {
		r.warn(t.Origin, "limits.cpu", quote(t.V)+" is that many processors' worth, and this machine has "+strconv.Itoa(len(there))+": it limits nothing",
			"write "+quote(t.V+"%")+" for hundredths of one processor")
	}
}

// hugePages merges by the size of the pages and not by the key's letters: 2M and
// 2048K are one limit.
func (r *resolver) hugePages() {
	type entry struct {
		MapEntry[Text]
		part int
		key  string
		size int64
	}
	var merged []entry
	for n, p := range r.parts {
		if slices.ContainsFunc(p.Without.Limits.Items, func(w Text) bool { return w.V == "hugepages" }) {
			merged = nil
		}
		for _, e := range p.Limits.HugePages.Entries {
			key := p.prefix + "limits.hugepages." + e.Key
			if !e.Value.Set {
				continue
			}
			size, err := parseSize(e.Key)
			if err != nil || size == 0 || size&(size-1) != 0 {
				r.fail(e.KeyOrigin, key, quote(e.Key)+" is not a page size", "as 2M or 1G")
				continue
			}
			now := entry{e, n, key, size}
			at := slices.IndexFunc(merged, func(old entry) bool { return old.size == size })
			switch {
			case at < 0:
				merged = append(merged, now)
			case merged[at].part == n && e.KeyOrigin.File != FileCommandLine:
				r.fail(e.KeyOrigin, key, "is the page size of "+merged[at].Key+" ("+merged[at].KeyOrigin.String()+") a second time", "keep one of the two entries")
			default:
				merged[at] = now
			}
		}
	}
	for _, e := range merged {
		r.hugePageLimit(e.MapEntry, e.key, e.size)
	}
}

func (r *resolver) hugePageLimit(e MapEntry[Text], key string, size int64) {
	// Names as in /sys/fs/cgroup: hugetlb.2MB.max, hugetlb.1GB.max.
	name := strconv.FormatInt(size>>10, 10) + "KB"
	if size >= 1<<30 {
		name = strconv.FormatInt(size>>30, 10) + "GB"
	} else if size >= 1<<20 {
		name = strconv.FormatInt(size>>20, 10) + "MB"
	}
	n := r.number(e.Value, key, parseLimitSize)
	if n.V != Unlimited && n.V%size != 0 {
		// The kernel would take the whole pages below it without a word (hugetlb_cgroup_write in mm/hugetlb_cgroup.c).
		r.fail(n.Origin, key, quote(e.Value.V)+" is no multiple of the page size", "whole pages, as 0, "+e.Key+" or max")
		return
	}
	if n.Set && r.hasPageSize(e, key, size, n) {
		r.out.Limits.HugePages = append(r.out.Limits.HugePages, HugePageLimit{name, n.V, n.Origin})
	}
}

// hasPageSize refuses a limit for a size that the machine's kernel does not have.
// max needs nothing of the kernel, and takes an inherited limit off anywhere.
func (r *resolver) hasPageSize(e MapEntry[Text], key string, size int64, limit Number) bool {
	names, err := r.host.FS.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil || limit.V == Unlimited {
		return true
	}
	var have []string
	for _, name := range names {
		text := strings.TrimSuffix(strings.TrimPrefix(name, "hugepages-"), "kB")
		kib, err := strconv.ParseInt(text, 10, 53)
		if err != nil {
			continue
		}
		if kib<<10 == size {
			return true
		}
		have = append(have, sizeText(kib<<10))
	}
	r.fail(e.KeyOrigin, key, "this machine has no huge pages of "+e.Key, "it has "+orElse(strings.Join(have, ", "), "none: leave the key out"))
	return false
}

// ioLimits merges the entries of one device key by key, so that a later file can
// change one rate and keep the others. In one file a second entry is an error
// unless a condition decides between them: on the command line a later flag wins.
func (r *resolver) ioLimits(entries []listed[IOItem]) {
	all := &r.out.Limits.IO
	var last []listed[IOItem] // beside each of all
	for _, e := range entries {
		l, ok := r.ioLimit(e)
		if !ok {
			continue
		}
		at := slices.IndexFunc(*all, func(o IOLimit) bool { return o.Major == l.Major && o.Minor == l.Minor })
		if at < 0 {
			*all, last = append(*all, l), append(last, e)
			continue
		}
		if old := last[at]; samePart(old, e) && !old.conditional && !e.conditional && e.item.Origin.File != FileCommandLine {
			r.fail(e.item.Device.Origin, e.key+".device", quote(e.item.Device.V)+" has an entry in this file already ("+old.item.Device.Origin.String()+")", "write all limits of one device in one entry")
			continue
		}
		(*all)[at].merge(l)
		if !e.conditional || !samePart(last[at], e) {
			last[at] = e
		}
	}
}

// samePart tells whether two entries stand in one list: of a file, or of one of
// its 'when' blocks, which count as later parts.
func samePart[T any](a, b listed[T]) bool {
	list := func(key string) string { return key[:strings.LastIndexByte(key, '[')] }
	return a.rank == b.rank && list(a.key) == list(b.key)
}

// merge takes the keys of a later entry for the same device in.
func (l *IOLimit) merge(later IOLimit) {
	for _, n := range []struct{ have, later *Number }{
		{&l.Read, &later.Read}, {&l.Write, &later.Write}, {&l.ReadOps, &later.ReadOps}, {&l.WriteOps, &later.WriteOps}, {&l.Weight, &later.Weight},
	} {
		if n.later.Set {
			*n.have = *n.later
		}
	}
	l.Device, l.Origin = later.Device, later.Origin
}

func (r *resolver) ioLimit(e listed[IOItem]) (l IOLimit, ok bool) {
	i := e.item
	dev, ok := r.path(i.Device, e.key+".device", useGrant)
	if !ok {
		return l, false
	}
	f := r.look.walk(dev)
	if f.err != nil {
		cause, _ := lookupCause(dev, f)
		r.fail(i.Device.Origin, e.key+".device", cause, "name a block device, as /dev/sda")
		return l, false
	}
	if f.stat.Mode&fs.ModeDevice == 0 || f.stat.Mode&fs.ModeCharDevice != 0 {
		r.fail(i.Device.Origin, e.key+".device", quote(dev)+" is "+fileKind(f.stat.Mode)+", not a block device", "name a block device, as /dev/sda")
		return l, false
	}
	l = IOLimit{
		Device: f.path, Origin: i.Origin,
		Read:     r.number(i.Read, e.key+".read", parseRate),
		Write:    r.number(i.Write, e.key+".write", parseRate),
		ReadOps:  r.number(i.ReadOps, e.key+".read-ops", parseOps),
		WriteOps: r.number(i.WriteOps, e.key+".write-ops", parseOps),
		Weight:   r.inRange(i.Weight, e.key+".weight", 1, 10000),
	}
	l.Major, l.Minor = deviceNumber(f.stat.Rdev)
	if cause, fix := r.noWholeDisk(l.Major, l.Minor); cause != "" {
		r.fail(i.Device.Origin, e.key+".device", quote(dev)+cause, fix)
		return l, false
	}
	if !i.Read.Set && !i.Write.Set && !i.ReadOps.Set && !i.WriteOps.Set && !i.Weight.Set {
		r.fail(i.Origin, e.key, "limits nothing", "give read, write, read-ops, write-ops or weight")
		return l, false
	}
	return l, true
}

// noWholeDisk says why the kernel would not limit a block device: it knows whole
// disks only (blkg_conf_open_bdev in block/blk-cgroup.c), and a node in /dev can
// be of a disk that is gone. Without sysfs to ask, the start has the word.
func (r *resolver) noWholeDisk(major, minor uint32) (cause, fix string) {
	const disks = "/sys/dev/block"
	if _, err := r.host.FS.Lstat(disks); err != nil {
		return "", ""
	}
	number := strconv.FormatUint(uint64(major), 10) + ":" + strconv.FormatUint(uint64(minor), 10)
	link, err := r.host.FS.Readlink(disks + "/" + number)
	if missing(err) {
		return " has the number " + number + ", and there is no such block device", "name a whole disk, as /dev/sda; lsblk lists them"
	}
	if err != nil {
		return "", ""
	}
	if _, err := r.host.FS.Lstat(disks + "/" + number + "/partition"); err != nil {
		return "", ""
	}
	// The folder of a partition lies in its disk's; sysfs writes a / of a name as !.
	disk := strings.ReplaceAll(path.Base(path.Dir(link)), "!", "/")
	return " is a partition, and only a disk can be limited", "name the whole disk, /dev/" + disk
}

// deviceNumber takes a dev_t apart (makedev(3)).
func deviceNumber(dev uint64) (major, minor uint32) {
	return uint32(dev>>8&0xfff | dev>>32&^0xfff), uint32(dev&0xff | dev>>12&^0xff)
}

// rlimitTypes are the names setrlimit(2) knows.
var rlimitTypes = [...]string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
	"nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
}

func (r *resolver) rlimits() { r.out.Rlimits = r.readRlimits(r.parts) }

func (r *resolver) readRlimits(parts []part) []Rlimit {
	var out []Rlimit
	merged := map[string]RlimitValue{}
	for _, p := range parts {
		for i, w := range p.Without.Rlimits.Items {
			name := rlimitName(w.V)
			if _, ok := merged[name]; !ok && w.Set && !slices.ContainsFunc(r.dormant, func(d part) bool {
				return d.rank < p.rank && slices.ContainsFunc(d.Rlimits.Entries, func(e MapEntry[RlimitValue]) bool { return rlimitName(e.Key) == name })
			}) {
				r.failWithout(p, "rlimits", i, w)
			}
			delete(merged, name)
		}
		for _, e := range p.Rlimits.Entries {
			name := rlimitName(e.Key)
			if !slices.Contains(rlimitTypes[:], name) {
				r.fail(e.KeyOrigin, p.prefix+"rlimits."+e.Key, quote(e.Key)+" is not a resource limit", orElse(didYouMean(name, rlimitTypes[:]), "one of "+strings.Join(rlimitTypes[:], ", ")))
				continue
			}
			merged[name] = e.Value
		}
	}
	for _, name := range rlimitTypes {
		v, ok := merged[name]
		if !ok {
			continue
		}
		l := Rlimit{Type: "RLIMIT_" + strings.ToUpper(name), Origin: v.Origin}
		key := "rlimits." + name
		if v.Soft.Set != v.Hard.Set && !v.Soft.Set {
			v.Soft = v.Hard
		}
		if !v.Soft.Set {
			if v.Origin.File != "" && !r.hasProblemAt(v.Origin) {
				r.fail(v.Origin, key, "no limit given", "write a number, a size, unlimited, or {soft: N, hard: N}")
			}
			continue
		}
		l.Soft = r.rlimit(v.Soft, key, name)
		l.Hard = l.Soft
		if v.Hard.Set {
			l.Hard = r.rlimit(v.Hard, key+".hard", name)
		}
		if l.Soft > l.Hard {
			r.fail(v.Soft.Origin, key, "the soft limit is above the hard one", "lower soft, or raise hard")
		}
		out = append(out, l)
	}
	return out
}

func (r *resolver) hasProblemAt(o Origin) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return p.File == o.File && p.Line == o.Line })
}

func rlimitName(s string) string {
	return strings.TrimPrefix(strings.ToLower(s), "rlimit_")
}

func (r *resolver) rlimit(t Text, key, name string) uint64 {
	if t.V == "unlimited" || t.V == "infinity" {
		return RlimitInfinity
	}
	if name == "cpu" {
		if d, err := parseDuration(t.V, false); err == nil && d > 0 {
			return uint64(d.Seconds())
		}
	}
	n, err := parseSize(t.V)
	if err != nil {
		r.fail(t.Origin, key, err.cause, "write a number, a size as 64M, or unlimited")
		return 0
	}
	return uint64(n)
}
