package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Where a machine lets no namespaces be made and the configuration prefers them (enforcement.namespaces), the program
// runs in the host's own tree, held by Landlock and the system-call filter alone:
//
//	files      Landlock grants what the mounts would have shown, and nothing else can be opened, made or removed
//	signals    Landlock lets none out, and no other process be traced
//	sockets    a filter of jail's own lets none be made, but for pairs; with network mode host, none of the unix family
//	the rest   the same filter closes what Landlock does not know of: aloneCalls says which calls and why
//
// What a line of the profile asks for and these cannot give refuses the start, all of it at once. What jail gives
// unasked and is not to be had is lost, and said (aloneLosses). Nothing is granted in its place.

// LeastAlone is the version of Landlock that it takes (Linux 6.12). Before it the program could signal every process
// of its user, and reach their abstract sockets (CVE-2020-15257).
const LeastAlone = 6

// Refusals are all that keeps a configuration from being run.
type Refusals []*Error

func (r Refusals) Error() string {
	lines := make([]string, len(r))
	for i, e := range r {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "; ")
}

func (r Refusals) Unwrap() []error {
	all := make([]error, len(r))
	for i, e := range r {
		all[i] = e
	}
	return all
}

// refuse notes one thing that cannot be had; the others are looked at all the same.
func (c *compiler) refuse(pointer, what, cause, hint string) {
	e := &Error{Origin: c.origin(pointer), What: what, Cause: errors.New(cause), Hint: hint, Exit: 125}
	c.refused = append(c.refused, e)
}

// asked tells whether a line of a profile asked for what a pointer leads to, and not jail by itself.
func (c *compiler) asked(pointer string) bool {
	o := c.origin(pointer)
	return o != "" && o != originDefault
}

// originDefault is the origin of what jail gives unasked.
const originDefault = "default"

// isAlone tells whether the program has to do without namespaces.
func (c *compiler) isAlone() bool {
	return c.bundle.NoNamespaces != nil && c.levels["namespaces"] == "prefer"
}

// compileAlone plans such a run.
func (c *compiler) compileAlone() error {
	c.plan.alone, c.plan.orphans, c.namespaces = true, true, map[specs.LinuxNamespaceType]string{}
	c.plan.Resources = c.spec.Linux.Resources
	for _, part := range []func(){c.aloneNeeds, c.aloneNamespaces, c.aloneProcess, c.aloneFiles} {
		part()
	}
	if len(c.refused) > 0 {
		for _, e := range c.refused {
			if e.Hint == "" {
				e.Hint = strings.TrimSuffix("take it out of the profile, or have namespaces: "+c.bundle.NoNamespaces.Remedy, ", or have namespaces: ")
			}
		}
		return c.refused
	}
	for _, part := range []func() error{c.aloneSetup, c.part, c.process, c.privileges, c.execute} {
		if err := part(); err != nil {
			return err
		}
	}
	c.plan.Lost = c.aloneLosses()
	c.plan.Warnings = append(c.plan.Warnings, "no namespaces: "+c.bundle.NoNamespaces.Cause+". The program runs with Landlock alone: "+strings.Join(c.plan.Lost, "; "))
	return nil
}

const annotationLevels = "/annotations/" + annotationEnforcement

// aloneNeeds are the layers that are left, each of which it takes.
func (c *compiler) aloneNeeds() {
	const what = "enforcement.namespaces"
	at := annotationLevels + "/namespaces"
	switch f := c.spec.Linux.Seccomp; {
	case c.facts.Landlock < 1:
		c.refuse(at, what, "without namespaces Landlock has to hold alone, and this kernel has none, or it is switched off", "boot with landlock among the security modules (lsm=), Linux 6.12 or later")
	case c.facts.Landlock < LeastAlone:
		c.refuse(at, what, fmt.Sprintf("without namespaces Landlock has to hold alone, and version %d of this kernel keeps no signals and abstract sockets in; it takes version %d", c.facts.Landlock, LeastAlone),
			"Linux 6.12 or later")
	case c.levels["landlock"] == "off":
		c.refuse(at, what, "without namespaces Landlock has to hold alone, and the profile switches it off", "take enforcement.landlock out")
	case f == nil || !refuses(f.DefaultAction):
		c.refuse("/linux/seccomp", "syscalls", "without namespaces a filter has to close what Landlock does not know of, and this profile has none that refuses what it does not list", "take seccomp: off, or syscalls.default: log, out")
	case len(f.Architectures) > 1:
		c.refuse("/linux/seccomp", "syscalls", "without namespaces only this machine's own interface of system calls is open, and the profile opens others", "take the other interfaces out")
	case c.grantsMounting():
		c.refuse("/linux/seccomp", "syscalls", "the profile lets the program mount file systems, which Landlock does not", "take the mount calls out of syscalls.allow")
	}
	if !c.spec.Process.NoNewPrivileges {
		c.refuse("/process/noNewPrivileges", "process.no-new-privileges", "without namespaces set-uid programs would act on the host", "leave it on")
	}
}

// aloneNamespaces are those that are more than a wall: what the profile has put into them is not to be had.
func (c *compiler) aloneNamespaces() {
	s := c.spec
	if s.Hostname != "" && c.asked("/hostname") {
		c.refuse("/hostname", "process.hostname", "without a uts namespace it would be the host's name", "")
	}
	if s.Domainname != "" {
		c.refuse("/domainname", "process.domainname", "without a uts namespace it would be the host's", "")
	}
	for clock := range s.Linux.TimeOffsets {
		c.refuse("/linux/timeOffsets", "namespaces", "the offset of the "+clock+" clock needs a time namespace", "")
	}
	for _, k := range slices.Sorted(maps.Keys(s.Linux.Sysctl)) {
		c.refuse("/linux/sysctl/"+k, "sysctl "+k, "without a namespace it would be the host's", "")
	}
	for i, ns := range s.Linux.Namespaces {
		pointer := fmt.Sprintf("/linux/namespaces/%d", i)
		switch {
		case ns.Path != "":
			c.refuse(pointer, "namespaces", "the "+string(ns.Type)+" namespace "+ns.Path+" cannot be joined without one of the user's own", "")
		case ns.Type == specs.NetworkNamespace && c.bundle.GivenNetwork:
			c.refuse(pointer, "network", "a network with rules of its own needs a network namespace", "network modes none and host can be had without")
		case ns.Type == specs.NetworkNamespace:
			c.wanted.network = true
		case ns.Type == specs.IPCNamespace:
			c.wanted.ipc = true
		case ns.Type == specs.PIDNamespace:
			c.wanted.pids = true
		case ns.Type == specs.UTSNamespace:
			c.wanted.name = true
		}
	}
}

// wanted are namespaces that the profile has. What they would have kept is kept by other means, or lost.
type wanted struct{ network, ipc, pids, name bool }

// aloneProcess are ids and rights that only a user namespace gives.
func (c *compiler) aloneProcess() {
	p := c.spec.Process
	if int(p.User.UID) != c.facts.UID {
		c.refuse("/process/user/uid", "process.uid", fmt.Sprintf("without a user namespace the program is uid %d", c.facts.UID), "")
	}
	if int(p.User.GID) != c.facts.GID {
		c.refuse("/process/user/gid", "process.gid", fmt.Sprintf("without a user namespace the program has gid %d", c.facts.GID), "")
	}
	if len(p.User.AdditionalGids) > 0 {
		c.refuse("/process/user/additionalGids", "process.groups", "without a user namespace no groups can be had", "")
	}
	if len(c.spec.Linux.UIDMappings)+len(c.spec.Linux.GIDMappings) > 2 {
		c.refuse("/linux/uidMappings", "process.uid-map", "without a user namespace no ids are mapped", "")
	}
	if caps := p.Capabilities; caps != nil && len(caps.Bounding)+len(caps.Permitted)+len(caps.Inheritable) > 0 {
		c.refuse("/process/capabilities", "capabilities", "without a user namespace they would be rights over the host", "")
	}
	if s, ok := c.spec.Annotations[annotationRooms]; ok {
		var rooms []struct{ Name string }
		_ = json.Unmarshal([]byte(s), &rooms) // what is no JSON has no names, and is refused all the same
		for i := range max(1, len(rooms)) {
			c.refuse(fmt.Sprintf("/annotations/%s/%d", annotationRooms, i), "desktop", "what helpers outside connect for the program needs a mount namespace to be shown in", "")
		}
	}
	for i, o := range c.bundle.Overlays {
		c.refuse(fmt.Sprintf("/annotations/%d", i), "file "+o.Path, "a file of its own needs a mount namespace to be shown in", "")
	}
	if p.Terminal {
		if mode, err := c.facts.Files.Lstat(hostTerminals); err != nil || !fileIsDevice(mode) {
			c.refuse("/process/terminal", "process.terminal", "there is no "+hostTerminals+" to make a terminal of the sandbox's own on", "set process.terminal to never")
		}
	}
}

// aloneSetup is what the first process does. Of the same Landlock rules it takes one layer for itself, so that it can
// end all that is below it and nothing else, and the program takes a second one, so that it cannot signal the first
// process. Signals go down through layers, never up (landlock(7), LANDLOCK_SCOPE_SIGNAL).
func (c *compiler) aloneSetup() error {
	c.plan.add(inSetup, "", keepDescriptors{}, resetSignals{}, subreaper{}, dieWithSupervisor{unix.SIGTERM})
	if err := c.oomScore(inSetup); err != nil {
		return err
	}
	c.plan.add(inSetup, "", newSession{})
	if c.spec.Process.Terminal {
		c.plan.terminal = true
		c.plan.add(inSetup, c.origin("/process/terminal"), openTerminal{ptmx: hostTerminals})
	}
	rules := landlockPolicy{
		Handled: readRights | makeRights | writeRights | deviceRights,
		Scoped:  unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL,
		Rules:   c.granted.rules(),
	}
	if c.wanted.network {
		rules.Net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	c.plan.add(inSetup, "", noNewPrivileges{})
	c.restrict(rules)
	c.plan.add(inSetup, c.origin(annotationLevels+"/namespaces"), enforceRuleset{}, signalsStayInside{})
	return nil
}

// hostTerminals is where a terminal is made without a devpts of one's own: pts(4).
const hostTerminals = "/dev/ptmx"

// aloneLosses says what the profile, or jail unasked, would have given and the program now does without.
func (c *compiler) aloneLosses() []string {
	var lost []string
	add := func(when bool, text string) {
		if when {
			lost = append(lost, text)
		}
	}
	add(c.wanted.pids, "it sees the host's processes, and all of /proc")
	add(true, "it can tell which files and folders there are anywhere, with their sizes, times and attributes, though it opens those alone that are granted")
	add(c.wanted.name, "it sees the host's name")
	add(len(c.granted.missing) > 0, "it has no "+strings.Join(c.granted.missing, ", ")+", neither of its own nor the host's")
	if c.wanted.network {
		add(true, "it makes no sockets but pairs, local ones neither")
	} else {
		add(true, "it makes no local (unix) sockets but pairs")
	}
	add(true, "it changes no file's mode, owner or attributes, and times only of files that it has open")
	add(true, "it watches no files (inotify) and makes no terminals")
	add(c.wanted.ipc, "it has no System V objects and no message queues")
	return lost
}

// aloneTree looks at what a bundle in memory has on its root: directories come by themselves, a link serves where the
// host has the same, and a file of the profile's own cannot be put there.
func (c *compiler) aloneTree() {
	for _, e := range c.bundle.Tree {
		at, ok := strings.CutPrefix(e.Path, bundleRoot)
		if !ok || at == "" {
			continue
		}
		pointer := "/root" + at
		switch {
		case e.Mode.IsDir():
			if c.asked(pointer) {
				c.refuse(pointer, "directory "+at, "an empty directory needs a mount namespace to be shown in", "")
			}
		case e.Target != "":
			c.aloneLink(pointer, at, e.Target)
		default:
			c.refuse(pointer, "content of "+at, "a file of the profile's own needs a mount namespace to be shown in", "write 'mode: ro' to have the host's")
		}
	}
	var links []struct{ Path, Target string }
	if s, ok := c.spec.Annotations[annotationSymlinks]; ok && json.Unmarshal([]byte(s), &links) != nil {
		c.refuse("/annotations", annotationSymlinks, "is not JSON", "")
	}
	for i, l := range links {
		c.aloneLink(fmt.Sprintf("/annotations/%s/%d", annotationSymlinks, i), l.Path, l.Target)
	}
}

func (c *compiler) aloneLink(pointer, at, target string) {
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(at), target)
	}
	here, _, err := canonical(c.facts.Files, at)
	there, _, wrong := canonical(c.facts.Files, target)
	if err != nil || wrong != nil || here != there {
		c.refuse(pointer, "link "+at, "the host has no such link, and one of the profile's own needs a mount namespace", "name the host's own path")
	}
}
