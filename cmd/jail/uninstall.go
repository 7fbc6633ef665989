package main

import (
	"errors"
	"fmt"
)

type uninstallCmd struct {
	All   bool     `name:"all" help:"Everything that 'jail install' made."`
	Force bool     `name:"force" help:"Remove files also when they were changed since."`
	Names []string `arg:"" optional:"" name:"name" complete:"installed" placeholder:"[NAME...]" help:"The programs."`
}

// Help is the text below the command's first line.
func (uninstallCmd) Help() string {
	return "Removes the wrapper and the desktop entries that 'jail install' made, and the folders it had to make for them. A file that was changed since is left, and named."
}

func (uninstallCmd) examples() []example {
	return []example{{"jail uninstall firefox", "Menus and shells start firefox itself again."}}
}

// Run undoes what install did.
func (c *uninstallCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	places, names := placesOf(host), c.Names
	switch {
	case c.All && len(names) > 0:
		return errors.New("--all and names: give one of them")
	case c.All:
		records, err := places.Installed()
		if err != nil {
			return err
		}
		for _, r := range records {
			names = append(names, r.Name)
		}
	case len(names) == 0:
		return &hinted{errors.New("no program given"), "jail uninstall NAME..., or jail uninstall --all"}
	}
	for _, name := range names {
		if !isName(name) {
			return fmt.Errorf("%q is not the name of a program", name)
		}
		r, err := places.Uninstall(name, c.Force)
		if err != nil {
			return fmt.Errorf("uninstall %s: %w", name, err)
		}
		for _, f := range r.Files {
			fmt.Fprintf(a.out, "removed %s\n", escape(f.Path))
		}
	}
	return nil
}
