package main

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
	return a.explainLimits(resolved)
}
