package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/cmd/jail/background"
	"jail/sandbox/running"
)

type psCmd struct {
	All  bool `name:"all" short:"a" help:"List also sandboxes in the background that have ended, as long as their logs are kept."`
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Help is the text below the command's first line.
func (psCmd) Help() string {
	return "Only your own sandboxes are listed, and none that runs inside another one. PID is the process id of jail itself; 'jail exec', 'jail shell' and 'jail stop' take it as well as the name."
}

func (psCmd) examples() []example {
	return []example{
		{"jail ps", "What runs, since when, and what it may use."},
		{"jail ps --all", "And those that ran in the background, with their exit codes."},
		{"jail ps --json | jq -r '.[].name'", "The names alone."},
	}
}

// Run lists the running sandboxes.
func (c *psCmd) Run(a *app) error {
	states, err := running.List()
	if err != nil {
		return err
	}
	ended, err := c.ended(a)
	if err != nil {
		return err
	}
	if c.JSON {
		list := []any{}
		for _, box := range ended {
			list = append(list, endedEntry{box.Info, box.End})
		}
		for _, s := range states {
			list = append(list, psEntry{s, limitsOf(s.Name)})
		}
		return a.printJSON(list)
	}
	rows := [][]string{{"NAME", "PROFILE", "PROGRAM", "PID", "AGE", "NETWORK", "LIMITS"}}
	for _, s := range states {
		rows = append(rows, []string{s.Name, orDash(s.Profile), commandText(s.Args), strconv.Itoa(s.Supervisor),
			ageText(time.Since(s.Started)), orDash(s.Network["mode"]), orDash(strings.Join(limitsOf(s.Name), " "))})
	}
	if c.All {
		rows[0] = append(rows[0], "STATE")
		for i := range states {
			rows[i+1] = append(rows[i+1], "running")
		}
		for i, box := range ended {
			rows = append(rows, []string{box.Name, orDash(box.Profile), commandText(box.Args), "-", ageText(time.Since(box.Started)), "-", "-", endText(&ended[i])})
		}
	}
	a.table(rows)
	return nil
}

// ended lists the sandboxes that have ended, where they are asked for.
func (c *psCmd) ended(a *app) ([]background.Sandbox, error) {
	if !c.All {
		return nil, nil
	}
	host, err := a.host()
	if err != nil {
		return nil, err
	}
	all, err := logStore(host).List()
	return slices.DeleteFunc(all, func(b background.Sandbox) bool { return b.Runs }), err
}

// An endedEntry is a sandbox that has ended as programs read it; End is null when nobody was left to tell.
type endedEntry struct {
	background.Info
	End *background.End `json:"end"`
}

// A psEntry is a sandbox as programs read it.
type psEntry struct {
	running.State
	Limits []string `json:"limits"`
}

// limitsOf reads the limits of a sandbox from the spec it keeps. One that keeps none yet, or has just ended, has
// nothing to tell.
func limitsOf(name string) []string {
	box, err := running.Find(name)
	if err != nil {
		return nil
	}
	defer box.Close()
	spec, err := specNow(box)
	if err != nil || spec.Linux == nil {
		return nil
	}
	return limitWords(spec.Linux.Resources)
}

// limitWords says in a few words what a sandbox may use.
func limitWords(r *specs.LinuxResources) []string {
	words := []string{}
	if r == nil {
		return words
	}
	if m := r.Memory; m != nil && m.Limit != nil && *m.Limit > 0 {
		words = append(words, "memory="+bytesText(uint64(*m.Limit)))
	}
	if c := r.CPU; c != nil && c.Quota != nil && *c.Quota > 0 && c.Period != nil && *c.Period > 0 {
		words = append(words, fmt.Sprintf("cpu=%d%%", *c.Quota*100/int64(*c.Period)))
	}
	if p := r.Pids; p != nil && p.Limit > 0 {
		words = append(words, fmt.Sprintf("pids=%d", p.Limit))
	}
	for _, key := range []string{"memory.max", "memory.high", "cpu.max", "pids.max", "io.max"} {
		if v := r.Unified[key]; v != "" && v != "max" {
			words = append(words, strings.TrimSuffix(key, ".max")+"="+strings.ReplaceAll(strings.TrimSpace(v), " ", "/"))
		}
	}
	return words
}

func bytesText(n uint64) string {
	for _, unit := range []struct {
		name string
		size uint64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d%s", n/unit.size, unit.name)
		}
	}
	return strconv.FormatUint(n, 10)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// commandText is a command line as far as a table has room for it.
func commandText(args []string) string {
	text := []rune(strings.Join(args, " "))
	if len(text) > 40 {
		text = append(text[:39], '…')
	}
	return string(text)
}

// ageText is a duration in its two largest units.
func ageText(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 0:
		return "-" // the clock was set back
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// table prints rows in columns, the first row as their heads. Cells are escaped.
func (a *app) table(rows [][]string) {
	out := &printer{out: a.out, colour: a.colour}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = escape(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		line := b.String()
		if n == 0 {
			line = out.paint(bold, line)
		}
		fmt.Fprintf(a.out, "%s\n", line)
	}
}
