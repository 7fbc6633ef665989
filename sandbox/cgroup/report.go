package cgroup

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

// A Report is what a run took, for --report.
type Report struct {
	Wall, User, System time.Duration
	MemoryPeak         Reading
	ProcessesPeak      Reading
	Read, Written      Reading
	Throttled          Reading // periods in which the cpu quota stopped the program
	ThrottledTime      Reading // microseconds, summed over threads
	Events             Events
	Way                Way
}

// NewReport puts a report together from the group, read before its Close, and from the times of the program as
// wait4(2) gives them, which stand in where the group cannot tell. Both may be nil.
func NewReport(wall time.Duration, g *Group, usage *syscall.Rusage) *Report {
	r := &Report{Wall: wall, Way: None}
	var s Stats
	if g != nil {
		s = g.Stats()
		r.Events, r.Way = g.Events(), g.Way()
	}
	r.MemoryPeak, r.ProcessesPeak = s.MemoryPeak, s.ProcessesPeak
	r.Read, r.Written = s.Read, s.Written
	r.Throttled, r.ThrottledTime = s.Throttled, s.ThrottledTime
	if s.CPUUser.Known && s.CPUSystem.Known {
		r.User = time.Duration(s.CPUUser.Value) * time.Microsecond
		r.System = time.Duration(s.CPUSystem.Value) * time.Microsecond
	}
	if usage == nil {
		return r
	}
	if !s.CPUUser.Known || !s.CPUSystem.Known {
		r.User = time.Duration(usage.Utime.Nano())
		r.System = time.Duration(usage.Stime.Nano())
	}
	if !r.MemoryPeak.Known {
		// The largest single process, in KiB (getrusage(2)); all together may have had more.
		r.MemoryPeak = Reading{Value: uint64(usage.Maxrss) << 10, Known: true, Sampled: true}
	}
	if !r.Read.Known {
		r.Read = Reading{Value: uint64(usage.Inblock) * 512, Known: true}
		r.Written = Reading{Value: uint64(usage.Oublock) * 512, Known: true}
	}
	return r
}

// WriteText prints the report for people, one line each.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%-16s%s\n", name, value) }
	line("wall time", seconds(r.Wall))
	line("user time", seconds(r.User))
	line("system time", seconds(r.System))
	line("peak memory", r.MemoryPeak.text(Bytes))
	line("peak processes", r.ProcessesPeak.text(decimal))
	line("bytes read", r.Read.text(Bytes))
	line("bytes written", r.Written.text(Bytes))
	throttled := r.Throttled.text(decimal)
	if r.Throttled.Known && r.Throttled.Value > 0 {
		throttled = fmt.Sprintf("%d periods, %s", r.Throttled.Value, seconds(time.Duration(r.ThrottledTime.Value)*time.Microsecond))
	}
	line("throttled", throttled)
	if r.Events.OOMKills > 0 {
		line("memory kills", decimal(r.Events.OOMKills))
	}
	if r.Events.PidsRefused > 0 {
		line("forks refused", decimal(r.Events.PidsRefused))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// MarshalJSON writes the report for programs: seconds, bytes and counts, null where unknown.
func (r *Report) MarshalJSON() ([]byte, error) {
	throttled := any(nil)
	if r.ThrottledTime.Known {
		throttled = float64(r.ThrottledTime.Value) / 1e6
	}
	return json.Marshal(struct {
		Wall          float64 `json:"wall_seconds"`
		User          float64 `json:"user_seconds"`
		System        float64 `json:"system_seconds"`
		MemoryPeak    Reading `json:"memory_peak_bytes"`
		Sampled       bool    `json:"memory_peak_is_estimate"`
		Processes     Reading `json:"processes_peak"`
		Read          Reading `json:"read_bytes"`
		Written       Reading `json:"written_bytes"`
		Throttled     Reading `json:"throttled_periods"`
		ThrottledTime any     `json:"throttled_seconds"`
		OOMKills      uint64  `json:"oom_kills"`
		PidsRefused   uint64  `json:"forks_refused"`
		Way           Way     `json:"cgroup"`
	}{
		r.Wall.Seconds(), r.User.Seconds(), r.System.Seconds(), r.MemoryPeak, r.MemoryPeak.Sampled, r.ProcessesPeak,
		r.Read, r.Written, r.Throttled, throttled, r.Events.OOMKills, r.Events.PidsRefused, r.Way,
	})
}

func (r Reading) text(write func(uint64) string) string {
	switch {
	case !r.Known:
		return "unknown"
	case r.Sampled:
		return "at least " + write(r.Value)
	}
	return write(r.Value)
}

func decimal(n uint64) string { return fmt.Sprint(n) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
