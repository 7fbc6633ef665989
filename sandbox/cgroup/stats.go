package cgroup

import (
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Reading is a number that not every kernel or way can tell.
type Reading struct {
	Value   uint64
	Known   bool
	Sampled bool // looked at now and then, so the truth may be higher
}

// MarshalJSON writes the number, or null.
func (r Reading) MarshalJSON() ([]byte, error) {
	if !r.Known {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, r.Value, 10), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Reading) UnmarshalJSON(text []byte) error {
	*r = Reading{}
	if string(text) == "null" {
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	*r = Reading{Value: n, Known: err == nil}
	return err
}

// Stats is what the processes of a group use and have used. Maxima are unknown where there is no limit.
type Stats struct {
	Memory        Reading `json:"memory_bytes"`
	MemoryPeak    Reading `json:"memory_peak_bytes"`
	MemoryMax     Reading `json:"memory_max_bytes"`
	Swap          Reading `json:"swap_bytes"`
	Processes     Reading `json:"processes"` // threads count too, as in pids.max
	ProcessesPeak Reading `json:"processes_peak"`
	ProcessesMax  Reading `json:"processes_max"`
	CPU           Reading `json:"cpu_usec"`
	CPUUser       Reading `json:"cpu_user_usec"`
	CPUSystem     Reading `json:"cpu_system_usec"`
	CPUQuota      Reading `json:"cpu_quota_permille"` // of one cpu
	Throttled     Reading `json:"throttled_periods"`
	ThrottledTime Reading `json:"throttled_usec"`
	Read          Reading `json:"read_bytes"`
	Written       Reading `json:"written_bytes"`
}

// Stats reads the numbers of the moment. What cannot be read is not Known.
func (g *Group) Stats() Stats {
	var s Stats
	switch {
	case len(g.v1) > 0:
		s = g.statsV1()
	case g.dir != "":
		s = g.statsV2()
	}
	if g.peaks != nil {
		g.peaks.look(s)
		g.peaks.fill(&s)
	}
	return s
}

func (g *Group) statsV2() Stats {
	at := func(file string) Reading { return readNumber(filepath.Join(g.dir, file)) }
	s := Stats{
		Memory: at("memory.current"), MemoryPeak: at("memory.peak"), MemoryMax: at("memory.max"),
		Swap:      at("memory.swap.current"),
		Processes: at("pids.current"), ProcessesPeak: at("pids.peak"), ProcessesMax: at("pids.max"),
	}
	if text, err := get(filepath.Join(g.dir, "cpu.stat")); err == nil {
		all := keyed(text)
		s.CPU = fromKey(all, "usage_usec")
		s.CPUUser, s.CPUSystem = fromKey(all, "user_usec"), fromKey(all, "system_usec")
		s.Throttled, s.ThrottledTime = fromKey(all, "nr_throttled"), fromKey(all, "throttled_usec")
	}
	if text, err := get(filepath.Join(g.dir, "cpu.max")); err == nil {
		if f := strings.Fields(text); len(f) == 2 {
			s.CPUQuota = permille(f[0], f[1])
		}
	}
	if text, err := get(filepath.Join(g.dir, "io.stat")); err == nil {
		s.Read, s.Written = sumDevices(text)
	}
	return s
}

func (g *Group) statsV1() Stats {
	at := func(controller, file string) Reading {
		dir := g.v1[controller]
		if dir == "" {
			return Reading{}
		}
		return readNumber(filepath.Join(dir, file))
	}
	s := Stats{
		Memory: at("memory", "memory.usage_in_bytes"), MemoryPeak: at("memory", "memory.max_usage_in_bytes"),
		MemoryMax: at("memory", "memory.limit_in_bytes"),
		Processes: at("pids", "pids.current"), ProcessesPeak: at("pids", "pids.peak"), ProcessesMax: at("pids", "pids.max"),
		CPU: at("cpuacct", "cpuacct.usage"), CPUUser: at("cpuacct", "cpuacct.usage_user"), CPUSystem: at("cpuacct", "cpuacct.usage_sys"),
	}
	for _, ns := range []*Reading{&s.CPU, &s.CPUUser, &s.CPUSystem} {
		ns.Value /= 1000
	}
	// No limit is a number there: the highest one in whole pages.
	if s.MemoryMax.Value >= math.MaxInt64/(64<<10)*(64<<10) {
		s.MemoryMax = Reading{}
	}
	if text, err := get(filepath.Join(g.v1["cpu"], "cpu.stat")); err == nil && g.v1["cpu"] != "" {
		all := keyed(text)
		s.Throttled, s.ThrottledTime = fromKey(all, "nr_throttled"), fromKey(all, "throttled_time")
		s.ThrottledTime.Value /= 1000
		quota, _ := get(filepath.Join(g.v1["cpu"], "cpu.cfs_quota_us"))
		period, _ := get(filepath.Join(g.v1["cpu"], "cpu.cfs_period_us"))
		s.CPUQuota = permille(quota, period)
	}
	if dir := g.v1["blkio"]; dir != "" {
		if text, err := get(filepath.Join(dir, "blkio.throttle.io_service_bytes_recursive")); err == nil {
			s.Read, s.Written = sumDevicesV1(text)
		}
	}
	return s
}

// Sample looks at memory and processes at intervals, for kernels that do not keep the peaks themselves: memory.peak
// has come with Linux 5.19, pids.peak with 6.1. Where both are there it does nothing.
func (g *Group) Sample(every time.Duration) {
	s := g.Stats()
	if g.peaks != nil || s.MemoryPeak.Known && s.ProcessesPeak.Known || !s.Memory.Known && !s.Processes.Known {
		return
	}
	p := &sampler{end: make(chan struct{})}
	p.look(s)
	g.peaks = p
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-p.end:
				return
			case <-tick.C:
				if g.dir != "" && len(g.v1) == 0 {
					p.look(Stats{Memory: readNumber(g.dir + "/memory.current"), Processes: readNumber(g.dir + "/pids.current")})
				} else {
					p.look(Stats{Memory: readNumber(g.v1["memory"] + "/memory.usage_in_bytes"), Processes: readNumber(g.v1["pids"] + "/pids.current")})
				}
			}
		}
	}()
}

type sampler struct {
	mu                sync.Mutex
	memory, processes Reading
	end               chan struct{}
	once              sync.Once
}

func (p *sampler) look(s Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory = higher(p.memory, s.Memory)
	p.processes = higher(p.processes, s.Processes)
}

func (p *sampler) fill(s *Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.MemoryPeak.Known {
		s.MemoryPeak = p.memory
	}
	if !s.ProcessesPeak.Known {
		s.ProcessesPeak = p.processes
	}
}

func (p *sampler) stop() {
	if p != nil {
		p.once.Do(func() { close(p.end) })
	}
}

func higher(a, b Reading) Reading {
	if b.Known && (!a.Known || b.Value > a.Value) {
		return Reading{Value: b.Value, Known: true, Sampled: true}
	}
	return a
}

// readNumber reads a file of one number. "max" is no number.
func readNumber(path string) Reading {
	text, err := get(path)
	if err != nil {
		return Reading{}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return Reading{Value: n, Known: err == nil}
}

func fromKey(all map[string]uint64, key string) Reading {
	n, ok := all[key]
	return Reading{Value: n, Known: ok}
}

func permille(quota, period string) Reading {
	q, err1 := strconv.ParseUint(quota, 10, 64)
	p, err2 := strconv.ParseUint(period, 10, 64)
	if err1 != nil || err2 != nil || p == 0 {
		return Reading{}
	}
	return Reading{Value: q * 1000 / p, Known: true}
}

// sumDevices adds up io.stat: a line for each device, "8:0 rbytes=1 wbytes=2 ...".
func sumDevices(text string) (read, written Reading) {
	read.Known, written.Known = true, true
	for word := range strings.FieldsSeq(text) {
		if n, ok := strings.CutPrefix(word, "rbytes="); ok {
			v, _ := strconv.ParseUint(n, 10, 64)
			read.Value += v
		}
		if n, ok := strings.CutPrefix(word, "wbytes="); ok {
			v, _ := strconv.ParseUint(n, 10, 64)
			written.Value += v
		}
	}
	return read, written
}

// sumDevicesV1 adds up lines like "8:0 Read 4096".
func sumDevicesV1(text string) (read, written Reading) {
	read.Known, written.Known = true, true
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		v, _ := strconv.ParseUint(f[2], 10, 64)
		switch f[1] {
		case "Read":
			read.Value += v
		case "Write":
			written.Value += v
		}
	}
	return read, written
}
