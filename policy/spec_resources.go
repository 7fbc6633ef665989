package policy

import (
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Resources gives the cgroup limits as OCI has them, nil for none: what Spec
// writes, for those who ask what a machine could do with them.
func (r *Resolved) Resources() *specs.LinuxResources {
	c := &compiler{r: r, spec: &specs.Spec{Linux: &specs.Linux{}}}
	c.resources()
	return c.spec.Linux.Resources
}

// limited tells whether limits are to be kept: there are some, and they are not
// switched off.
func (r *Resolved) limited() bool {
	return r.Limits.kept() && r.level("limits") != "off"
}

// ownCgroup tells whether the program gets a control group and a namespace that
// begins at it.
func (r *Resolved) ownCgroup() bool {
	return r.limited() && slices.ContainsFunc(r.Namespaces, func(n Namespace) bool { return n.Kind == "cgroup" })
}

// resources writes the cgroup limits. A profile without any leaves
// linux.resources and linux.cgroupsPath out, so that an ordinary user can run
// the bundle where no cgroup was delegated to them. A limit of max is left out as
// well: it is what a new group has, and would only ask for a controller that may
// not be had. (memory.low is no limit but a promise, and its max is the largest.)
//
// Where OCI has a field of the same meaning it is used. Its memory.swap counts
// memory and swap together and its shares are another scale than cpu.weight, so
// those go into `unified`, which is cgroup v2 as it is (cgroup-v2.rst).
func (c *compiler) resources() {
	in := &c.r.Limits
	if !c.r.limited() {
		return
	}
	out := &specs.LinuxResources{}
	unified := map[string]string{}
	setUnified := func(file string, n Number) {
		if n.Set {
			unified[file] = limitText(n.V)
			c.origin("/linux/resources/unified/"+file, n.Origin)
		}
	}
	at := func(field string, o Origin) { c.origin("/linux/resources/"+field, o) }

	if bounds(in.Memory) {
		out.Memory = &specs.LinuxMemory{Limit: &in.Memory.V}
		at("memory/limit", in.Memory.Origin)
	}
	if bounds(in.MemoryHigh) {
		setUnified("memory.high", in.MemoryHigh)
	}
	setUnified("memory.low", in.MemoryLow)
	if bounds(in.Swap) {
		setUnified("memory.swap.max", in.Swap)
	}
	if in.OOMGroup.V {
		unified["memory.oom.group"] = "1"
		at("unified/memory.oom.group", in.OOMGroup.Origin)
	}
	c.cpuResources(out, setUnified, at)
	if bounds(in.Pids) {
		out.Pids = &specs.LinuxPids{Limit: in.Pids.V}
		at("pids/limit", in.Pids.Origin)
	}
	for _, h := range in.HugePages {
		if h.Limit == Unlimited {
			continue
		}
		at("hugepageLimits/"+strconv.Itoa(len(out.HugepageLimits)), h.Origin)
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: uint64(h.Limit)})
	}
	ioResources(in, out, unified, at)
	if len(unified) > 0 {
		out.Unified = unified
	}
	c.spec.Linux.Resources = out
}

func (c *compiler) cpuResources(out *specs.LinuxResources, setUnified func(string, Number), at func(string, Origin)) {
	in := &c.r.Limits
	setUnified("cpu.weight", in.CPUWeight)
	if !bounds(in.CPUQuota) && !in.CPUs.Set && !in.Mems.Set {
		return
	}
	cpu := &specs.LinuxCPU{Cpus: in.CPUs.V, Mems: in.Mems.V}
	if bounds(in.CPUQuota) {
		period := uint64(CPUPeriod)
		cpu.Quota, cpu.Period = &in.CPUQuota.V, &period
		at("cpu/quota", in.CPUQuota.Origin)
	}
	if in.CPUs.Set {
		at("cpu/cpus", in.CPUs.Origin)
	}
	if in.Mems.Set {
		at("cpu/mems", in.Mems.Origin)
	}
	out.CPU = cpu
}

// ioResources writes the rates as OCI has them, one list for each kind, and the
// weights as cgroup v2 does: the default first, then a line a device.
func ioResources(in *Limits, out *specs.LinuxResources, unified map[string]string, at func(string, Origin)) {
	weight := func(text string, o Origin) {
		if unified["io.weight"] != "" {
			text = unified["io.weight"] + "\n" + text
		}
		unified["io.weight"] = text
		at("unified/io.weight", o)
	}
	if in.IOWeight.Set {
		weight("default "+limitText(in.IOWeight.V), in.IOWeight.Origin)
	}
	block := &specs.LinuxBlockIO{}
	for _, d := range in.IO {
		for _, f := range []struct {
			n    Number
			name string
			list *[]specs.LinuxThrottleDevice
		}{
			{d.Read, "throttleReadBpsDevice", &block.ThrottleReadBpsDevice},
			{d.Write, "throttleWriteBpsDevice", &block.ThrottleWriteBpsDevice},
			{d.ReadOps, "throttleReadIOPSDevice", &block.ThrottleReadIOPSDevice},
			{d.WriteOps, "throttleWriteIOPSDevice", &block.ThrottleWriteIOPSDevice},
		} {
			if !bounds(f.n) {
				continue
			}
			at("blockIO/"+f.name+"/"+strconv.Itoa(len(*f.list)), f.n.Origin)
			one := specs.LinuxThrottleDevice{Rate: uint64(f.n.V)}
			one.Major, one.Minor = int64(d.Major), int64(d.Minor)
			*f.list = append(*f.list, one)
			out.BlockIO = block
		}
		if d.Weight.Set {
			weight(strconv.FormatUint(uint64(d.Major), 10)+":"+strconv.FormatUint(uint64(d.Minor), 10)+" "+limitText(d.Weight.V), d.Weight.Origin)
		}
	}
}

// limitText writes a limit as cgroup files have it.
func limitText(n int64) string {
	if n == Unlimited {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}
