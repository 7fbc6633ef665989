package main

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"jail/policy"
)

type profilesCmd struct {
	Path bool `name:"path" help:"Print the folders that profiles are looked for in, the first one first."`
	JSON bool `name:"json" help:"Print a JSON array."`
}

// Help is the text below the command's first line.
func (profilesCmd) Help() string {
	return "A name is looked for in the user's folder, then in the system's, then among the profiles inside jail. The working directory is not searched: a file there is named with its .yaml."
}

func (profilesCmd) examples() []example {
	return []example{
		{"jail profiles", "Names, where they lie, and what they are for."},
		{`cd "$(jail profiles --path | head -n 1)"`, "Go to the folder for your own profiles."},
	}
}

// Run lists profiles.
func (c *profilesCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	if c.Path {
		return a.searchPath(host, c.JSON)
	}
	all := policy.Profiles(host)
	if c.JSON {
		return a.printJSON(all)
	}
	name, file := 0, 0
	for _, p := range all {
		name, file = max(name, utf8.RuneCountInString(escape(p.Name))), max(file, utf8.RuneCountInString(escape(p.File)))
	}
	for _, p := range all {
		text := p.Description
		if p.Problem != "" {
			text = "cannot be used: " + p.Problem
		}
		fmt.Fprintf(a.out, "%-*s  %-*s  %s\n", name, escape(p.Name), file, escape(p.File), escape(text))
	}
	return nil
}

func (a *app) searchPath(host *policy.Host, asJSON bool) error {
	path := policy.SearchPath(host)
	if asJSON {
		return a.printJSON(path)
	}
	for _, dir := range path {
		fmt.Fprintf(a.out, "%s\n", escape(dir))
	}
	return nil
}

// printJSON prints a value for programs, harmless on a terminal too.
func (a *app) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", escapeJSON(text))
	return err
}
