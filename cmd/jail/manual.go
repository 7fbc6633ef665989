package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// manualCmd writes jail(1) from the same declarations as the help texts.
type manualCmd struct{}

// Run prints the page.
func (manualCmd) Run(a *app) error {
	model := newParser(new(grammar)).Model
	var b strings.Builder
	fmt.Fprintf(&b, "jail 1 \"\" \"jail %s\" \"User Commands\"\n====\n\n", version)
	fmt.Fprintf(&b, "# NAME\n\njail - %s\n\n", strings.ToLower(strings.TrimSuffix(model.Help[:1], "."))+strings.TrimSuffix(model.Help[1:], "."))
	b.WriteString("# SYNOPSIS\n\n**jail** [**--profile** *P*] [*FLAGS*] *PROGRAM* [*ARGS*...]\n\n**jail** *COMMAND* ...\n\n")
	b.WriteString("# DESCRIPTION\n\nThe first word that is no flag is a command if it is one of those below, and a program otherwise. Everything " +
		"behind the program's name belongs to the program. A program named like a command is run with **jail --** *NAME*.\n\n")
	b.WriteString("# COMMANDS\n\n")
	for _, node := range model.Leaves(true) {
		manualCommand(&b, node)
	}
	b.WriteString("# FLAGS OF EVERY COMMAND\n\n")
	manualFlags(&b, model.Flags)
	b.WriteString(manualEnd)
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

func manualCommand(b *strings.Builder, node *kong.Node) {
	b.WriteString("## jail " + node.Path())
	if len(node.Flags) > 0 {
		b.WriteString(" [FLAGS]")
	}
	for _, arg := range node.Positional {
		b.WriteString(" " + markdown(positionalName(arg)))
	}
	b.WriteString("\n\n" + markdown(node.Help) + "\n\n")
	if node.Detail != "" {
		b.WriteString(markdown(strings.TrimSpace(node.Detail)) + "\n\n")
	}
	for _, arg := range node.Positional {
		fmt.Fprintf(b, "*%s*\n: %s\n\n", markdown(positionalName(arg)), markdown(arg.Help))
	}
	manualFlags(b, node.Flags)
	if e, ok := node.Target.Addr().Interface().(exampler); ok {
		b.WriteString("Examples:\n\n")
		for _, x := range e.examples() {
			fmt.Fprintf(b, "**%s**\n: %s\n\n", markdown(x.line), markdown(x.why))
		}
	}
}

func manualFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		name := "**--" + f.Name + "**"
		if f.Short != 0 {
			name = "**-" + string(f.Short) + "**, " + name
		}
		switch {
		case f.Tag.Get("optional") != "":
			name += "\\[=*" + markdown(f.FormatPlaceHolder()) + "*\\]"
		case !f.IsBool():
			name += " *" + markdown(f.FormatPlaceHolder()) + "*"
		}
		fmt.Fprintf(b, "%s\n: %s\n\n", name, markdown(f.Help))
	}
}

// markdown keeps the characters of a help text from being read as markup.
func markdown(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "`", "\\`").Replace(s)
}

const manualEnd = `# EXIT STATUS

The program's own; 128+n when signal n ended it; 125 when jail failed or refused; 126 when the program cannot be executed; 127 when it was not found. **jail check** exits with 1 when there is a problem.

# ENVIRONMENT

**NO\_COLOR**
: Any value but the empty one: no colours.

**XDG\_CONFIG\_HOME**, **XDG\_STATE\_HOME**, **XDG\_CACHE\_HOME**, **XDG\_DATA\_HOME**
: Where profiles, jail's own state, compiled filters and desktop entries are.

# FILES

*~/.config/jail/profiles*, */etc/jail/profiles*
: Profiles, by name. Those that come with jail are inside the program.

*~/.local/state/jail*
: Persistent homes, and what is kept of overlays. No sandbox can write there what belongs to jail.

# SEE ALSO

**jail-profile**(5), **bwrap**(1), **namespaces**(7), **cgroups**(7), **capabilities**(7), **seccomp**(2), **landlock**(7)
`
