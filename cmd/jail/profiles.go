package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
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
		{"jail profiles", "Names, what they are for, and where yours lie."},
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
	for i, kind := range profileKinds {
		var rows []policy.Listed
		name := 0
		for _, p := range all {
			if p.Kind == kind.name || kind.name == "general" && p.Kind == "" {
				rows, name = append(rows, p), max(name, utf8.RuneCountInString(escape(p.Name)))
			}
		}
		if len(rows) == 0 {
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintf(a.out, "%s\n", kind.heading)
		for _, p := range rows {
			if err := a.printListed(p, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// printListed prints a profile's line; on a terminal as many as it takes, for readers, and for programs one.
func (a *app) printListed(p policy.Listed, name int) error {
	text := escape(listedText(p))
	if f, ok := a.out.(*os.File); ok && isTerminal(f) {
		b, indent := page{width: textWidth(f)}, strings.Repeat(" ", name+4)
		writeWrapped(&b, text, indent)
		text = strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), indent)
	}
	_, err := fmt.Fprintf(a.out, "  %-*s  %s\n", name, escape(p.Name), text)
	return err
}

// profileKinds are the parts of the list.
var profileKinds = []struct{ name, heading string }{
	{"program", "For a program: 'jail PROGRAM' takes the one named like it."},
	{"general", "For any program: jail --profile NAME PROGRAM"},
	{"fragment", "Parts to build profiles from, under 'extends':"},
}

// listedText is what stands beside a profile's name: what it is for, the
// programs where they are not the name, and the file where it is not jail's own.
func listedText(p policy.Listed) string {
	text := p.Description
	if p.Problem != "" {
		text = "cannot be used: " + p.Problem
	}
	if len(p.Programs) > 1 || len(p.Programs) == 1 && p.Programs[0] != p.Name {
		text += " (" + strings.Join(p.Programs, ", ") + ")"
	}
	if !strings.HasPrefix(p.File, "shipped:") {
		text += " [" + p.File + "]"
	}
	return text
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
