// Command jail runs a program so that it can touch only what one YAML profile says.
//
// The rules of its command line, kept by every command:
//
//   - Everything behind the program's name belongs to the program and is never looked at.
//   - Results go to standard output, all else to standard error, so that output can be piped.
//   - An error is one line that names the place and the cause, then a hint where a remedy is known.
//   - Whatever a profile, a file name or a program brought along is printed escaped.
//   - Exit codes: those of the program; 128+n when signal n ended it; 125 when jail itself failed or
//     refused; 126 when the program cannot be executed; 127 when it was not found; 1 from `check`
//     when it found problems.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"jail/policy"
	"jail/sandbox"
	"jail/sandbox/cgroup"
)

// Exit codes of jail's own, as env(1), nice(1) and container runtimes have them.
const (
	exitFound   = 1   // check: there are problems
	exitRefused = 125 // jail failed or refused; the launcher has 126 and 127
)

// version is set when the binary is linked.
var version = "unknown"

// exitStatus ends jail with a code and without a message, or with one printed before.
type exitStatus int

func (e exitStatus) Error() string { return "exit status" }

// app is what commands work with.
type app struct {
	globalFlags
	out    io.Writer      // results
	colour bool           // out is a terminal that wants colours
	err    *printer       // messages
	survey *cgroup.Survey // of control groups, where a start began it ahead
}

func main() {
	a := &app{out: os.Stdout, colour: wantsColour(os.Stdout), err: stderrPrinter()}
	if err := refuseElevated(); err != nil {
		os.Exit(a.fail(err))
	}
	os.Exit(a.main(os.Args[1:]))
}

// main carries out one command line and gives the exit code.
func (a *app) main(args []string) int {
	err := a.dispatch(args)
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	default:
		return a.fail(err)
	}
}

// dispatch runs the commands that take a program without the flag library, whose model of the
// whole grammar alone would cost a fifth of a sandbox's start, and leaves it everything else.
func (a *app) dispatch(args []string) error {
	w := splitWords(args, isCommand, launchOptions())
	switch {
	case len(args) == 0:
		return a.usage()
	case slices.ContainsFunc(w.flags, func(f flag) bool { return f.name == "help" }):
		return a.help(w.command)
	case w.command == "":
		w.command = "run"
	}
	newLauncher := launchers[w.command]
	if newLauncher == nil {
		return a.parse(append([]string{w.command}, w.rest...))
	}
	command := newLauncher()
	target := reflect.ValueOf(command).Elem()
	if w.odd != nil || !declares(target.Type(), w.flags) {
		return a.misread(w)
	}
	for _, f := range w.flags {
		if f.value == "" { // a variable that is not set, in a script, is no wish for the default
			return usageError(fmt.Errorf("--%s: its value is empty", f.name), w.command)
		}
	}
	setFlags(reflect.ValueOf(&a.globalFlags).Elem(), w.flags)
	setFlags(target, w.flags)
	return command.launch(a, w.flags, w.program)
}

// declares tells whether a command has all of the flags.
func declares(command reflect.Type, flags []flag) bool {
	known := append(optionsOf(command), optionsOf(reflect.TypeFor[globalFlags]())...)
	return !slices.ContainsFunc(flags, func(f flag) bool {
		return !slices.ContainsFunc(known, func(o option) bool { return o.name == f.name })
	})
}

// fail prints an error and gives the exit code for it.
func (a *app) fail(err error) int {
	var problems policy.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			a.problem(p)
		}
		return exitRefused
	}
	var kept sandbox.Refusals
	if errors.As(err, &kept) {
		for _, r := range kept {
			a.err.line(red, "jail:", r.Error(), r.Hint)
		}
		return exitRefused
	}
	var several refusals
	if errors.As(err, &several) {
		for _, r := range several {
			a.err.line(red, "jail:", r.Error(), r.hint)
		}
		return exitRefused
	}
	text, hint, _ := strings.Cut(err.Error(), "\nhint: ")
	a.err.line(red, "jail:", text, cmp.Or(hintOf(err), hint))
	var refused *sandbox.Error
	if errors.As(err, &refused) && refused.Exit != 0 {
		return refused.Exit
	}
	return exitRefused
}
