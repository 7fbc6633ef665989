package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"jail/sandbox"
	"jail/sandbox/cgroup"
)

// reportFormat is the value of --report, which may be left out.
type reportFormat string

// Decode reads the value that is joined to the flag; a word behind it is none.
func (f *reportFormat) Decode(ctx *kong.DecodeContext) error {
	*f = "text"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		return ctx.Scan.PopValueInto("format", (*string)(f))
	}
	return nil
}

// IsBool tells the flag library that no word behind the flag belongs to it.
func (reportFormat) IsBool() bool { return true }

// report is what --report asks for: what the run took, told at its end.
type report struct {
	json bool
	file *os.File // nil: standard error
}

// reports tells whether a report is asked for, by either flag.
func (r *runCmd) reports() bool { return r.Report != "" || r.ReportFile != "" }

// wanted opens the file before anything is started, so that a mistake in its name costs no run. Like the shell's
// redirection it replaces what is there.
func (r *runCmd) wanted() (*report, error) {
	if !r.reports() {
		return nil, nil
	}
	out := &report{json: r.Report == "json"}
	switch r.Report {
	case "", "text", "json":
	default:
		return nil, &hinted{fmt.Errorf("--report: %q is no format of a report", r.Report), "--report=text or --report=json"}
	}
	if r.ReportFile == "" {
		return out, nil
	}
	var err error
	if out.file, err = os.OpenFile(r.ReportFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666); err != nil {
		return nil, fmt.Errorf("--report-file: %w", err)
	}
	return out, nil
}

// write tells what the run took. The program has ended by then, so a report that cannot be written is a warning and
// leaves the exit code alone.
func (r *report) write(a *app, wall time.Duration, l *limits, status sandbox.Status) {
	if r == nil {
		return
	}
	var group *cgroup.Group
	if l != nil {
		group = l.group
	}
	took := cgroup.NewReport(wall, group, &status.Usage)
	out := a.err.out
	if r.file != nil {
		out = r.file
	}
	err := r.print(out, took)
	if r.file != nil {
		if closing := r.file.Close(); err == nil {
			err = closing
		}
	}
	if err != nil {
		a.err.line(yellow, "jail: warning:", "write the report: "+err.Error(), "")
	}
}

func (r *report) print(out io.Writer, took *cgroup.Report) error {
	if r.json {
		return json.NewEncoder(out).Encode(took)
	}
	return took.WriteText(out)
}
