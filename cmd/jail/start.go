package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/netsetup"
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

// setTerminal decides what `terminal: auto` means for this start.
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
func (a *app) start(b *sandbox.Bundle, host *policy.Host, told told) error {
	lap := a.stopwatch()
	if err := a.lookForNamespaces(b); err != nil {
		return err
	}
	session, err := a.connect(b.Spec, host)
	if err != nil {
		return err
	}
	defer session.close()
	limits, err := a.beginLimits(b.Spec, told.report != nil)
	if err != nil {
		return err
	}
	defer limits.close()
	network, err := a.startNetwork(b, host)
	if err != nil {
		return err
	}
	defer network.close()
	plan, err := a.plan(b, network.config)
	if err != nil {
		return err
	}
	lap("planned the set-up")
	options := sandbox.Options{}
	if options.Filter, err = a.filter(plan, host, lap); err != nil {
		return err
	}
	if err := limits.enter(&options); err != nil {
		return err
	}
	if limits != nil {
		lap("made the control group")
	}
	presence, err := a.announce(b.Spec, plan)
	if err != nil {
		return err
	}
	presence.state.Cgroups = limits.folders()
	options.Started = func(proc *sandbox.Process) {
		presence.started(proc)
		told.status.started(&presence.state)
		a.confine(session, network, limits != nil)
	}
	network.logTo(presence.record)
	if err := session.options(&options); err != nil {
		return err
	}
	if err := network.join(&options, presence); err != nil {
		return err
	}
	lap("waited for the network's namespaces")
	begun := time.Now()
	streams := [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	status, err := plan.Run(options, streams, func(text string) { a.err.line(yellow, "jail:", text, "") })
	network.tell()
	limits.explain() // a limit may be what kept the sandbox from starting, too
	if err == nil {
		told.report.write(a, time.Since(begun), limits, status)
		told.status.ended(status)
	}
	return a.ended(status, err, lap)
}

// foreseeAlone tells what a compiled profile that prefers namespaces comes to where none can be had: nil when it does not
// prefer them, else the plan or what refuses it, a sandbox.Refusals.
func foreseeAlone(c *policy.Compiled) (*sandbox.Plan, error) {
	level, err := enforcement(c.Spec, "namespaces")
	if err != nil || level != "prefer" {
		return nil, err
	}
	b := bundleOf(c)
	b.NoNamespaces = &sandbox.Lack{Cause: "this machine lets none be made"}
	return compileAlone(b)
}

// lookForNamespaces finds out whether a bundle that prefers namespaces can have them, and where it cannot, refuses what
// it cannot do without before anything is begun.
func (a *app) lookForNamespaces(b *sandbox.Bundle) error {
	if !strings.Contains(b.Spec.Annotations[annotationEnforcement], "namespaces") {
		return nil // nearly all, and they need not wait for the JSON to be read
	}
	level, err := enforcement(b.Spec, "namespaces")
	if err != nil || level != "prefer" {
		return err
	}
	if b.NoNamespaces, err = sandbox.LackingNamespaces(b.Spec); err != nil || b.NoNamespaces == nil {
		return err
	}
	if _, err = compileAlone(b); err != nil {
		a.err.line(yellow, "jail: warning:", "no namespaces: "+b.NoNamespaces.Cause, b.NoNamespaces.Remedy)
	}
	return err
}

// compileAlone plans a bundle for a machine without namespaces, where it says why there are none.
func compileAlone(b *sandbox.Bundle) (*sandbox.Plan, error) {
	config, err := networkOf(b.Spec)
	if err != nil {
		return nil, err
	}
	facts, err := sandbox.Gather()
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	b.GivenNetwork = config != nil
	return sandbox.Compile(b, facts)
}

// confine leaves the supervisor only what it still does. Where links are opened for the program it starts programs, and
// the networks that root makes are taken away again by means that it would not have any more.
func (a *app) confine(session *session, network *network, hasCgroup bool) {
	if session.opensLinks() || network.at != nil && os.Getuid() == 0 {
		return
	}
	time.AfterFunc(confineAfter, func() {
		if err := sandbox.Confine(hasCgroup); err != nil {
			a.err.line(yellow, "jail: warning:", err.Error(), "")
		}
	})
}

// confineAfter spares commands that end at once the filter, which costs a twentieth of such a start.
const confineAfter = 20 * time.Millisecond

// filter compiles the system-call filter of a plan, or takes it from the cache.
func (a *app) filter(plan *sandbox.Plan, host *policy.Host, lap func(string, ...any)) ([]byte, error) {
	if plan.Seccomp == nil {
		return nil, nil
	}
	filter, err := seccomp.Filter(plan.Seccomp, seccomp.Options{CacheHome: host.CacheHome})
	if err != nil {
		return nil, err
	}
	if filter.CacheProblem != nil {
		a.verbose("the cache of system-call filters: %v", filter.CacheProblem)
	}
	lap("got the system-call filter: %d instructions, cached: %t", filter.Len(), filter.Cached)
	return filter.Code, nil
}

// ended ends jail as the program ended.
func (a *app) ended(status sandbox.Status, err error, lap func(string, ...any)) error {
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

// plan decides how a bundle is set up on this machine, with the network that was asked for. The unmade folders count as
// there: a run makes them first.
func (a *app) plan(b *sandbox.Bundle, network *netsetup.Config, unmade ...policy.HostDir) (*sandbox.Plan, error) {
	facts, err := sandbox.Gather()
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	if len(unmade) > 0 {
		facts.Files = withDirs(facts.Files, unmade)
	}
	if err := unenforced(b.Spec); err != nil {
		return nil, err
	}
	b.GivenNetwork = network != nil
	plan, err := sandbox.Compile(b, facts)
	if err != nil {
		return nil, err
	}
	for _, text := range plan.Warnings {
		hint := ""
		if plan.Alone() {
			hint = b.NoNamespaces.Remedy
		}
		a.err.line(yellow, "jail: warning:", text, hint)
	}
	return plan, nil
}

// unenforced refuses a bundle that asks for protection which nothing here would apply: it would run
// with less than it states. Profiles that ask for it are refused by the compiler, with their line.
func unenforced(spec *specs.Spec) error {
	// In a user namespace no device node can be made or used beyond those that are bound, which is
	// what the list of devices that every runtime writes asks for: user_namespaces(7).
	if spec.Linux == nil || spec.Linux.Resources == nil || len(spec.Linux.Resources.Devices) == 0 ||
		slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		return nil
	}
	return &hinted{errors.New("config.json/linux/resources/devices: without a user namespace nothing here keeps a list of devices"), "add a user namespace, or take the list out"}
}
