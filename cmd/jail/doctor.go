package main

import (
	"fmt"
	"strings"
)

type doctorCmd struct {
	JSON     bool `name:"json" help:"Print a JSON array."`
	AppArmor bool `name:"apparmor" help:"Print an AppArmor profile that lets this jail make user namespaces, and nothing else."`
}

// Help is the text below the command's first line.
func (doctorCmd) Help() string {
	return `Every feature is tried, not guessed from versions. Where one is missing the line below it says what to type; what is said to be optional is needed by some profiles only.

Exits with 1 when something is missing that the default profile needs.`
}

func (doctorCmd) examples() []example {
	return []example{
		{"jail doctor", "What works here, and what would mend the rest."},
		{"jail doctor --json | jq -r '.[] | select(.state != \"ok\") | .remedy'", "The remedies alone."},
	}
}

// States of a finding.
const (
	works    = "ok"
	optional = "optional" // missing, and the default profile does without
	missing  = "missing"
)

// A finding of the doctor's is one feature of the machine.
type feature struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"` // what to type
	Note   string `json:"note,omitempty"`   // what else to know of it
}

// found is a feature that is there.
func found(name, text string, args ...any) feature {
	return feature{Name: name, State: works, Text: fmt.Sprintf(text, args...)}
}

// lacking is one that is not, with what to type.
func lacking(state, name, text, remedy string) feature {
	return feature{Name: name, State: state, Text: text, Remedy: remedy}
}

// hintedFeature is one that failed with an error whose hint is a command and perhaps more words about it.
func hintedFeature(state, name string, err error) feature {
	f := feature{Name: name, State: state, Text: err.Error()}
	f.Remedy, f.Note = splitHint(hintOf(err))
	return f
}

// splitHint parts the command that a hint names from the words around it, so that it can be typed as printed.
func splitHint(hint string) (command, note string) {
	if before, command, ok := strings.Cut(hint, "as root: "); ok {
		command, after, more := strings.Cut(command, "; then ")
		note = strings.TrimSuffix(strings.TrimSpace(before), ", or")
		if more {
			note = strings.TrimPrefix(note+"; then "+after, "; ")
		}
		return sudo(command), note
	}
	at := strings.Index(hint, "sudo ")
	if at < 0 {
		return "", hint
	}
	command, after, _ := strings.Cut(hint[at:], " (")
	command, more, _ := strings.Cut(command, "; ")
	note = strings.TrimSuffix(strings.TrimSpace(hint[:at]), ", or:")
	for _, s := range []string{strings.TrimSuffix(after, ")"), more} {
		if s != "" {
			note = strings.TrimPrefix(note+"; "+s, "; ")
		}
	}
	return command, note
}

// sudo gives the line that runs a command as root, a shell's command too.
func sudo(command string) string {
	if !strings.ContainsAny(command, ";&|<>$'\"") {
		return "sudo " + command
	}
	return "sudo sh -c '" + strings.ReplaceAll(command, "'", `'\''`) + "'"
}

// Run looks at the machine.
func (c *doctorCmd) Run(a *app) error {
	if c.AppArmor {
		return a.printAppArmor()
	}
	var all []feature
	for _, group := range []struct {
		name string
		look func() []feature
	}{
		{"sandboxes", sandboxFeatures}, {"ids", idFeatures}, {"limits", limitFeatures},
		{"network", networkFeatures}, {"desktop", desktopFeatures}, {"devices", deviceFeatures},
	} {
		for _, f := range group.look() {
			f.Group = group.name
			all = append(all, f)
		}
	}
	if !c.JSON {
		a.printFeatures(all)
	} else if err := a.printJSON(all); err != nil {
		return err
	}
	for _, f := range all {
		if f.State == missing {
			return exitStatus(exitFound)
		}
	}
	return nil
}

func (a *app) printFeatures(all []feature) {
	out := &printer{out: a.out, colour: a.colour}
	marks := map[string]string{works: out.paint(green, "ok      "), optional: out.paint(yellow, "optional"), missing: out.paint(red, "missing ")}
	group := ""
	for _, f := range all {
		if f.Group != group {
			if group != "" {
				fmt.Fprintln(a.out)
			}
			group = f.Group
			fmt.Fprintf(a.out, "%s\n", out.paint(bold, strings.ToUpper(group[:1])+group[1:]))
		}
		fmt.Fprintf(a.out, "  %s  %-22s %s\n", marks[f.State], f.Name, escape(f.Text))
		if f.Remedy != "" {
			fmt.Fprintf(a.out, "            %s %s\n", out.paint(bold, "$"), escape(f.Remedy))
		}
		if f.Note != "" {
			fmt.Fprintf(a.out, "            %s\n", escape(f.Note))
		}
	}
}
