package main

import (
	"errors"
	"strconv"
	"strings"

	"jail/policy"
	"jail/sandbox"
)

type checkCmd struct {
	Profile     []string `arg:"" name:"profile" complete:"profile" placeholder:"P..." help:"Profile files (with .yaml) or names."`
	projectFlag `embed:""`
	JSON        bool `name:"json" help:"Print the problems as a JSON array."`
}

// Help is the text below the command's first line.
func (checkCmd) Help() string {
	return "Exits with 1 when there is a problem. Warnings are printed and change nothing."
}

func (checkCmd) examples() []example {
	return []example{
		{"jail check browser.yaml", "Every mistake with its file, line and column."},
		{"jail check --json *.yaml | jq -r '.[].file'", "For editors and CI."},
	}
}

// finding is a problem as `check --json` prints it.
type finding struct {
	Severity string `json:"severity"` // error or warning
	policy.Problem
}

// Run checks profiles.
func (c *checkCmd) Run(a *app) error {
	host, err := c.host(a)
	if err != nil {
		return err
	}
	findings := []finding{}
	bad := false
	for _, ref := range c.Profile {
		compiled, err := throughEveryStage(ref, host)
		if err != nil {
			for _, p := range policy.AsProblems(err) {
				findings = append(findings, finding{"error", p})
				bad = true
			}
			continue
		}
		alone, err := warnAlone(compiled)
		if err != nil {
			return err
		}
		for _, p := range append(compiled.Warnings, alone...) {
			findings = append(findings, finding{"warning", p})
		}
	}
	if c.JSON {
		if err := a.printJSON(findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			if f.Severity == "error" {
				a.problem(f.Problem)
			} else {
				a.warning(f.Problem)
			}
		}
	}
	if bad {
		return exitStatus(exitFound)
	}
	return nil
}

// warnAlone words what becomes of a profile where no namespaces can be had, if it prefers them.
func warnAlone(c *policy.Compiled) ([]policy.Problem, error) {
	plan, err := foreseeAlone(c)
	var refused sandbox.Refusals
	switch {
	case errors.As(err, &refused):
		var all []policy.Problem
		for _, e := range refused {
			all = append(all, problemAt(e.Origin, e.What, "where no namespaces can be had the program does not start: "+e.Cause.Error(), e.Hint))
		}
		return all, nil
	case err != nil || plan == nil:
		return nil, err
	}
	const pointer = "/annotations/" + annotationEnforcement + "/namespaces"
	return []policy.Problem{problemAt(origin(c.Spec, pointer), "enforcement.namespaces",
		"where no namespaces can be had the program runs with Landlock alone: "+strings.Join(plan.Lost, "; "), "take it out, and the program does not start there")}, nil
}

// problemAt is a problem at a place as FILE:LINE:COLUMN.
func problemAt(place, key, cause, fix string) policy.Problem {
	p := policy.Problem{File: place, Key: key, Cause: cause, Fix: fix}
	parts := strings.Split(place, ":")
	if n := len(parts) - 2; n > 0 {
		line, err := strconv.Atoi(parts[n])
		column, err2 := strconv.Atoi(parts[n+1])
		if err == nil && err2 == nil {
			p.File, p.Line, p.Column = strings.Join(parts[:n], ":"), line, column
		}
	}
	return p
}

// throughEveryStage takes a profile through every stage there is before a start.
func throughEveryStage(ref string, host *policy.Host) (*policy.Compiled, error) {
	resolved, err := resolveFor(ref, host)
	if err != nil {
		return nil, err
	}
	return resolved.Spec([]string{"true"})
}
