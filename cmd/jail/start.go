package main

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
	"jail/sandbox"
	"jail/sandbox/seccomp"
)

// annotationTerminal says when the program gets a terminal of its own: auto, always or never.
const annotationTerminal = "dev.jail.terminal"

// onTerminal tells whether any of the standard streams is a terminal. One is enough: the caller's
// terminal must not be reachable through standard error either.
func onTerminal() bool {
	return isTerminal(os.Stdin) || isTerminal(os.Stdout) || isTerminal(os.Stderr)
}

// setTerminal decides what `terminal: auto` means for this start. A bundle that was made elsewhere
// says itself what it wants.
func setTerminal(spec *specs.Spec, auto bool) {
	switch spec.Annotations[annotationTerminal] {
	case "always":
		spec.Process.Terminal = true
	case "never":
		spec.Process.Terminal = false
	default:
		spec.Process.Terminal = auto
	}
}

// start runs a bundle and ends jail as the program ended.
func (a *app) start(b *sandbox.Bundle, host *policy.Host) error {
	lap := a.stopwatch()
	plan, err := a.plan(b)
	if err != nil {
		return err
	}
	lap("planned the set-up")
	options := sandbox.Options{}
	if plan.Seccomp != nil {
		filter, err := seccomp.Filter(plan.Seccomp, seccomp.Options{CacheHome: host.CacheHome})
		if err != nil {
			return err
		}
		if filter.CacheProblem != nil {
			a.verbose("the cache of system-call filters: %v", filter.CacheProblem)
		}
		options.Filter = filter.Code
		lap("got the system-call filter: %d instructions, cached: %t", filter.Len(), filter.Cached)
	}
	streams := [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	status, err := plan.Run(options, streams, func(text string) { a.err.line(yellow, "jail:", text, "") })
	if err != nil {
		return err
	}
	lap("ended with code %d", status.Code)
	if status.Signal != 0 {
		a.verbose("ended by signal %d (%v)", int(status.Signal), status.Signal)
	}
	if status.Code != 0 {
		return exitStatus(status.Code)
	}
	return nil
}

// plan decides how a bundle is set up on this machine.
func (a *app) plan(b *sandbox.Bundle) (*sandbox.Plan, error) {
	facts, err := sandbox.Gather()
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	return sandbox.Compile(b, facts)
}
