package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox"
	"jail/sandbox/cgroup"
	"jail/sandbox/running"
)

// joinFlags change how a program starts in a sandbox that runs.
type joinFlags struct {
	Env []string `name:"env" sep:"none" placeholder:"NAME[=VALUE]" help:"Set a variable, or hand on the caller's."`
	Cwd string   `name:"cwd" placeholder:"DIR" help:"Start the program in DIR, as seen inside."`
}

type execCmd struct {
	joinFlags `embed:""`
	Command   []string `arg:"" optional:"" passthrough:"partial" placeholder:"NAME PROGRAM [ARGS...]" name:"command" help:"The sandbox, as jail ps lists it, and the program with its arguments; everything behind PROGRAM is the program's own."`
}

// Help is the text below the command's first line.
func (execCmd) Help() string {
	return `The program gets the namespaces, root, environment, rlimits, capabilities and system-call filter that the sandbox was started with, its cgroup, and a terminal of its own. A profile that has changed since does not matter.

NAME is a sandbox's name or its process id in 'jail ps', or the name of a profile or program where only one sandbox is meant. Only sandboxes of your own can be joined; what runs inside a sandbox cannot pose as one.

The program ends with the sandbox, and with this jail. Exit codes are those of 'jail run'.`
}

func (execCmd) examples() []example {
	return []example{
		{"jail exec firefox ls -l /", "Look around in the sandbox that runs firefox."},
		{"jail exec web -- kill -HUP 2", "Signal the program, which is process 2 inside."},
	}
}

func (c *execCmd) launch(a *app, _ []flag, words []string) error {
	if len(words) == 0 || words[0] == "" {
		return &hinted{errors.New("no sandbox named"), "jail exec NAME PROGRAM [ARGS...]; jail ps lists the sandboxes"}
	}
	name, args := words[0], words[1:]
	switch {
	case len(args) > 0 && args[0] == "--":
		args = args[1:]
	case len(args) > 0 && strings.HasPrefix(args[0], "-"):
		return &hinted{fmt.Errorf("%s behind the sandbox's name would be the program", args[0]), "flags of jail's stand before the name; a program that is called so: jail exec " + name + " -- " + args[0]}
	}
	if len(args) == 0 || args[0] == "" {
		return &hinted{fmt.Errorf("no program named to run in %s", name), "jail exec NAME PROGRAM [ARGS...], or jail shell NAME"}
	}
	box, err := running.Find(name)
	if err != nil {
		return err
	}
	defer box.Close()
	return a.join(box, args, c.joinFlags)
}

type shellCmd struct {
	joinFlags `embed:""`
	Name      string `arg:"" name:"name" complete:"running" placeholder:"NAME" help:"The sandbox, as jail ps lists it."`
}

// Help is the text below the command's first line.
func (shellCmd) Help() string {
	return "The shell is yours ($SHELL) if the sandbox has it, else bash or sh. It is confined as the sandbox's program is, and joins as 'jail exec' does."
}

func (shellCmd) examples() []example {
	return []example{{"jail shell firefox", "See what firefox sees."}}
}

// Run opens a shell in a sandbox.
func (c *shellCmd) Run(a *app) error {
	box, err := running.Find(c.Name)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := joinable(box); err != nil {
		return err
	}
	for _, shell := range []string{os.Getenv("SHELL"), "/bin/bash", "/bin/sh"} {
		if strings.HasPrefix(shell, "/") && box.HasProgram(shell) {
			return a.join(box, []string{shell}, c.joinFlags)
		}
	}
	return &hinted{fmt.Errorf("the sandbox %s has no shell: neither $SHELL nor /bin/bash nor /bin/sh is there", box.Name), "jail exec NAME PROGRAM runs another program"}
}

// specPatience is how long a sandbox may take to write its spec down.
const specPatience = 5 * time.Second

// join runs a program in a sandbox that runs already.
func (a *app) join(box *running.Sandbox, args []string, flags joinFlags) error {
	lap := a.stopwatch()
	if err := joinable(box); err != nil {
		return err
	}
	spec, err := specOf(box)
	if err != nil {
		return err
	}
	if err := flags.apply(spec, args); err != nil {
		return err
	}
	setTerminal(spec, onTerminal())
	facts, err := sandbox.Gather()
	if err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	namespaces, err := box.Namespaces()
	if err != nil {
		return err
	}
	bundle := &sandbox.Bundle{Spec: spec}
	options := sandbox.Options{}
	users := 0
	for _, ns := range namespaces {
		defer ns.File.Close()
		options.Enter = append(options.Enter, sandbox.Namespace(ns))
		if ns.Kind == "user" {
			users++
		}
	}
	bundle.GivenNetwork = users > 1 // the one above is that of the network
	plan, err := sandbox.CompileJoin(bundle, facts)
	if err != nil {
		return err
	}
	host, err := a.host()
	if err != nil {
		return err
	}
	if options.Filter, err = a.filter(plan, host, lap); err != nil {
		return err
	}
	if options.Hold, err = cgroup.Join(box.First, box.Supervisor); err != nil {
		return fmt.Errorf("find the control group of the sandbox %s: %w", box.Name, err)
	}
	lap("planned to join %s", box.Name)
	status, err := plan.Run(options, [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, func(text string) { a.err.line(yellow, "jail:", text, "") })
	if (err != nil || status.Signal == unix.SIGKILL) && box.WaitInside(2*time.Second) {
		a.err.line(yellow, "jail:", fmt.Sprintf("the sandbox %s has ended", box.Name), "")
	}
	return a.ended(status, err, lap)
}

// joinable refuses a sandbox that has nothing to enter: no process takes on another one's Landlock rules.
func joinable(box *running.Sandbox) error {
	if !box.Alone {
		return nil
	}
	return &hinted{fmt.Errorf("the sandbox %s runs without namespaces, with Landlock alone: there is nothing that another program could join", box.Name),
		"start one more with the same profile"}
}

// specOf reads the spec that a sandbox was started with. A sandbox writes it down when it has lived for a moment.
func specOf(box *running.Sandbox) (*specs.Spec, error) {
	deadline := time.Now().Add(specPatience)
	for {
		spec, err := specNow(box)
		if !errors.Is(err, os.ErrNotExist) || time.Now().After(deadline) {
			return spec, err
		}
		if box.Wait(5 * time.Millisecond) {
			return nil, fmt.Errorf("the sandbox %s has ended", box.Name)
		}
	}
}

// specNow reads the spec if it is written down.
func specNow(box *running.Sandbox) (*specs.Spec, error) {
	f, err := box.Open(specLabel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read the spec of the sandbox %s: %w", box.Name, err)
	}
	return parseConfig("the spec of the sandbox "+box.Name, text)
}

// apply makes the sandbox's program another one.
func (j joinFlags) apply(spec *specs.Spec, args []string) error {
	p := spec.Process
	if p == nil {
		return errors.New("the sandbox's spec has no process")
	}
	p.Args = args
	if j.Cwd != "" {
		if !strings.HasPrefix(j.Cwd, "/") {
			return fmt.Errorf("--cwd: %q is not an absolute path, as seen inside", j.Cwd)
		}
		p.Cwd = j.Cwd
	}
	// What kind of terminal it is belongs to this caller's, not to that of the start.
	if _, told := lookupEnv(p.Env, "TERM"); told && os.Getenv("TERM") != "" {
		p.Env = setEnv(p.Env, "TERM", os.Getenv("TERM"))
	}
	for _, e := range j.Env {
		name, value, set := strings.Cut(e, "=")
		if !set {
			value, set = os.LookupEnv(name)
		}
		switch {
		case name == "":
			return fmt.Errorf("--env: %q has no name", e)
		case !set:
			return fmt.Errorf("--env: %s is not set here", name)
		}
		p.Env = setEnv(p.Env, name, value)
	}
	return nil
}

func lookupEnv(env []string, name string) (string, bool) {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

func setEnv(env []string, name, value string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return append(out, name+"="+value)
}
