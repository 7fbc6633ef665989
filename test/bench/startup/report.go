package main

import (
	"fmt"
	"io"
	"strings"
)

// target is a bar that the project set itself.
type target struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	AtMost float64 `json:"at_most"`
	Met    bool    `json:"met"`
}

// targets judges what was measured; what could not be measured is left out.
func targets(r report, many bool) []target {
	var list []target
	judge := func(what string, value, atMost float64) {
		if value > 0 {
			list = append(list, target{What: what, Value: value, AtMost: atMost, Met: value <= atMost})
		}
	}
	same := 0.9
	if many {
		same = 0.5
	}
	judge(jailSame+" / "+bubblewrap, r.ratio(jailSame, bubblewrap), same)
	if !many {
		judge(jailBrowser+" / "+bubblewrap, r.ratio(jailBrowser, bubblewrap), 1.3)
	}
	judge(jailSame+" / "+firejail, r.ratio(jailSame, firejail), 0.2)
	judge(jailBrowser+" / "+firejail, r.ratio(jailBrowser, firejail), 0.2)
	judge(jailSubtree+", ms more than without", r.more(jailSubtree, jailSame), 0.5)
	judge("supervisor's resident memory, MB", r.MemoryMB, 12)
	if r.Calls != nil {
		judge("getppid with the filter / without", r.Calls.GetppidFiltered/r.Calls.GetppidPlain, 1.15)
		judge("pread with the filter / without", r.Calls.PreadFiltered/r.Calls.PreadPlain, 1.10)
	}
	return list
}

func (r report) start(name string) (measurement, bool) {
	for _, m := range r.Starts {
		if m.Name == name && m.Failed == "" {
			return m, true
		}
	}
	return measurement{}, false
}

// ratio is of medians, 0 where one of them was not measured.
func (r report) ratio(a, b string) float64 {
	first, ok1 := r.start(a)
	second, ok2 := r.start(b)
	if !ok1 || !ok2 {
		return 0
	}
	return first.Median / second.Median
}

// more is how much longer the median start of a takes than that of b; at least a microsecond, 0 where one of them was
// not measured.
func (r report) more(a, b string) float64 {
	first, ok1 := r.start(a)
	second, ok2 := r.start(b)
	if !ok1 || !ok2 {
		return 0
	}
	return max(first.Median-second.Median, 0.001)
}

func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%d rounds in turn, Linux %s): start to exit of /bin/true, ms\n\n", r.Title, r.Rounds, r.Kernel)
	fmt.Fprintf(w, "  %-27s %8s %8s %8s %8s   %s\n", "", "min", "median", "p90", "cpu", "median / bubblewrap's")
	for _, m := range r.Starts {
		if m.Failed != "" {
			fmt.Fprintf(w, "  %-27s could not be started: %s\n", m.Name, strings.ReplaceAll(m.Failed, "\n", "\n"+strings.Repeat(" ", 31)))
			continue
		}
		fmt.Fprintf(w, "  %-27s %8.2f %8.2f %8.2f %8.2f   %8.2f\n", m.Name, m.Min, m.Median, m.P90, m.CPU, r.ratio(m.Name, bubblewrap))
		if m.Misses > 0 {
			fmt.Fprintf(w, "  %-27s %d starts failed and are left out\n", "", m.Misses)
		}
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(w, "  not installed: %s\n", strings.Join(r.Missing, ", "))
	}
	if r.Calls != nil {
		fmt.Fprintf(w, "\n  one call with and without the filter, ns: getppid %.1f %.1f, pread %.1f %.1f\n",
			r.Calls.GetppidFiltered, r.Calls.GetppidPlain, r.Calls.PreadFiltered, r.Calls.PreadPlain)
	}
	if more := r.more(jailScope, jailSame); more > 0 {
		whole, _ := r.start(jailScope)
		fmt.Fprintf(w, "\n  the scope takes %.2f ms of such a start, %.0f%% of it\n", more, more/whole.Median*100)
	}
	if len(r.Targets) > 0 {
		fmt.Fprintf(w, "\n  targets\n")
	}
	for _, t := range r.Targets {
		verdict := "met"
		if !t.Met {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "  %-48s %6.2f  at most %5.2f  %s\n", t.What, t.Value, t.AtMost, verdict)
	}
}
