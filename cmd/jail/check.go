package main

import (
	"jail/policy"
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
		for _, p := range compiled.Warnings {
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

// throughEveryStage takes a profile through every stage there is before a start.
func throughEveryStage(ref string, host *policy.Host) (*policy.Compiled, error) {
	resolved, err := resolveFor(ref, host)
	if err != nil {
		return nil, err
	}
	return resolved.Spec([]string{"true"})
}
