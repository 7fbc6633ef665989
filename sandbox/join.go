package sandbox

import (
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A Namespace is one of those that a running sandbox consists of.
type Namespace struct {
	Kind string // as in /proc/PID/ns: user, mnt, pid, ipc, uts, net, cgroup, time
	File *os.File
}

// CompileJoin plans one more process for a sandbox that runs already, from the spec that the sandbox was started
// with, whose process section names the command. Everything that confines the process itself is planned by the same
// code as at a start; what belongs to the whole sandbox, its namespaces and mounts, is entered, not made.
//
// The process that enters does not become part of the sandbox's pid namespace, only its child does (setns(2)). So
// it takes the place of pid 1 as the program's parent, out of sight of everything inside, and the program dies
// with it, or with the sandbox, whichever ends first.
func CompileJoin(b *Bundle, f *Facts) (*Plan, error) {
	c := &compiler{bundle: b, spec: b.Spec, facts: f, plan: &Plan{DieWithParent: true, joining: true}, tree: newInside(f.Files)}
	for _, part := range []func() error{
		c.annotations, c.check, c.noteNamespaces, c.enter, c.restrictAsBefore, c.part, c.process, c.privileges, c.execute,
	} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	c.plan.Timeout = 0 // it is the sandbox's, and ends this process too
	return c.plan, nil
}

// noteNamespaces notes what there is, where a start decides what to make.
func (c *compiler) noteNamespaces() error {
	c.namespaces = map[specs.LinuxNamespaceType]string{}
	for _, ns := range c.spec.Linux.Namespaces {
		c.namespaces[ns.Type] = ns.Path
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.UserNamespace, specs.PIDNamespace, specs.MountNamespace} {
		if !c.has(kind) {
			return c.failf("/linux/namespaces", "linux.namespaces", "a sandbox without a %s namespace cannot be joined", kind)
		}
	}
	return nil
}

// enter is what the entering process does, from outside and once it is in.
func (c *compiler) enter() error {
	if err := c.oomScore(outside); err != nil { // /proc shows it to itself only here
		return err
	}
	c.plan.add(inSetup, "", keepDescriptors{}, resetSignals{})
	// As at the start: groups can be set where the ids were mapped from outside.
	if !c.mapsOnlyOwn() || c.facts.UID == 0 && !c.bundle.GivenNetwork {
		c.plan.idmap = &idMaps{c.spec.Linux.UIDMappings, c.spec.Linux.GIDMappings}
		if len(c.plan.idmap.uids) == 0 || len(c.plan.idmap.gids) == 0 {
			return c.failf("/linux/uidMappings", "linux.uidMappings", "the sandbox's ids are not known")
		}
		if !covers(c.plan.idmap.uids, c.facts.UID) {
			c.plan.add(inSetup, c.origin("/linux/uidMappings"), becomeFirstUser{*c.plan.idmap})
		}
	}
	c.plan.add(inSetup, "", dieWithSupervisor{}, newSession{}, umask{0})
	c.ownKeyring()
	if c.spec.Process.Terminal {
		c.plan.terminal = true
		c.plan.add(inSetup, c.origin("/process/terminal"), openTerminal{})
	}
	return nil
}

// leashFD is the reading end of a pipe that the entering process holds for as long as it lives, leashEndFD the
// writing end, which the program-to-be holds until it knows that it will die with the other.
const (
	leashFD    = eventsFD + 1
	leashEndFD = eventsFD + 3 // the sandbox's terminal lies between
)

// dieWithWaiter binds the program to the process that entered the sandbox and waits for it. It cannot ask for its
// parent, which it does not see, so it writes into a pipe that only that process holds the other end of: should it be
// gone already, the write fails and nothing is executed.
type dieWithWaiter struct{}

func (dieWithWaiter) String() string { return "die with the process that waits" }
func (dieWithWaiter) lower(a *assembler) {
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_PDEATHSIG), val(unix.SIGKILL))
	a.op(unix.SYS_CLOSE, val(leashFD))
	a.op(unix.SYS_WRITE, val(leashEndFD), a.bytes([]byte{0}), val(1))
	a.op(unix.SYS_CLOSE, val(leashEndFD))
}

// enter hands over the namespaces. They are taken above the descriptors that the child gives a meaning to.
func (in *lowerInput) enter(namespaces []Namespace) error {
	flags := map[string]uint64{"user": unix.CLONE_NEWUSER, "mnt": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "ipc": unix.CLONE_NEWIPC,
		"uts": unix.CLONE_NEWUTS, "net": unix.CLONE_NEWNET, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME}
	for _, kind := range []string{"user", "mnt", "pid"} { // without one of them it would run outside
		if !slices.ContainsFunc(namespaces, func(ns Namespace) bool { return ns.Kind == kind }) {
			return fmt.Errorf("the %s namespace to join is missing", kind)
		}
	}
	for _, ns := range namespaces {
		flag, known := flags[ns.Kind]
		if !known {
			return fmt.Errorf("unknown kind of namespace %q", ns.Kind)
		}
		fd, err := unix.FcntlInt(ns.File.Fd(), unix.F_DUPFD_CLOEXEC, leashEndFD+1)
		if err != nil {
			return &Error{What: "join the " + ns.Kind + " namespace", Cause: err, Exit: 125}
		}
		in.joins = append(in.joins, joinFD{fd, flag, ns.Kind + " namespace"})
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	for i, fd := range pipe { // above what it will be called in the child
		moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, leashEndFD+1)
		_ = unix.Close(fd)
		if err != nil {
			_ = unix.Close(pipe[1])
			return fmt.Errorf("make a pipe: %w", err)
		}
		in.leash[i] = moved
	}
	return nil
}
