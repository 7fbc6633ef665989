package main

import (
	"fmt"
	"strings"

	"jail/sandbox/audit"
	"jail/sandbox/audit/check"
)

// printAudit prints a report group by group: what failed and what was granted line by line with why it matters, and the
// rest as counts, or with all every check.
func (a *app) printAudit(r *auditReport, all bool) {
	out := &printer{out: a.out, colour: a.colour}
	marks := map[audit.Outcome]string{
		audit.Held: out.paint(green, "held   "), audit.Failed: out.paint(red, "FAILED "), audit.Granted: out.paint(yellow, "granted"),
		audit.Nothing: out.paint(faint, "nothing"), audit.Untried: out.paint(faint, "untried"),
	}
	if r.Command != "" {
		marks[audit.Failed] = out.paint(yellow, "open   ")
	}
	for _, group := range check.Groups {
		counts := map[audit.Outcome]int{}
		var lines []string
		for _, res := range r.Results {
			if res.Group != group {
				continue
			}
			counts[res.Outcome]++
			if !all && res.Outcome != audit.Failed && res.Outcome != audit.Granted {
				continue
			}
			lines = append(lines, fmt.Sprintf("  %s  %s: %s", marks[res.Outcome], escape(res.What), escape(res.Detail)))
			switch res.Outcome {
			case audit.Failed:
				lines = append(lines, "           why it matters: "+res.Why+" ("+res.Source+")")
			case audit.Granted:
				lines = append(lines, "           by "+escape(res.Reason))
			}
			if all {
				lines = append(lines, fmt.Sprintf("           outside: %s; %s; %s", escape(res.Control), res.ID, res.Source))
			}
		}
		if len(counts) == 0 {
			continue
		}
		fmt.Fprintf(a.out, "%s  %s\n", out.paint(bold, fmt.Sprintf("%-22s", strings.ToUpper(group[:1])+group[1:])), countWords(counts, r.Command != ""))
		for _, line := range lines {
			fmt.Fprintf(a.out, "%s\n", line)
		}
	}
	fmt.Fprintf(a.out, "\n%s\n", a.auditVerdict(out, r))
}

// countWords says in one line what became of a group.
func countWords(counts map[audit.Outcome]int, foreign bool) string {
	var words []string
	for _, w := range []struct {
		outcome audit.Outcome
		text    string
	}{
		{audit.Held, "held"}, {audit.Failed, "failed"}, {audit.Granted, "granted by the profile"},
		{audit.Nothing, "hold outside too and prove nothing"}, {audit.Untried, "cannot be tried here"},
	} {
		if w.outcome == audit.Failed && foreign {
			w.text = "open"
		}
		if n := counts[w.outcome]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, w.text))
		}
	}
	return strings.Join(words, ", ")
}

// auditVerdict is the score.
func (a *app) auditVerdict(out *printer, r *auditReport) string {
	rest := fmt.Sprintf("%d checks; %d granted, %d prove nothing, %d could not be tried", r.Checks,
		r.Counts[audit.Granted], r.Counts[audit.Nothing], r.Counts[audit.Untried])
	score := fmt.Sprintf("%d of %d", r.Score, r.OutOf)
	switch {
	case r.Command != "":
		return fmt.Sprintf("%s hold in the sandbox of this command. (%s.)", out.paint(bold, score), rest)
	case r.Counts[audit.Failed] == 0:
		return fmt.Sprintf("%s: everything that the profile %s promises holds. (%s.)", out.paint(green, score), escape(r.Profile), rest)
	}
	return fmt.Sprintf("%s: the profile %s promises more than holds here. (%s.)", out.paint(red, score), escape(r.Profile), rest)
}
