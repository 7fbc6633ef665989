package main

import "jail/policy"

type showCmd struct {
	Profile     string `arg:"" name:"profile" complete:"profile" placeholder:"P" help:"Profile file (with .yaml) or name."`
	projectFlag `embed:""`
}

// Help is the text below the command's first line.
func (showCmd) Help() string {
	return "Everything is merged and decided: variables, conditions, patterns, defaults. Each value is followed by the file, line and column it came from."
}

func (showCmd) examples() []example {
	return []example{
		{"jail show browser", "The whole of the browser profile, with what it inherits."},
		{"jail show browser | grep ssh", "Which line grants or hides something."},
	}
}

// Run prints a resolved profile.
func (c *showCmd) Run(a *app) error {
	resolved, err := a.resolve(c.Profile, c.projectFlag)
	if err != nil {
		return err
	}
	return resolved.Show(escapeLines{a.out})
}

// resolve takes a profile as far as it goes without a program.
func (a *app) resolve(ref string, project projectFlag) (*policy.Resolved, error) {
	host, err := project.host(a)
	if err != nil {
		return nil, err
	}
	resolved, err := resolveFor(ref, host)
	if err != nil {
		return nil, err
	}
	a.warnings(resolved.Warnings)
	return resolved, nil
}

func resolveFor(ref string, host *policy.Host) (*policy.Resolved, error) {
	profile, err := policy.Load(ref, host)
	if err != nil {
		return nil, err
	}
	return profile.Resolve(host)
}
