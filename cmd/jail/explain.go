package main

import (
	"errors"
	"fmt"

	"jail/policy"
	"jail/sandbox"
)

type explainCmd struct {
	Profile     string `arg:"" name:"profile" complete:"profile" placeholder:"P" help:"Profile file (with .yaml) or name."`
	projectFlag `embed:""`
}

// Help is the text below the command's first line.
func (explainCmd) Help() string {
	return "What a program may read, write, execute, call and reach, for somebody who has not read the profile."
}

func (explainCmd) examples() []example {
	return []example{
		{"jail explain firefox", "What 'jail firefox' lets firefox do."},
	}
}

// Run explains a profile.
func (c *explainCmd) Run(a *app) error {
	resolved, err := a.resolve(c.Profile, c.projectFlag)
	if err != nil {
		return err
	}
	if err := resolved.Explain(escapeLines{a.out}); err != nil {
		return err
	}
	if err := a.explainLimits(resolved); err != nil {
		return err
	}
	return a.explainAlone(resolved)
}

// explainAlone says what a profile that prefers namespaces comes to where none can be had.
func (a *app) explainAlone(r *policy.Resolved) error {
	compiled, err := r.Spec([]string{"true"})
	if err != nil {
		return err
	}
	plan, err := foreseeAlone(compiled)
	out := escapeLines{a.out}
	var refused sandbox.Refusals
	switch {
	case errors.As(err, &refused):
		fmt.Fprint(out, "\nWhere no namespaces can be had it does not start, for these lines:\n")
		for _, e := range refused {
			fmt.Fprintf(out, "  %s\n", e.Error())
		}
		return nil
	case err != nil || plan == nil:
		return err
	}
	fmt.Fprint(out, "\nWhere no namespaces can be had it runs with Landlock alone:\n")
	for _, text := range plan.Lost {
		fmt.Fprintf(out, "  %s\n", text)
	}
	return nil
}
