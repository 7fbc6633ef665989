package main

import (
	"fmt"

	"jail/cmd/jail/install"
)

type installedCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Help is the text below the command's first line.
func (installedCmd) Help() string {
	return "Each file is named with what became of it: unchanged, changed or missing."
}

func (installedCmd) examples() []example {
	return []example{{"jail installed", "Programs that start through jail, and the files that make them."}}
}

// Run lists what was installed.
func (c *installedCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	records, err := placesOf(host).Installed()
	if err != nil {
		return err
	}
	type file struct {
		Path  string        `json:"path"`
		State install.State `json:"state"`
	}
	type program struct {
		Name    string `json:"name"`
		Program string `json:"program"`
		Profile string `json:"profile"`
		Files   []file `json:"files"`
	}
	all := []program{}
	for _, r := range records {
		p := program{r.Name, r.Program, r.Profile, nil}
		for _, f := range r.Files {
			state, err := f.State()
			if err != nil {
				return err
			}
			p.Files = append(p.Files, file{f.Path, state})
		}
		all = append(all, p)
	}
	if c.JSON {
		return a.printJSON(all)
	}
	for _, p := range all {
		fmt.Fprintf(a.out, "%s  starts %s with profile %s\n", escape(p.Name), escape(p.Program), escape(p.Profile))
		for _, f := range p.Files {
			fmt.Fprintf(a.out, "    %-9s  %s\n", f.State, escape(f.Path))
		}
	}
	return nil
}
