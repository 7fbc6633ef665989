package sandbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The second barrier, landlock(7). The mounts decide what is there; these rules, which the kernel checks in another
// place and which no process can lift, say once more what may be done with it: everything below the sandbox's root may
// be read, and changed only where the mounts allow it. A file that the program gets at past its root, by a descriptor
// that leaked or a mistake of the kernel's, lies below no rule and cannot be opened (CVE-2024-21626).
//
// Landlock knows no way to tell the loopback from other addresses, so TCP ports are the network namespace's and the
// egress rules' business.

// Rights to files, by what a rule is for.
const (
	readRights  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeRights = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	makeRights  = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	deviceRights = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// What a rule on anything but a directory may hold.
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | writeRights | deviceRights
)

// A landlockPolicy is what the rules will say, for one version of the kernel's interface.
type landlockPolicy struct {
	Handled, Scoped uint64
	Net             uint64         `json:",omitempty"` // rights to TCP ports that nothing has
	Rules           []landlockRule // parents first
}

// landlockRule grants rights to a canonical path and all below it.
type landlockRule struct {
	Path   string
	Rights uint64
	Dir    bool
}

// landlock decides on the second barrier: its rules follow from the mounts.
func (c *compiler) landlock() error {
	level := c.levels["landlock"]
	foreign := level == "" && c.spec.Annotations[annotationProfile] == ""
	if level == "off" {
		return nil
	}
	reason, hint := "", ""
	switch abi := c.facts.Landlock; {
	case abi < 1:
		reason, hint = "this kernel has no Landlock, or it is switched off", "Linux 5.19 or later, with landlock among the security modules (boot parameter lsm=); or enforcement: {landlock: prefer}"
	case abi < 2:
		// Version 1 refuses every rename and link between two directories.
		reason, hint = "this kernel's Landlock lets no file be moved to another folder", "Linux 5.19 or later; or enforcement: {landlock: prefer}"
	case !c.spec.Process.NoNewPrivileges && !c.keeps("CAP_SYS_ADMIN"):
		reason, hint = "it needs no_new_privs, or CAP_SYS_ADMIN in the program's hands", "leave no-new-privileges on; or enforcement: {landlock: prefer}"
	case c.grantsMounting():
		reason, hint = "the profile lets the program mount file systems, which Landlock does not", "take the mount calls out of syscalls.allow; or enforcement: {landlock: off}"
	}
	if reason != "" {
		if foreign {
			return nil // a bundle made elsewhere cannot ask for what OCI does not know
		}
		if level == "prefer" {
			c.plan.Warnings = append(c.plan.Warnings, "runs without the second barrier on files: "+reason)
			return nil
		}
		return c.fail("/annotations/"+annotationEnforcement, "enforcement.landlock", errors.New(reason), hint)
	}
	c.restrict(c.landlockPolicy())
	return nil
}

// restrict plans the making of rules; privileges puts them in force.
func (c *compiler) restrict(p landlockPolicy) {
	c.plan.landlock = &p
	c.plan.add(inSetup, "", makeRuleset{p, c.facts.Streams})
	c.plan.add(inReaper, "", closeRuleset{})
}

// AnnotationLandlock carries the rules of a running sandbox to those that join it, which cannot tell any more what its
// mounts were made from.
const AnnotationLandlock = annotationPrefix + "landlock"

// Landlock gives the rules in force as the value of AnnotationLandlock, "" for none.
func (p *Plan) Landlock() string {
	if p.landlock == nil {
		return ""
	}
	text, err := json.Marshal(p.landlock)
	if err != nil {
		panic("sandbox: rules of Landlock: " + err.Error()) // numbers and texts always encode
	}
	return string(text)
}

// restrictAsBefore takes the rules that the sandbox was started with.
func (c *compiler) restrictAsBefore() error {
	text, ok := c.spec.Annotations[AnnotationLandlock]
	if !ok {
		return nil
	}
	var p landlockPolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return c.fail("/annotations", AnnotationLandlock, err)
	}
	c.restrict(p)
	return nil
}

// grantsMounting tells whether the program could mount something: the filter lets it, and it has the capability or can
// make a user namespace in which it would. A filter that is switched off is no such grant: what is left holds then.
func (c *compiler) grantsMounting() bool {
	if c.spec.Linux.Seccomp == nil && c.levels["seccomp"] == "off" {
		return c.keeps("CAP_SYS_ADMIN")
	}
	if !slices.ContainsFunc([]string{"mount", "move_mount", "pivot_root", "umount2"}, func(call string) bool { return !c.denies(call) }) {
		return false
	}
	return c.keeps("CAP_SYS_ADMIN") || c.grantsUserNamespaces()
}

// keeps tells whether the program has a capability.
func (c *compiler) keeps(name string) bool {
	caps := c.spec.Process.Capabilities
	return caps != nil && slices.Contains(caps.Effective, name)
}

func (c *compiler) landlockPolicy() landlockPolicy {
	abi := c.facts.Landlock
	p := landlockPolicy{Handled: readRights | makeRights | writeRights | deviceRights}
	if abi < 3 {
		p.Handled &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi < 5 {
		p.Handled &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		// Namespaces of the sandbox's own hold both already.
		if !c.has(specs.NetworkNamespace) || c.namespaces[specs.NetworkNamespace] != "" {
			p.Scoped |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		}
		if !c.has(specs.PIDNamespace) {
			p.Scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
	}
	readonly := map[string]bool{}
	for _, late := range c.late {
		if r, ok := late.step.(restrict); ok && r.attr&unix.MOUNT_ATTR_RDONLY != 0 {
			readonly[r.dest] = true
		}
	}
	p.Rules = []landlockRule{{"/", readRights, true}}
	for at, cv := range c.tree.mounts {
		rights := cv.rights(at)
		if readonly[at] {
			rights = 0
		}
		if cv.file {
			rights &= fileRights
		}
		if rights &= p.Handled; rights != 0 {
			p.Rules = append(p.Rules, landlockRule{at, rights, !cv.file})
		}
	}
	slices.SortFunc(p.Rules, func(a, b landlockRule) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(b.Rights, a.Rights))
	})
	p.Rules = withoutImplied(p.Rules)
	return p
}

// withoutImplied leaves rules out that grant no more than those above them: rights add up along a path, through mounts
// too.
func withoutImplied(rules []landlockRule) []landlockRule {
	above := map[string]uint64{}
	var out []landlockRule
	for _, r := range rules {
		var granted uint64
		for at := r.Path; ; at = path.Dir(at) {
			granted |= above[at]
			if at == "/" {
				break
			}
		}
		if r.Rights&^granted != 0 {
			above[r.Path] |= r.Rights
			out = append(out, r)
		}
	}
	return out
}

// rights are those that the mount at a path gives beyond reading.
func (c *cover) rights(at string) uint64 {
	var rights uint64
	switch {
	case c.fstype == "proc":
		rights = writeRights // what of it may be written is decided there, by uid
	case c.fstype == "devpts" || c.device:
		rights = writeRights | deviceRights
	case c.fstype == "mqueue", c.kind == coverOwn, c.writable:
		rights = writeRights | makeRights
	}
	if at == "/dev" || strings.HasPrefix(at, "/dev/") {
		rights |= deviceRights
	}
	return rights
}

// makeRuleset makes the Landlock rules while the process may still open every mount. The descriptor of the rules goes
// with the fork to the program and is closed by execve(2).
type makeRuleset struct {
	policy  landlockPolicy
	streams [3]Stream
}

func (m makeRuleset) String() string {
	var readable, writable []string
	for _, r := range m.policy.Rules {
		readable = append(readable, r.Path)
		if r.Rights&unix.LANDLOCK_ACCESS_FS_WRITE_FILE != 0 {
			writable = append(writable, r.Path)
		}
	}
	s := "make Landlock rules: read everything"
	if slices.Index(readable, "/") != 0 {
		s = "make Landlock rules: read only " + cmp.Or(strings.Join(readable, ", "), "nothing")
	}
	s += ", change only " + strings.Join(writable, ", ")
	if len(writable) == 0 {
		s = strings.TrimSuffix(s, "only ") + "nothing"
	}
	if m.policy.Scoped&unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET != 0 {
		s += "; no abstract socket of the host"
	}
	if m.policy.Scoped&unix.LANDLOCK_SCOPE_SIGNAL != 0 {
		s += "; no signal to a process outside"
	}
	if m.policy.Net != 0 {
		s += "; no TCP"
	}
	return s
}

func (m makeRuleset) lower(a *assembler) {
	// Fields that are zero may be unknown to the kernel: landlock_create_ruleset(2), size.
	attr := &unix.LandlockRulesetAttr{Handled_access_fs: m.policy.Handled, Handled_access_net: m.policy.Net, Scoped: m.policy.Scoped}
	size := unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	if m.policy.Scoped|m.policy.Net == 0 {
		size = unsafe.Sizeof(attr.Handled_access_fs)
	}
	a.ruleset = a.fd(unix.SYS_LANDLOCK_CREATE_RULESET, ptr(a, attr), val(size), val(0))
	for _, r := range m.policy.Rules {
		dir := 0
		if r.Dir {
			dir = unix.O_DIRECTORY
		}
		at := a.open2(cwd, path.Clean(r.Path), unix.O_PATH|unix.O_NOFOLLOW|dir, 0, noLinks)
		a.allow(at, r.Rights)
		a.close(at)
	}
	// A program may open its streams once more, by /dev/stdout; what lies outside of the root can only be granted by the
	// stream itself, and no more of it than the stream gives. Pipes and sockets are nobody's to restrict.
	for fd, s := range m.streams {
		if rights := s.rights() & m.policy.Handled; rights != 0 && !a.console.replaced[fd] {
			a.allow(val(fd), rights).tolerate(unix.EBADF, unix.EBADFD, unix.EINVAL)
		}
	}
	if a.terminal.slot { // made already, on a devpts that is the host's
		a.allow(a.terminal, (unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_WRITE_FILE|deviceRights)&m.policy.Handled)
	}
}

// landlockPathBeneath is struct landlock_path_beneath_attr, which is packed. The descriptor is filled in by the row,
// from a slot: it lies at an offset of eight bytes.
type landlockPathBeneath struct {
	rights uint64
	parent int32
	_      int32
}

// allow adds one rule.
func (a *assembler) allow(fd arg, rights uint64) *call {
	rule := landlockPathBeneath{rights: rights}
	attr := ptr(a, &rule)
	a.op(opStore, arg{v: attr.v + unsafe.Offsetof(rule.parent)}, fd)
	return a.op(unix.SYS_LANDLOCK_ADD_RULE, a.ruleset, val(unix.LANDLOCK_RULE_PATH_BENEATH), attr, val(0))
}

// closeRuleset takes the rules out of pid 1's hands.
type closeRuleset struct{}

func (closeRuleset) String() string     { return "close the Landlock rules" }
func (closeRuleset) lower(a *assembler) { a.op(unix.SYS_CLOSE, a.ruleset) }

// enforceRuleset puts the rules in force for the program and all that it starts: landlock_restrict_self(2).
type enforceRuleset struct{}

func (enforceRuleset) String() string { return "put the Landlock rules in force" }
func (enforceRuleset) lower(a *assembler) {
	a.op(unix.SYS_LANDLOCK_RESTRICT_SELF, a.ruleset, val(0))
}

// signalsStayInside makes sure of the rule that reapAll builds on: it ends a sandbox without namespaces by a signal to
// every process that it may signal. One to the supervisor must not be among them.
type signalsStayInside struct{}

func (signalsStayInside) String() string { return "make sure that no signal reaches the supervisor" }
func (signalsStayInside) lower(a *assembler) {
	supervisor := a.fd(unix.SYS_GETPPID)
	got := a.fd(unix.SYS_KILL, supervisor, val(0))
	a.rows[len(a.rows)-1].tolerate(unix.EPERM)
	a.op(opPass, got, val(1))                              // it got out: go on at the last row, which fails
	a.op(opPass, val(0), val(1))                           // it did not: pass over that row
	a.op(unix.SYS_LANDLOCK_RESTRICT_SELF, val(-1), val(0)) // EBADF
	a.free = append(a.free, uint8(got.v), uint8(supervisor.v))
}

// A Stream is what a standard stream of the caller's is.
type Stream struct {
	Read, Write bool
	Regular     bool // a file; else a device. Pipes and sockets have neither right
}

func (s Stream) rights() uint64 {
	var rights uint64
	if s.Read {
		rights |= unix.LANDLOCK_ACCESS_FS_READ_FILE
	}
	if s.Write {
		rights |= writeRights
	}
	if !s.Regular && rights != 0 {
		rights |= deviceRights
	}
	return rights
}

// landlockABI is the version of the kernel's interface, 0 where it has none or where the filter of a container does not
// know the call. Another failure says nothing of the kernel, and a profile that prefers this layer must not lose it for
// that.
func landlockABI() (int, error) {
	abi, err := ProbeLandlock()
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("ask the kernel for Landlock: landlock_create_ruleset: %w", err)
	}
	return abi, nil
}

// standardStreams looks at descriptors 0, 1 and 2.
func standardStreams() (all [3]Stream) {
	for fd := range all {
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || unix.Fstat(fd, &st) != nil || flags&unix.O_PATH != 0 {
			continue
		}
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFREG && kind != unix.S_IFCHR && kind != unix.S_IFBLK {
			continue
		}
		mode := flags & unix.O_ACCMODE
		all[fd] = Stream{Read: mode != unix.O_WRONLY, Write: mode != unix.O_RDONLY, Regular: kind == unix.S_IFREG}
	}
	return all
}
