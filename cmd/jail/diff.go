package main

import (
	"fmt"

	"jail/policy"
)

type diffCmd struct {
	A    string `arg:"" name:"a" complete:"profile" placeholder:"A" help:"Profile file (with .yaml) or name."`
	B    string `arg:"" name:"b" complete:"profile" placeholder:"B" help:"The one to compare it with."`
	JSON bool   `name:"json" help:"Print a JSON array."`
}

// Help is the text below the command's first line.
func (diffCmd) Help() string {
	return "Both profiles are resolved first, so it does not matter how each is put together. A line with - is what A has, with + what B has, each with the place it was written at. Exits with 1 when there are differences, as diff(1) does."
}

func (diffCmd) examples() []example {
	return []example{
		{"jail diff firefox chromium", "What one lets a browser do and the other does not."},
		{"jail diff ~/new.yaml firefox", "What a changed profile changes."},
	}
}

// Run compares two profiles.
func (c *diffCmd) Run(a *app) error {
	left, err := a.resolve(c.A, projectFlag{})
	if err != nil {
		return err
	}
	right, err := a.resolve(c.B, projectFlag{})
	if err != nil {
		return err
	}
	all := policy.Diff(left, right)
	if c.JSON {
		if all == nil {
			all = []policy.Difference{}
		}
		if err := a.printJSON(all); err != nil {
			return err
		}
	} else {
		out := &printer{out: a.out, colour: a.colour}
		for _, d := range all {
			fmt.Fprintf(a.out, "%s\n", out.paint(bold, escape(d.Key)))
			a.side(out, red, "-", d.A, d.AOrigin)
			a.side(out, green, "+", d.B, d.BOrigin)
		}
	}
	if len(all) > 0 {
		return exitStatus(exitFound)
	}
	return nil
}

func (a *app) side(out *printer, style, mark, text, origin string) {
	if text == "" {
		return
	}
	if origin != "" {
		origin = "  " + out.paint(faint, "# "+escape(origin))
	}
	fmt.Fprintf(a.out, "  %s%s\n", out.paint(style, mark+" "+escape(text)), origin)
}
