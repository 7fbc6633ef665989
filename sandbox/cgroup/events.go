package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
)

// Events count what the limits did to the program.
type Events struct {
	OOMKills    uint64 `json:"oom_kills"`     // processes that an out-of-memory killer ended
	OOMs        uint64 `json:"ooms"`          // times that the group's own memory limit left no way on
	MemoryHigh  uint64 `json:"memory_high"`   // times that the program was slowed down at memory.high
	PidsRefused uint64 `json:"pids_refusals"` // forks that the process limit refused
}

// Events reads the counters. Read them after the program's end and before Close.
func (g *Group) Events() Events {
	var e Events
	pids := g.v1["pids"]
	switch {
	case g.v1["memory"] != "":
		text, _ := get(filepath.Join(g.v1["memory"], "memory.oom_control"))
		e.OOMKills = keyed(text)["oom_kill"]
		e.OOMs = readNumber(filepath.Join(g.v1["memory"], "memory.failcnt")).Value
		// Where memory and swap share a limit no counter moves, but the peak shows that it was reached.
		if e.OOMs == 0 && (reached(g.v1["memory"], "memory") || reached(g.v1["memory"], "memory.memsw")) {
			e.OOMs = e.OOMKills
		}
	case g.dir != "":
		text, _ := get(filepath.Join(g.dir, "memory.events"))
		all := keyed(text)
		e.OOMKills, e.OOMs, e.MemoryHigh = all["oom_kill"], all["oom"], all["high"]
	}
	if pids == "" {
		pids = g.dir
	}
	// Before Linux 6.11 the event is counted where the fork was tried, since then where the limit is.
	for _, dir := range slices.Compact([]string{pids, g.leaf}) {
		if dir != "" {
			text, _ := get(filepath.Join(dir, "pids.events"))
			e.PidsRefused = max(e.PidsRefused, keyed(text)["max"])
		}
	}
	return e
}

// reached says whether a counter of cgroup v1 has been at its limit.
func reached(dir, counter string) bool {
	peak := readNumber(filepath.Join(dir, counter+".max_usage_in_bytes"))
	limit := readNumber(filepath.Join(dir, counter+".limit_in_bytes"))
	return peak.Known && limit.Known && peak.Value >= limit.Value
}

// A Cause explains in one line what a limit did to the program.
type Cause struct {
	Text    string
	Pointer string // to the limit in the OCI spec; "" when it is none of this sandbox's
}

// Causes explains a kill or failed forks, for the message at exit; none when the limits had no part in it.
func (g *Group) Causes(e Events) []Cause {
	var all []Cause
	if e.OOMKills > 0 {
		limit, ok := g.limit("memory.max", "memory.limit_in_bytes")
		killed := count(e.OOMKills, "process", "processes") + " that had"
		// The kernel counts the first of them twice (oom_kill_process in mm/oom_kill.c).
		if all, _ := g.limit("memory.oom.group", ""); all.value == "1" {
			killed = "all processes, which together had"
		}
		switch {
		case ok && e.OOMs > 0:
			n, _ := strconv.ParseUint(limit.value, 10, 64)
			all = append(all, Cause{
				Text:    fmt.Sprintf("out of memory: the kernel killed %s reached the memory limit of %s", killed, Bytes(n)),
				Pointer: limit.pointer,
			})
		default:
			all = append(all, Cause{Text: fmt.Sprintf("out of memory: the kernel killed %s, because memory ran short outside of the sandbox, not for a limit of its own", count(e.OOMKills, "process", "processes"))})
		}
	}
	if e.PidsRefused > 0 {
		if limit, ok := g.limit("pids.max", "pids.max"); ok {
			all = append(all, Cause{
				Text:    fmt.Sprintf("too many processes: the limit of %s refused %s", limit.value, count(e.PidsRefused, "new one", "new ones")),
				Pointer: limit.pointer,
			})
		}
	}
	return all
}

// limit finds the limit that was set under one of two names, cgroup v2's and v1's.
func (g *Group) limit(v2, v1 string) (setting, bool) {
	i := slices.IndexFunc(g.limits, func(s setting) bool { return s.file == v2 || s.file == v1 })
	if i < 0 {
		return setting{}, false
	}
	return g.limits[i], true
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(n, 10) + " " + many
}

// Bytes writes a size for people: 64 MiB, 1.5 GiB.
func Bytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strconv.FormatFloat(float64(int64(f*10+0.5))/10, 'f', -1, 64) + " " + units[i]
}
