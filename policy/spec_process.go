package policy

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// process writes what the program is started with.
func (c *compiler) process(args []string) {
	r, in := c.r, &c.r.Process
	p := &specs.Process{
		Args:            args,
		Cwd:             in.Cwd.Or("/"),
		User:            specs.User{UID: in.UID.V, GID: in.GID.V},
		NoNewPrivileges: in.NoNewPrivileges.Or(true),
		Env:             make([]string, len(r.Environment)),
	}
	for _, at := range []struct {
		pointer string
		set     bool
		origin  Origin
	}{
		{"cwd", in.Cwd.Set, in.Cwd.Origin}, {"user/uid", in.UID.Set, in.UID.Origin}, {"user/gid", in.GID.Set, in.GID.Origin},
		{"noNewPrivileges", in.NoNewPrivileges.Set, in.NoNewPrivileges.Origin},
	} {
		if at.set {
			c.origin("/process/"+at.pointer, at.origin)
		}
	}
	for i, v := range r.Environment {
		p.Env[i] = v.Name + "=" + v.Value
		c.origin("/process/env/"+strconv.Itoa(i), v.Origin)
	}
	for _, g := range in.Groups {
		c.origin("/process/user/additionalGids/"+strconv.Itoa(len(p.User.AdditionalGids)), g.Origin)
		p.User.AdditionalGids = append(p.User.AdditionalGids, g.V)
	}
	if in.Umask.Set {
		mask := in.Umask.V
		p.User.Umask = &mask
		c.origin("/process/user/umask", in.Umask.Origin)
	}
	for _, l := range r.Rlimits {
		if l.Type == "RLIMIT_CORE" && in.NoDump.Or(false) {
			continue // no-dump says more
		}
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: l.Type, Soft: l.Soft, Hard: l.Hard})
		c.origin("/process/rlimits/"+strconv.Itoa(len(p.Rlimits)-1), l.Origin)
	}
	if in.NoDump.Or(false) {
		// At 1, and only there, the kernel hands no core to a program either: core(5), do_coredump in fs/coredump.c.
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_CORE", Soft: 1, Hard: 1})
		c.origin("/process/rlimits/"+strconv.Itoa(len(p.Rlimits)-1), in.NoDump.Origin)
	}
	if in.Nice.Set {
		p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: int32(in.Nice.V)}
		c.origin("/process/scheduler", in.Nice.Origin)
	}
	if in.OOMScore.Set {
		score := int(in.OOMScore.V)
		p.OOMScoreAdj = &score
		c.origin("/process/oomScoreAdj", in.OOMScore.Origin)
	}
	if in.CPUAffinity.Set {
		p.ExecCPUAffinity = &specs.CPUAffinity{Initial: in.CPUAffinity.V}
		c.origin("/process/execCPUAffinity", in.CPUAffinity.Origin)
	}
	c.spec.Process = p
	c.capabilities()
}

// capabilities puts the listed ones into every set, so that the program keeps
// them across exec though it is not root. With none listed the object is there
// all the same, and empty: that means none.
func (c *compiler) capabilities() {
	names := make([]string, len(c.r.Capabilities))
	for i, n := range c.r.Capabilities {
		names[i] = n.Name
		c.origin("/process/capabilities/bounding/"+strconv.Itoa(i), n.Origin)
	}
	c.spec.Process.Capabilities = &specs.LinuxCapabilities{
		Bounding: names, Effective: names, Inheritable: names, Permitted: names, Ambient: names,
	}
}
