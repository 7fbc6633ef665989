package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"jail/sandbox/cgroup"
	"jail/sandbox/running"
)

type statsCmd struct {
	Name  string `arg:"" optional:"" name:"name" complete:"running" placeholder:"NAME" help:"Only the sandbox of that name."`
	Watch bool   `name:"watch" short:"w" help:"Go on, once a second, until Ctrl-C or until the sandbox has ended."`
	JSON  bool   `name:"json" help:"Print a JSON array, with --watch one a line."`
}

// Help is the text below the command's first line.
func (statsCmd) Help() string {
	return "Bars are filled up to the sandbox's limit; without a limit the one for processors is filled up to all of the machine's. What a sandbox's control group does not tell is counted process by process, and without limits or a report it has no group: memory that processes share then counts for each. What they read and write is known where a report was asked for, or disks have limits."
}

func (statsCmd) examples() []example {
	return []example{
		{"jail stats", "What every running sandbox of yours uses right now."},
		{"jail stats firefox --watch", "Follow one of them."},
	}
}

// usage is one sandbox's line.
type usage struct {
	Name    string  `json:"name"`
	Profile string  `json:"profile"`
	PID     int     `json:"pid"` // of the supervisor
	Cgroup  bool    `json:"cgroup"`
	Percent float64 `json:"cpu_percent"` // of one processor, since the look before
	cgroup.Stats
	at time.Time
}

// statsEvery is the time between two looks; a single answer takes two looks that are closer, because how busy a
// processor is shows only between them.
const (
	statsEvery = time.Second
	statsOnce  = 250 * time.Millisecond
)

// Run prints what sandboxes use.
func (c *statsCmd) Run(a *app) error {
	before, err := c.look()
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	if c.Watch {
		signal.Notify(stop, unix.SIGINT, unix.SIGTERM)
	}
	screen := c.Watch && !c.JSON && isTerminal(os.Stdout)
	wait := statsOnce
	for drawn := ""; ; wait = statsEvery {
		select {
		case <-stop:
			return nil
		case <-time.After(wait):
		}
		now, err := c.look()
		var gone *running.FindError
		switch {
		case errors.As(err, &gone) && c.Name != "":
			return nil // the sandbox has ended meanwhile, which is no mistake
		case err != nil:
			return err
		}
		busy(before, now)
		before = now
		var text strings.Builder
		if err := c.print(&text, a, now); err != nil {
			return err
		}
		if screen && drawn != "" {
			fmt.Fprintf(a.out, "\x1b[%dA\x1b[J", rowsOf(drawn, columnsOf(os.Stdout))) // up to where it began, and clear from there
		}
		drawn = text.String()
		if _, err := io.WriteString(a.out, text.String()); err != nil {
			return err
		}
		if !c.Watch {
			return nil
		}
	}
}

// rowsOf is how many rows of a terminal a text takes up: a longer line goes on in the next one. Without columns none does.
func rowsOf(text string, columns int) (rows int) {
	if columns == 0 {
		columns = math.MaxInt32
	}
	for line := range strings.Lines(text) {
		rows += max(1, (utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))+columns-1)/columns)
	}
	return rows
}

// look reads what the sandboxes use at the moment.
func (c *statsCmd) look() ([]usage, error) {
	states, err := running.List()
	if err != nil {
		return nil, err
	}
	if c.Name != "" {
		box, err := running.Find(c.Name)
		if err != nil {
			return nil, err
		}
		states = []running.State{box.State}
		box.Close()
	}
	out := []usage{}
	var firsts []int // of those whose control group does not tell everything, or that have none
	for _, s := range states {
		u := usage{Name: s.Name, Profile: s.Profile, PID: s.Supervisor, Cgroup: len(s.Cgroups) > 0, at: time.Now()}
		if u.Cgroup {
			u.Stats = cgroup.At(s.Cgroups).Stats()
		}
		if !u.Memory.Known || !u.Processes.Known || !u.CPU.Known {
			firsts = append(firsts, s.First)
		}
		out = append(out, u)
	}
	if len(firsts) == 0 {
		return out, nil
	}
	counted := running.Usages(firsts)
	for i, s := range states {
		n, ok := counted[s.First]
		if !ok {
			continue
		}
		u := &out[i]
		for to, value := range map[*cgroup.Reading]uint64{&u.Memory: n.Memory, &u.Processes: uint64(n.Processes), &u.CPU: uint64(n.CPU.Microseconds())} {
			if !to.Known {
				*to = cgroup.Reading{Value: value, Known: true}
			}
		}
	}
	return out, nil
}

// busy works out the share of a processor between two looks.
func busy(before, now []usage) {
	for i := range now {
		for _, b := range before {
			if n := &now[i]; b.PID == n.PID && b.Name == n.Name && n.CPU.Known && b.CPU.Known && n.CPU.Value >= b.CPU.Value {
				n.Percent = float64(n.CPU.Value-b.CPU.Value) / float64(n.at.Sub(b.at).Microseconds()) * 100
			}
		}
	}
}

func (c *statsCmd) print(out io.Writer, a *app, all []usage) error {
	if c.JSON {
		text, err := json.Marshal(all)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", escapeJSON(text))
		}
		return err
	}
	if len(all) == 0 {
		if !c.Watch {
			a.err.note("no sandbox of yours is running")
			return nil
		}
		_, err := fmt.Fprintln(out, "no sandbox of yours is running")
		return err
	}
	rows := [][]string{{"NAME", "CPU", "MEMORY", "PROCESSES", "READ", "WRITTEN"}}
	for i := range all {
		rows = append(rows, all[i].cells())
	}
	return writeColumns(out, rows)
}

// cells words one sandbox's numbers.
func (u *usage) cells() []string {
	processors := float64(runtime.NumCPU()) * 100
	if u.CPUQuota.Known {
		processors = float64(u.CPUQuota.Value) / 10
	}
	cpu := bar(u.Percent/processors) + fmt.Sprintf(" %3.0f%%", u.Percent)
	if u.CPUQuota.Known {
		cpu += fmt.Sprintf(" of %.0f%%", processors)
	}
	return []string{
		escape(u.Name), cpu, against(u.Memory, u.MemoryMax, cgroup.Bytes),
		against(u.Processes, u.ProcessesMax, func(n uint64) string { return strconv.FormatUint(n, 10) }),
		bytesOf(u.Read), bytesOf(u.Written),
	}
}

// against shows a number beside its limit.
func against(now, limit cgroup.Reading, write func(uint64) string) string {
	switch {
	case !now.Known:
		return "?"
	case !limit.Known || limit.Value == 0:
		return strings.Repeat(" ", barWidth+2) + " " + write(now.Value)
	}
	return bar(float64(now.Value)/float64(limit.Value)) + " " + write(now.Value) + " of " + write(limit.Value)
}

func bytesOf(n cgroup.Reading) string {
	if !n.Known {
		return "?"
	}
	return cgroup.Bytes(n.Value)
}

const barWidth = 10

// bar is filled to a share of it, and begun as soon as there is anything to show.
func bar(share float64) string {
	filled := min(int(share*barWidth+0.5), barWidth)
	if filled == 0 && share > 0.005 {
		filled = 1
	}
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled) + "]"
}

// writeColumns aligns the cells of a table.
func writeColumns(out io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%s%s  ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
