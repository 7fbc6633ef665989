package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// newParser builds the flag library's model of the whole command line.
func newParser(g *grammar) *kong.Kong {
	parser := kong.Must(g,
		kong.Name("jail"),
		kong.Description("Run a program so that it can touch only what one YAML profile says."),
	)
	parser.Model.HelpFlag.Help = "Print this help."
	return parser
}

// parse carries out a command that takes no program.
func (a *app) parse(args []string) error {
	var g grammar
	parser := newParser(&g)
	helped := false
	parser.Exit = func(int) { helped = true }
	// The library prints help itself when it meets --help; the text is this package's.
	parser.Stdout, parser.Stderr = a.out, a.err.out
	if err := kong.Help(func(_ kong.HelpOptions, ctx *kong.Context) error {
		return a.printHelp(parser.Model, ctx.Selected())
	}).Apply(parser); err != nil {
		return err
	}
	ctx, err := parser.Parse(args)
	switch {
	case helped:
		return nil
	case err != nil:
		return usageError(err, args[0])
	}
	a.globalFlags = g.globalFlags
	return ctx.Run(a)
}

// misread lets the flag library say what is wrong with the flags of a command that takes a program.
func (a *app) misread(w words) error {
	if w.bare != "" {
		return usageError(fmt.Errorf("--%s needs a value; one that starts with a dash is written --%s=VALUE", w.bare, w.bare), w.command)
	}
	args := append([]string{w.command}, w.odd...)
	if w.odd == nil {
		for _, f := range w.flags {
			args = append(args, "--"+f.name+"="+f.value)
		}
	}
	if _, err := newParser(new(grammar)).Parse(args); err != nil {
		return usageError(err, w.command)
	}
	// Both readers of the line are tested to agree; should they not, nothing is run on a guess.
	return usageError(fmt.Errorf("cannot read the flags %s", strings.Join(args[1:], " ")), w.command)
}

func usageError(err error, command string) error {
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		text := parse.Error()
		// "expected" alone leaves open what jail expected it for.
		if arg, ok := strings.CutPrefix(text, "expected \"<"); ok {
			text = "missing argument: " + strings.ToUpper(strings.TrimSuffix(strings.Replace(arg, ">", "", 1), "\""))
		}
		err = errors.New(text)
	}
	return &hinted{err: err, hint: "jail " + command + " --help"}
}
