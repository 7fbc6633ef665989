package policy

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Explain says in plain words what the program may read, write, run, call and
// reach. Everything that came from a profile or the machine is escaped, so that
// no name can write to the terminal (CVE-2023-28101).
func (r *Resolved) Explain(w io.Writer) error {
	out := bufio.NewWriter(w)
	e := &explainer{r: r, w: out}
	e.line(r.Name.V + ": " + r.Description.Or("no description"))
	e.line("from " + strings.Join(r.Files, ", "))
	e.files()
	e.devices()
	e.reach()
	e.calls()
	e.identity()
	e.environment()
	e.limits()
	e.weakened()
	return out.Flush()
}

type explainer struct {
	r *Resolved
	w *bufio.Writer
}

// line prints one line. A failed write stays in the bufio.Writer, whose Flush
// reports it.
func (e *explainer) line(s string) { _, _ = e.w.WriteString(printable(s) + "\n") }

// section prints a heading and its lines, or the one line that says there are none.
func (e *explainer) section(heading string, lines []string, none string) {
	if len(lines) == 0 {
		if none != "" {
			e.line("")
			e.line(none)
		}
		return
	}
	e.line("")
	e.line(heading)
	for _, l := range lines {
		e.line("  " + l)
	}
}

// withNote puts a remark beside a path.
func withNote(path, note string) string {
	if note == "" {
		return path
	}
	return path + strings.Repeat(" ", max(1, 32-len([]rune(path)))) + note
}

// files says what is in the file tree. Running a program needs no grant of its
// own: what can be read can be run, unless noexec.
func (e *explainer) files() {
	var read, write, made, noexec []string
	entries := e.r.Filesystem
	if e.r.Root.Kind != "" && e.r.Root.Origin.File != FileDefault {
		entries = append([]Entry{e.r.Root}, entries...)
	}
	for i := range entries {
		en := &entries[i]
		switch en.Kind {
		case KindRO:
			read = append(read, withNote(en.Path, en.fromWhere()))
		case KindOverlay:
			if en.writable() {
				write = append(write, withNote(en.Path, en.fromWhere()))
			} else {
				read = append(read, withNote(en.Path, en.fromWhere()))
			}
		case KindRW, KindPersist, KindTmpfs:
			write = append(write, withNote(en.Path, en.fromWhere()))
		case KindContent:
			made = append(made, withNote(en.Path, "a text of "+strconv.Itoa(len(en.Content))+" bytes from "+en.Origin.String()))
		case KindSymlink:
			made = append(made, withNote(en.Path, "a link to "+en.Target))
		case KindDir:
			made = append(made, withNote(en.Path, "an empty directory"))
		}
		if en.HostBacked() && en.Kind != KindDevice && slices.Contains(en.Options, "noexec") {
			noexec = append(noexec, en.Path)
		}
	}
	e.section("It may read, and run programs from:", read, "It may read no file of this machine.")
	e.section("It may read and write:", write, "It may write nowhere.")
	e.section("It may run nothing from:", noexec, "")
	e.section("It finds in their place:", made, "")
	var hidden []string
	for _, h := range e.r.Hidden {
		hidden = append(hidden, withNote(h.Path, "by "+h.Pattern+", "+h.Origin.String()))
	}
	e.section("It finds empty:", hidden, "")
}

// fromWhere says what is at an entry's path where the path does not.
func (en *Entry) fromWhere() string {
	var notes []string
	switch en.Kind {
	case KindPersist:
		notes = append(notes, "a directory of its own, kept in "+en.Source)
	case KindTmpfs:
		note := "in memory, gone at the end"
		if en.Size > 0 {
			note += ", at most " + byteText(en.Size)
		}
		notes = append(notes, note)
	case KindOverlay:
		notes = append(notes, "a layer over "+strings.Join(en.Overlay.Lower, ", "))
		switch {
		case en.Overlay.Discard:
			notes = append(notes, "changes are thrown away")
		case en.Overlay.Keep != "":
			notes = append(notes, "changes are kept in "+en.Overlay.Keep)
		}
	default:
		if en.Source != en.Path {
			notes = append(notes, "is "+en.Source)
		}
	}
	if en.Reason != "" {
		notes = append(notes, en.Reason)
	}
	return strings.Join(notes, "; ")
}

func byteText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "T"}, {1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

func (e *explainer) devices() {
	var lines []string
	for i := range e.r.Filesystem {
		if en := &e.r.Filesystem[i]; en.Kind == KindDevice {
			lines = append(lines, withNote(en.Path, en.Reason))
		}
	}
	e.section("It may use the devices:", lines, "It may use no device.")
}

// reach says what it can talk to: the network, the desktop, other processes.
func (e *explainer) reach() {
	var lines []string
	lines = append(lines, e.network()...)
	lines = append(lines, e.r.Desktop.lines()...)
	own := map[string]bool{}
	for _, ns := range e.r.Namespaces {
		own[ns.Kind] = true
	}
	for _, s := range []struct{ kind, text string }{
		{"pid", "the processes of this machine"}, {"ipc", "the shared memory and message queues of this machine"},
	} {
		if !own[s.kind] {
			lines = append(lines, s.text)
		}
	}
	e.section("It may reach:", lines, "")
}

// identity says who the program is and what it is called.
func (e *explainer) identity() {
	p := &e.r.Process
	who := "user " + strconv.FormatUint(uint64(p.UID.V), 10) + ", group " + strconv.FormatUint(uint64(p.GID.V), 10)
	lines := []string{"as " + who + ", in " + p.Cwd.Or("/")}
	if len(p.Groups) > 0 {
		ids := make([]string, len(p.Groups))
		for i, g := range p.Groups {
			ids[i] = strconv.FormatUint(uint64(g.V), 10)
		}
		lines = append(lines, "with the groups "+strings.Join(ids, ", "))
	}
	if p.Hostname.Set {
		lines = append(lines, "on a machine called "+p.Hostname.V)
	}
	if len(e.r.Capabilities) == 0 {
		lines = append(lines, "without any capability")
	} else {
		names := make([]string, len(e.r.Capabilities))
		for i, c := range e.r.Capabilities {
			names[i] = c.Name
		}
		lines = append(lines, "with "+strings.Join(names, ", "))
	}
	if !p.NoNewPrivileges.Or(true) {
		lines = append(lines, "set-uid programs work inside")
	}
	if p.NoDump.Or(false) {
		lines = append(lines, "no core file is made of it")
	}
	if p.DenyWriteExec.Or(false) {
		lines = append(lines, "memory that it can write is never executed")
	}
	if p.CoreScheduling.Or(false) {
		lines = append(lines, "alone on its processor cores")
	}
	if p.Proc.V == "pid" {
		lines = append(lines, "/proc shows its own processes and nothing of the kernel")
	}
	if p.DieWithParent.Or(true) {
		lines = append(lines, "until it ends, or what started it does")
	} else {
		lines = append(lines, "until it ends, also after what started it has")
	}
	own := func(n Namespace) bool { return n.Kind == "pid" }
	if !slices.ContainsFunc(e.r.Namespaces, own) && !e.r.Limits.kept() {
		lines = append(lines, "what it leaves in the background may go on after that: a pid namespace or a limit would end it")
	}
	if p.Timeout.Set && p.Timeout.V > 0 {
		lines = append(lines, "for at most "+p.Timeout.V.Round(time.Millisecond).String())
	}
	e.section("It runs:", lines, "")
}

func (e *explainer) environment() {
	var kept, set []string
	for _, v := range e.r.Environment {
		if v.Kept {
			kept = append(kept, v.Name)
		} else {
			set = append(set, v.Name+"="+v.Value)
		}
	}
	e.section("It finds in its environment:", set, "Its environment is empty.")
	if len(kept) > 0 {
		e.line("  and, as you have them: " + strings.Join(kept, ", "))
	}
}

// limits says what it gets of the machine. What is max is no limit; memory-low
// has no such value.
func (e *explainer) limits() {
	l := &e.r.Limits
	var lines []string
	add := func(n Number, what string, show func(int64) string) {
		if bounds(n) {
			lines = append(lines, what+": "+show(n.V))
		}
	}
	rate := func(n int64) string { return byteText(n) + " a second" }
	often := func(n int64) string { return countText(n) + " a second" }
	add(l.Memory, "memory", byteText)
	add(l.MemoryHigh, "memory before it is slowed down", byteText)
	if l.MemoryLow.Set && l.MemoryLow.V == Unlimited {
		lines = append(lines, "memory left to it when others run short: all it has")
	}
	add(l.MemoryLow, "memory left to it when others run short", byteText)
	add(l.Swap, "swap", byteText)
	add(l.Pids, "processes and threads", countText)
	add(l.CPUWeight, "weight when processors are scarce", countText)
	add(l.CPUQuota, "processor time", func(n int64) string { return cpuText(n) + " of one" })
	if l.CPUs.Set {
		lines = append(lines, "processors: "+l.CPUs.V)
	}
	if l.Mems.Set {
		lines = append(lines, "memory nodes: "+l.Mems.V)
	}
	for _, h := range l.HugePages {
		add(Number{V: h.Limit, Set: true}, "huge pages of "+h.PageSize, byteText)
	}
	add(l.IOWeight, "weight when disks are scarce", countText)
	for _, d := range l.IO {
		add(d.Read, "reading from "+d.Device, rate)
		add(d.Write, "writing to "+d.Device, rate)
		add(d.ReadOps, "reads from "+d.Device, often)
		add(d.WriteOps, "writes to "+d.Device, often)
		add(d.Weight, "weight when "+d.Device+" is scarce", countText)
	}
	if l.OOMGroup.V {
		lines = append(lines, "being out of memory: all its processes are killed together")
	}
	for _, rl := range e.r.Rlimits {
		name := strings.ToLower(strings.TrimPrefix(rl.Type, "RLIMIT_"))
		soft, hard := rlimitText(rl.Soft), rlimitText(rl.Hard)
		if soft != hard {
			soft += ", which it may raise to " + hard
		}
		lines = append(lines, name+" of each process: "+soft)
	}
	slices.Sort(lines)
	e.section("It is limited in:", lines, "")
}

func rlimitText(n uint64) string {
	if n == RlimitInfinity {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// weakened names the layers that are not insisted on.
func (e *explainer) weakened() {
	var lines []string
	for _, x := range e.r.Enforcement {
		text := "left out, whatever this machine can do"
		if x.Level == "prefer" {
			text = "left out, with a warning, where this machine cannot do it"
		}
		lines = append(lines, withNote(x.Layer, text+"; "+x.Origin.String()))
	}
	e.section("These layers of protection are:", lines, "")
}
