package main

import "path/filepath"

type compileCmd struct {
	sandboxFlags `embed:""`
	Bundle       string `name:"bundle" placeholder:"DIR" help:"Write config.json and the files it needs into DIR, which must be new or empty."`
	program      `embed:""`
}

// Help is the text below the command's first line.
func (compileCmd) Help() string {
	return `A bundle runs with 'jail run --bundle DIR', and with runc and crun: as root, or as yourself when the profile has process.uid and process.gid 0. What OCI has no words for (egress rules, desktop services) is in annotations that only jail reads.`
}

func (compileCmd) examples() []example {
	return []example{
		{"jail compile -p shell -- bash | jq .mounts", "See the OCI config that jail itself runs."},
		{"jail compile --bundle b -p build -- make && sudo runc run -b b mybuild", "Run the same sandbox with runc."},
	}
}

func (c *compileCmd) launch(a *app, flags []flag, words []string) error {
	compiled, host, err := c.compile(a, flags, words, nil)
	if err != nil {
		return err
	}
	setTerminal(compiled.Spec, false)
	if c.Bundle == "" {
		a.warnings(compiled.Warnings)
		text, err := configText(compiled.Spec)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	}
	dir, err := filepath.Abs(c.Bundle)
	if err != nil {
		return err
	}
	compiled = compiled.Export(dir, host)
	a.warnings(compiled.Warnings)
	if err := writeBundle(dir, compiled); err != nil {
		return err
	}
	// Other runtimes make no folders on the host, so those that the config names are made now.
	if err := makeHostDirs(compiled.HostDirs, host.StateHome); err != nil {
		return err
	}
	for _, made := range compiled.HostDirs {
		a.verbose("folder %s is there for the program", made.Path)
	}
	a.verbose("wrote bundle %s", dir)
	return nil
}
