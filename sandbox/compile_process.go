package sandbox

import (
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// identity sets what the namespaces of the sandbox carry, while the old /proc is still in reach.
func (c *compiler) identity() error {
	s := c.spec
	if s.Hostname != "" {
		if !c.has(specs.UTSNamespace) {
			return c.fail("/hostname", "hostname", fmt.Errorf("without a uts namespace it would be the host's"), "add uts to namespaces")
		}
		if len(s.Hostname) > 64 {
			return c.failf("/hostname", "hostname", "is longer than 64 bytes")
		}
		c.plan.add(inSetup, c.origin("/hostname"), hostName{s.Hostname})
	}
	if s.Domainname != "" {
		if !c.has(specs.UTSNamespace) {
			return c.fail("/domainname", "domainname", fmt.Errorf("without a uts namespace it would be the host's"), "add uts to namespaces")
		}
		if len(s.Domainname) > 64 {
			return c.failf("/domainname", "domainname", "is longer than 64 bytes")
		}
		c.plan.add(inSetup, c.origin("/domainname"), domainName{s.Domainname})
	}
	if p, own := c.namespaces[specs.NetworkNamespace]; own && p == "" && !c.plan.givenNetwork {
		c.plan.add(inSetup, "", loopbackUp{})
	}
	return c.sysctls()
}

// sysctls sets only keys that belong to a namespace of the sandbox: any other would be the host's.
func (c *compiler) sysctls() error {
	keys := make([]string, 0, len(c.spec.Linux.Sysctl))
	for k := range c.spec.Linux.Sysctl {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		pointer := "/linux/sysctl/" + k
		var need specs.LinuxNamespaceType
		switch {
		case strings.HasPrefix(k, "net."):
			need = specs.NetworkNamespace
		case strings.HasPrefix(k, "fs.mqueue.") || strings.HasPrefix(k, "kernel.msg") || strings.HasPrefix(k, "kernel.shm") || k == "kernel.sem":
			need = specs.IPCNamespace
		default:
			return c.failf(pointer, "sysctl "+k, "does not belong to a namespace")
		}
		if p, own := c.namespaces[need]; !own || p != "" || need == specs.NetworkNamespace && c.plan.givenNetwork {
			return c.failf(pointer, "sysctl "+k, "needs a %s namespace of its own", need)
		}
		for _, part := range strings.FieldsFunc(k, func(r rune) bool { return r == '.' || r == '/' }) {
			if part == ".." || part == "" {
				return c.failf(pointer, "sysctl "+k, "is no key")
			}
		}
		if strings.Contains(k, "/") || strings.Contains(k, "..") {
			return c.failf(pointer, "sysctl "+k, "is no key")
		}
		c.plan.add(inSetup, c.origin(pointer), sysctl{k, c.spec.Linux.Sysctl[k]})
	}
	return nil
}

// split parts pid 1 from the program.
func (c *compiler) split() error {
	if c.spec.Process.Terminal {
		pl, err := c.tree.find("/dev/pts")
		if err != nil || len(pl.missing) > 0 {
			return c.fail("/process/terminal", "process.terminal", fmt.Errorf("there is no /dev/pts in the sandbox to make a terminal on"),
				"mount a devpts at /dev/pts, or set process.terminal to never")
		}
		console, err := c.tree.find("/dev/console")
		c.plan.terminal = true
		c.plan.add(inSetup, c.origin("/process/terminal"), openTerminal{console: err == nil && len(console.missing) == 0 && console.cover.kind == coverOwn})
	}
	if c.has(specs.TimeNamespace) {
		text := ""
		for _, clock := range []string{"monotonic", "boottime"} {
			if o, ok := c.spec.Linux.TimeOffsets[clock]; ok {
				text += fmt.Sprintf("%s %d %d\n", clock, o.Secs, o.Nanosecs)
			}
		}
		c.plan.insertBefore(pivot{}, c.origin("/linux/timeOffsets"), writeTimeOffsets{text})
	} else if len(c.spec.Linux.TimeOffsets) > 0 {
		return c.failf("/linux/timeOffsets", "linux.timeOffsets", "offsets need a time namespace")
	}
	return c.part()
}

// part is where the program and the process that waits for it go separate ways.
func (c *compiler) part() error {
	caps, err := c.capabilities()
	if err != nil {
		return err
	}
	if !c.plan.alone || c.facts.Capabilities.has(unix.CAP_SETPCAP) {
		c.plan.add(inSetup, c.origin("/process/capabilities"), dropBounding{caps.bounding, c.facts.LastCap})
	}
	c.plan.add(inSetup, "", hideSelf{}, forkProgram{ownMemory: c.has(specs.TimeNamespace)})
	c.plan.add(inReaper, "", reapAll{c.plan.joining, c.plan.alone})
	c.plan.add(inProgram, "", foreground{c.spec.Process.Terminal})
	return nil
}

// insertBefore puts a step before the first one equal to mark.
func (p *Plan) insertBefore(mark step, origin string, s step) {
	for i := range p.steps {
		if p.steps[i].step == mark {
			p.steps = append(p.steps[:i:i], append([]plannedStep{{inSetup, s, origin}}, p.steps[i:]...)...)
			return
		}
	}
}

// process sets what the program inherits as a process.
func (c *compiler) process() error {
	p := c.spec.Process
	if a := p.ExecCPUAffinity; a != nil && a.Initial != "" {
		set, err := parseCPUs(a.Initial)
		if err != nil {
			return c.fail("/process/execCPUAffinity", "process.execCPUAffinity", err)
		}
		c.plan.add(inProgram, c.origin("/process/execCPUAffinity"), affinity{set})
	}
	if s := p.Scheduler; s != nil {
		if s.Policy != "" && s.Policy != specs.SchedOther {
			return c.failf("/process/scheduler", "process.scheduler", "policy %s is not supported", s.Policy)
		}
		if s.Nice < -20 || s.Nice > 19 {
			return c.failf("/process/scheduler/nice", "process.scheduler.nice", "%d is not between -20 and 19", s.Nice)
		}
		c.plan.add(inProgram, c.origin("/process/scheduler"), nice{int(s.Nice)})
	}
	return nil
}

// parseCPUs reads a list such as "0-3,6".
func parseCPUs(s string) (set unix.CPUSet, err error) {
	for _, part := range strings.Split(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a < 0 || b < a || b >= 1024 {
			return set, fmt.Errorf("%q is no list of cpus", s)
		}
		for i := a; i <= b; i++ {
			set.Set(i)
		}
	}
	return set, nil
}

var rlimitNames = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// privileges takes everything away that the program is not given.
func (c *compiler) privileges() error {
	p := c.spec.Process
	nofile := false
	for i, r := range p.Rlimits {
		pointer := fmt.Sprintf("/process/rlimits/%d", i)
		res, ok := rlimitNames[r.Type]
		if !ok {
			return c.failf(pointer, "process.rlimits", "unknown limit %q", r.Type)
		}
		if r.Soft > r.Hard {
			return c.failf(pointer, r.Type, "soft limit %d above hard limit %d", r.Soft, r.Hard)
		}
		nofile = nofile || res == unix.RLIMIT_NOFILE
		c.plan.add(inProgram, c.origin(pointer), rlimit{r.Type, res, unix.Rlimit{Cur: r.Soft, Max: r.Hard}})
	}
	if l := c.facts.NoFile; !nofile && l.Max > 0 {
		// Go raises its own soft limit to one below the hard one and does not tell what it was; 1024 is what
		// every distribution starts programs with, and what select(2) can bear.
		if l.Cur == l.Max-1 {
			l.Cur = min(l.Max, 1024)
		}
		c.plan.add(inProgram, "", rlimit{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, l})
	}
	if mask := p.User.Umask; mask != nil {
		if *mask > 0o777 {
			return c.failf("/process/user/umask", "process.user.umask", "%#o is no umask", *mask)
		}
		c.plan.add(inProgram, c.origin("/process/user/umask"), umask{int(*mask)})
	} else {
		c.plan.add(inProgram, "", umask{0o022})
	}
	if err := c.filterNeedsPrivilege(); err != nil {
		return err
	}
	cred := credentials{uid: int(p.User.UID), gid: int(p.User.GID), lastCap: c.facts.LastCap}
	for _, g := range p.User.AdditionalGids {
		cred.groups = append(cred.groups, int(g))
	}
	// Where the process maps itself, setgroups(2) is off for good: user_namespaces(7).
	cred.drop = (c.plan.idmap != nil || !c.has(specs.UserNamespace)) && !c.facts.NoSetgroups
	if c.plan.alone { // in the caller's user namespace the rights are the caller's
		cred.drop = cred.drop && c.facts.Capabilities.has(unix.CAP_SETGID)
		cred.plain = !c.facts.Capabilities.has(unix.CAP_SETPCAP)
	}
	if len(cred.groups) > 0 && !cred.drop {
		return c.fail("/process/user/additionalGids", "process.user.additionalGids",
			fmt.Errorf("groups can be set only where gids are mapped through newgidmap"), "map a range of subordinate ids")
	}
	if c.has(specs.UserNamespace) && c.namespaces[specs.UserNamespace] == "" {
		if !mapped(c.spec.Linux.UIDMappings, p.User.UID) {
			return c.failf("/process/user/uid", "process.user.uid", "%d is not mapped in the user namespace", p.User.UID)
		}
		if !mapped(c.spec.Linux.GIDMappings, p.User.GID) {
			return c.failf("/process/user/gid", "process.user.gid", "%d is not mapped in the user namespace", p.User.GID)
		}
	}
	var err error
	if cred.caps, err = c.capabilities(); err != nil {
		return err
	}
	c.plan.add(inProgram, c.origin("/process/capabilities"), cred)
	if c.plan.orphans {
		c.plan.add(inProgram, "", dieWithSupervisor{})
	}
	if c.plan.joining {
		c.plan.add(inProgram, "", dieWithWaiter{})
	}
	c.plan.add(inProgram, c.origin("/process/cwd"), workDir{p.Cwd})
	c.plan.add(inProgram, "", awaitOthers{})
	if err := c.hardening(); err != nil {
		return err
	}
	if p.NoNewPrivileges {
		c.plan.add(inProgram, c.origin("/process/noNewPrivileges"), noNewPrivileges{})
	}
	if c.plan.landlock != nil {
		c.plan.add(inProgram, c.origin("/annotations/"+annotationEnforcement), enforceRuleset{})
	}
	if c.plan.alone {
		c.plan.add(inProgram, c.origin(annotationLevels+"/namespaces"), aloneFilter{c.wanted, c.granted.devices()})
	}
	if f := c.spec.Linux.Seccomp; f != nil {
		c.plan.Seccomp = f
		c.plan.add(inProgram, c.origin("/linux/seccomp"), filterStep(f))
	}
	return nil
}

// filterNeedsPrivilege: a filter is installed last, by a process without capabilities, and that the kernel
// allows only with no_new_privs: seccomp(2).
func (c *compiler) filterNeedsPrivilege() error {
	if c.spec.Linux.Seccomp != nil && !c.spec.Process.NoNewPrivileges {
		caps, err := c.capabilities()
		if err != nil {
			return err
		}
		if !caps.effective.has(unix.CAP_SYS_ADMIN) {
			return c.fail("/process/noNewPrivileges", "process.noNewPrivileges",
				fmt.Errorf("a system-call filter needs no_new_privs, or CAP_SYS_ADMIN in the program's hands"), "leave no-new-privileges on")
		}
	}
	return nil
}

func filterStep(f *specs.LinuxSeccomp) installFilter {
	s := installFilter{}
	allowed := 0
	for _, r := range f.Syscalls {
		if r.Action == specs.ActAllow {
			allowed += len(r.Names)
		}
	}
	s.rules = fmt.Sprintf("%d calls allowed, the rest %s", allowed, strings.ToLower(strings.TrimPrefix(string(f.DefaultAction), "SCMP_ACT_")))
	for _, flag := range f.Flags {
		switch flag {
		case specs.LinuxSeccompFlagLog:
			s.flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			s.flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		}
	}
	return s
}

func mapped(maps []specs.LinuxIDMapping, id uint32) bool {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return true
		}
	}
	return false
}

func (c *compiler) capabilities() (s capSets, err error) {
	in := c.spec.Process.Capabilities
	if in == nil {
		return s, nil
	}
	read := func(field string, names []string) capMask {
		var m capMask
		for i, n := range names {
			v, ok := capNumber(n)
			if !ok && err == nil {
				err = c.failf(fmt.Sprintf("/process/capabilities/%s/%d", field, i), "process.capabilities", "unknown capability %q", n)
			}
			if v > c.facts.LastCap && err == nil {
				err = c.failf(fmt.Sprintf("/process/capabilities/%s/%d", field, i), "process.capabilities", "this kernel does not know %s", n)
			}
			m |= 1 << v
		}
		return m
	}
	s.bounding, s.effective, s.permitted = read("bounding", in.Bounding), read("effective", in.Effective), read("permitted", in.Permitted)
	s.inheritable, s.ambient = read("inheritable", in.Inheritable), read("ambient", in.Ambient)
	if err == nil && (s.effective&^s.permitted != 0 || s.ambient&^(s.permitted&s.inheritable) != 0) {
		err = c.failf("/process/capabilities", "process.capabilities", "effective must lie in permitted, ambient in permitted and inheritable")
	}
	return s, err
}

// execute plans the last call.
func (c *compiler) execute() error {
	p := c.spec.Process
	e := execute{args: p.Args, env: p.Env}
	name := p.Args[0]
	if strings.Contains(name, "/") {
		e.candidates = []string{name}
	} else {
		search := "/usr/local/bin:/usr/bin:/bin"
		for _, v := range p.Env {
			if rest, ok := strings.CutPrefix(v, "PATH="); ok {
				search = rest
			}
		}
		for _, dir := range strings.Split(search, ":") {
			// An empty element, and any other relative one, would be looked for in the working directory.
			if path.IsAbs(dir) {
				e.candidates = append(e.candidates, path.Join(dir, name))
			}
		}
		if len(e.candidates) == 0 {
			return &Error{Origin: c.origin("/process/env"), What: "execute " + name, Cause: fmt.Errorf("PATH has no absolute directory"), Exit: 127}
		}
	}
	c.plan.add(inProgram, c.origin("/process/args"), e)
	return nil
}
