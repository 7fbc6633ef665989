package sandbox

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bundleRoot is the folder of a bundle in memory that holds the root file system.
const bundleRoot = "rootfs"

// An Error is a configuration that cannot be run as it stands, or a step that failed. Nothing was started, or
// what was started is gone.
type Error struct {
	Origin string // file:line:column of the profile, else a JSON pointer into the configuration
	What   string // the step or the field
	Cause  error
	Hint   string // what to do about it, when that is known
	Exit   int    // the exit status it calls for: 125, 126 or 127
}

func (e *Error) Error() string {
	s := e.What + ": " + e.Cause.Error()
	if e.Origin != "" {
		s = e.Origin + ": " + s
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// A compiler holds what the compilation of one bundle knows so far.
type compiler struct {
	bundle  *Bundle
	spec    *specs.Spec
	facts   *Facts
	plan    *Plan
	tree    *inside
	origins map[string]string
	levels  map[string]string // enforcement: layer to require, prefer or off

	namespaces map[specs.LinuxNamespaceType]string // the wanted ones, with the path to join or ""
	inMemory   bool
	late       []plannedStep // what must wait until every mount point is made

	// Of a plan without namespaces, see isAlone.
	wanted  wanted
	granted grants
	refused Refusals
}

// Compile turns a bundle into a plan. It decides everything and does nothing: the same bundle and facts give
// the same plan. A configuration that asks for something the launcher cannot give is an error.
func Compile(b *Bundle, f *Facts) (*Plan, error) {
	c := &compiler{bundle: b, spec: b.Spec, facts: f, plan: &Plan{DieWithParent: true}, tree: newInside(f.Files), inMemory: b.Dir == ""}
	for _, part := range []func() error{c.annotations, c.check} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	if c.isAlone() {
		err := c.compileAlone()
		return c.plan, err
	}
	for _, part := range []func() error{
		c.chooseNamespaces, c.mapIDs, c.begin, c.identity, c.mounts, c.overlays, c.rooms, c.devices, c.masks, c.protectOwn, c.symlinks, c.finishMounts, c.landlock,
		c.split, c.process, c.privileges, c.execute,
	} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	if len(c.plan.steps) >= joinStep {
		return nil, c.failf("/", "config.json", "asks for %d steps, more than a plan can have", len(c.plan.steps))
	}
	return c.plan, nil
}

// fail makes an error at a JSON pointer of the configuration.
func (c *compiler) fail(pointer, what string, cause error, hint ...string) error {
	return &Error{Origin: c.origin(pointer), What: what, Cause: cause, Hint: strings.Join(hint, "; "), Exit: 125}
}

func (c *compiler) failf(pointer, what, format string, args ...any) error {
	return c.fail(pointer, what, fmt.Errorf(format, args...))
}

// origin is the profile's place for a pointer, or for the nearest pointer above it; else the pointer itself.
func (c *compiler) origin(pointer string) string {
	for p := pointer; p != "/" && p != "." && p != ""; p = path.Dir(p) {
		if o := c.origins[p]; o != "" {
			return o
		}
	}
	if len(c.origins) > 0 {
		return ""
	}
	return "config.json" + pointer
}

func (c *compiler) annotations() error {
	get := func(name string, into any) error {
		s, ok := c.spec.Annotations[name]
		if !ok {
			return nil
		}
		if err := json.Unmarshal([]byte(s), into); err != nil {
			return c.fail("/annotations", name, err)
		}
		return nil
	}
	if err := get(annotationOrigins, &c.origins); err != nil {
		return err
	}
	if err := get(annotationEnforcement, &c.levels); err != nil {
		return err
	}
	if s, ok := c.spec.Annotations[annotationDieWith]; ok {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return c.fail("/annotations", annotationDieWith, err)
		}
		c.plan.DieWithParent = b
	}
	if s, ok := c.spec.Annotations[annotationTimeout]; ok {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return c.failf("/annotations", annotationTimeout, "%q is not a positive duration", s)
		}
		c.plan.Timeout = d
	}
	return nil
}

// check refuses what this launcher does not do: a field that is ignored would be a weaker sandbox than the
// configuration states.
func (c *compiler) check() error {
	s := c.spec
	switch {
	case s.Process == nil:
		return c.failf("/process", "process", "the configuration has no process")
	case len(s.Process.Args) == 0 || s.Process.Args[0] == "":
		return c.failf("/process/args", "process.args", "the command is empty")
	case s.Root == nil || s.Root.Path == "":
		return c.failf("/root", "root.path", "the configuration has no root")
	case s.Linux == nil:
		return c.failf("/linux", "linux", "the configuration has no linux section")
	case s.Windows != nil || s.Solaris != nil || s.VM != nil || s.ZOS != nil:
		return c.failf("/", "platform", "the configuration is for another platform than linux")
	case s.Hooks != nil:
		return c.failf("/hooks", "hooks", "hooks are not run: a command of the bundle would run outside the sandbox")
	case s.Process.ApparmorProfile != "":
		return c.failf("/process/apparmorProfile", "process.apparmorProfile", "AppArmor profiles of a configuration are not supported")
	case s.Process.SelinuxLabel != "" || s.Linux.MountLabel != "":
		return c.failf("/process/selinuxLabel", "process.selinuxLabel", "SELinux labels are not supported")
	case s.Process.IOPriority != nil:
		return c.failf("/process/ioPriority", "process.ioPriority", "is not supported")
	case s.Linux.IntelRdt != nil:
		return c.failf("/linux/intelRdt", "linux.intelRdt", "is not supported")
	case s.Linux.Personality != nil:
		return c.failf("/linux/personality", "linux.personality", "is not supported")
	case !strings.HasPrefix(s.Version, "1."):
		return c.failf("/ociVersion", "ociVersion", "%q is not a version of 1.x", s.Version)
	}
	for i, a := range append(append([]string{s.Hostname, s.Domainname, s.Process.Cwd, s.Root.Path}, s.Process.Args...), s.Process.Env...) {
		if strings.IndexByte(a, 0) >= 0 {
			return c.failf("/process", "process", "string %d holds a NUL byte", i)
		}
	}
	if !path.IsAbs(s.Process.Cwd) {
		return c.failf("/process/cwd", "process.cwd", "%q is not an absolute path", s.Process.Cwd)
	}
	return nil
}

// A join is a namespace that exists already and is entered: setns(2).
type join struct {
	kind specs.LinuxNamespaceType
	path string
}

var cloneFlags = map[specs.LinuxNamespaceType]uint64{
	specs.UserNamespace: unix.CLONE_NEWUSER, specs.MountNamespace: unix.CLONE_NEWNS, specs.PIDNamespace: unix.CLONE_NEWPID,
	specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS, specs.NetworkNamespace: unix.CLONE_NEWNET,
	// A cgroup namespace made by the clone would have the supervisor's cgroup as its root, not the sandbox's:
	// cgroup_namespaces(7). A process cannot be made in a new time namespace, only its next child: time_namespaces(7).
	specs.CgroupNamespace: 0, specs.TimeNamespace: 0,
}

// cloneText names the namespaces in a fixed order.
func (p *Plan) cloneText() string {
	var names []string
	for _, k := range []specs.LinuxNamespaceType{specs.UserNamespace, specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace,
		specs.UTSNamespace, specs.NetworkNamespace} {
		if p.clone&cloneFlags[k] != 0 {
			names = append(names, string(k))
		}
	}
	s := "clone a process into new namespaces: " + strings.Join(names, ", ")
	if p.givenNetwork {
		s += "; in its network's namespace, below the user namespace that owns it"
	}
	for _, j := range p.joins {
		s += fmt.Sprintf("; join the %s namespace %s", j.kind, escape(j.path))
	}
	return s
}

func (c *compiler) chooseNamespaces() error {
	c.namespaces = map[specs.LinuxNamespaceType]string{}
	for i, ns := range c.spec.Linux.Namespaces {
		pointer := fmt.Sprintf("/linux/namespaces/%d", i)
		flag, known := cloneFlags[ns.Type]
		if !known {
			return c.failf(pointer, "linux.namespaces", "unknown namespace type %q", ns.Type)
		}
		if _, twice := c.namespaces[ns.Type]; twice {
			return c.failf(pointer, "linux.namespaces", "the %s namespace is named twice", ns.Type)
		}
		c.namespaces[ns.Type] = ns.Path
		if c.bundle.GivenNetwork && ns.Type == specs.NetworkNamespace {
			if ns.Path != "" {
				return c.failf(pointer, "linux.namespaces", "the network namespace has a path, and dev.jail.network asks for a new one")
			}
			c.plan.givenNetwork = true
			continue
		}
		if ns.Path == "" {
			c.plan.clone |= flag
			continue
		}
		if ns.Type != specs.NetworkNamespace && ns.Type != specs.UserNamespace {
			return c.failf(pointer, "linux.namespaces", "a %s namespace cannot be joined at a start, only user and network namespaces", ns.Type)
		}
		c.plan.joins = append(c.plan.joins, join{ns.Type, ns.Path})
	}
	if !c.has(specs.MountNamespace) {
		return c.failf("/linux/namespaces", "linux.namespaces", "a sandbox without a mount namespace would see the whole host: not supported")
	}
	if !c.has(specs.UserNamespace) && c.facts.UID != 0 {
		return c.fail("/linux/namespaces", "linux.namespaces", fmt.Errorf("only root can make a sandbox without a user namespace"), "add user to namespaces")
	}
	if c.bundle.GivenNetwork && (!c.plan.givenNetwork || c.plan.clone&unix.CLONE_NEWUSER == 0) {
		// Without a user namespace below the one that owns the network the program's root could undo its rules.
		return c.fail("/linux/namespaces", "linux.namespaces", fmt.Errorf("a network with egress rules needs a network and a user namespace of the sandbox's own"),
			"add user to namespaces")
	}
	c.plan.Resources = c.spec.Linux.Resources
	c.plan.orphans = !c.has(specs.PIDNamespace)
	return nil
}

func (c *compiler) has(ns specs.LinuxNamespaceType) bool { _, ok := c.namespaces[ns]; return ok }

// An idMaps is what the supervisor has to write because a process cannot map more than its own ids itself.
type idMaps struct{ uids, gids []specs.LinuxIDMapping }

func rangesText(maps []specs.LinuxIDMapping) string {
	var out []string
	for _, m := range maps {
		out = append(out, fmt.Sprintf("%d to %d (%d)", m.ContainerID, m.HostID, m.Size))
	}
	return strings.Join(out, ", ")
}

func (c *compiler) mapIDs() error {
	uids, gids := c.spec.Linux.UIDMappings, c.spec.Linux.GIDMappings
	c.plan.add(inSetup, "", keepDescriptors{}, resetSignals{})
	if !c.has(specs.UserNamespace) || c.namespaces[specs.UserNamespace] != "" {
		if len(uids)+len(gids) > 0 {
			return c.failf("/linux/uidMappings", "linux.uidMappings", "id mappings need a new user namespace")
		}
		c.plan.add(inSetup, "", dieWithSupervisor{})
		return nil
	}
	if len(uids) == 0 || len(gids) == 0 {
		return c.failf("/linux/uidMappings", "linux.uidMappings", "a new user namespace needs uidMappings and gidMappings")
	}
	for i, m := range uids {
		if m.Size == 0 {
			return c.failf(fmt.Sprintf("/linux/uidMappings/%d", i), "linux.uidMappings", "an empty range")
		}
	}
	for i, m := range gids {
		if m.Size == 0 {
			return c.failf(fmt.Sprintf("/linux/gidMappings/%d", i), "linux.gidMappings", "an empty range")
		}
	}
	below := len(c.plan.joins) > 0 || c.plan.givenNetwork
	switch own := c.mapsOnlyOwn(); {
	case own && (c.facts.UID != 0 || below):
		uid, gid := c.facts.UID, c.facts.GID
		if c.bundle.NetworkRoot {
			uid, gid = 0, 0
		}
		c.plan.add(inSetup, c.origin("/linux/uidMappings"), writeIDMap{int(uids[0].ContainerID), uid, int(gids[0].ContainerID), gid})
	case below:
		// Only a process of the user namespace above could write them, and newuidmap is not one.
		return c.fail("/linux/uidMappings", "linux.uidMappings", fmt.Errorf("ranges of ids cannot be had together with a network with egress rules, or namespaces that are joined"),
			"map one id, or take network mode none or host")
	default:
		c.plan.idmap = &idMaps{uids, gids}
		c.plan.add(inSetup, c.origin("/linux/uidMappings"), awaitIDMap{*c.plan.idmap, !covers(uids, c.facts.UID)})
	}
	c.plan.add(inSetup, "", dieWithSupervisor{})
	return nil
}

// mapsOnlyOwn tells whether the caller's own ids are all that is mapped.
func (c *compiler) mapsOnlyOwn() bool {
	uids, gids := c.spec.Linux.UIDMappings, c.spec.Linux.GIDMappings
	return len(uids) == 1 && len(gids) == 1 && uids[0].Size == 1 && gids[0].Size == 1 &&
		int(uids[0].HostID) == c.facts.UID && int(gids[0].HostID) == c.facts.GID
}

// covers tells whether a host id is mapped.
func covers(maps []specs.LinuxIDMapping, id int) bool {
	for _, m := range maps {
		if id >= int(m.HostID) && id-int(m.HostID) < int(m.Size) {
			return true
		}
	}
	return false
}

// begin puts the process at a distance from its caller before anything is mounted.
func (c *compiler) begin() error {
	if err := c.oomScore(inSetup); err != nil {
		return err
	}
	c.plan.add(inSetup, "", newSession{}, umask{0})
	if c.has(specs.CgroupNamespace) {
		c.plan.add(inSetup, "", newCgroupNamespace{})
	}
	if c.has(specs.UserNamespace) && !c.grantsUserNamespaces() {
		c.plan.add(inSetup, "", denyUserNamespaces{})
	}
	c.ownKeyring()
	c.plan.add(inSetup, "", privateMounts{})
	return nil
}

func (c *compiler) oomScore(ph phase) error {
	adj := c.spec.Process.OOMScoreAdj
	if adj == nil {
		return nil
	}
	if *adj < -1000 || *adj > 1000 {
		return c.failf("/process/oomScoreAdj", "process.oomScoreAdj", "%d is not between -1000 and 1000", *adj)
	}
	c.plan.add(ph, c.origin("/process/oomScoreAdj"), oomScore{*adj})
	return nil
}

// ownKeyring leaves the caller's session keyring, unless no call can reach one anyway.
func (c *compiler) ownKeyring() {
	if !c.denies("keyctl") || !c.denies("request_key") || !c.denies("add_key") {
		c.plan.add(inSetup, "", sessionKeyring{})
	}
}

// grantsUserNamespaces tells whether the system-call filter lets the program make a user namespace, or there is no
// filter. A rule that wants the bit of CLONE_NEWUSER to be clear grants none.
func (c *compiler) grantsUserNamespaces() bool {
	f := c.spec.Linux.Seccomp
	if f == nil || !c.denies("clone3") {
		return true
	}
	if !refuses(f.DefaultAction) {
		return true
	}
	for _, rule := range f.Syscalls {
		for _, n := range rule.Names {
			if (n == "clone" || n == "unshare") && !refuses(rule.Action) && !wantsClear(rule.Args, 0, unix.CLONE_NEWUSER) {
				return true
			}
		}
	}
	return false
}

// wantsClear tells whether a rule holds only where a bit of an argument is clear.
func wantsClear(args []specs.LinuxSeccompArg, index uint, bit uint64) bool {
	for _, a := range args {
		if a.Index == index && a.Op == specs.OpMaskedEqual && a.Value&bit != 0 && a.ValueTwo&bit == 0 {
			return true
		}
	}
	return false
}

func refuses(a specs.LinuxSeccompAction) bool {
	switch a {
	case specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap:
		return true
	}
	return false
}

// denies tells whether the system-call filter refuses a call whatever its arguments.
func (c *compiler) denies(name string) bool {
	f := c.spec.Linux.Seccomp
	if f == nil {
		return false
	}
	for _, rule := range f.Syscalls {
		for _, n := range rule.Names {
			if n == name && !refuses(rule.Action) {
				return false
			}
		}
	}
	return refuses(f.DefaultAction)
}
