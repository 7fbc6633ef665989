package policy

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// resources writes the cgroup limits. A profile without any leaves
// linux.resources and linux.cgroupsPath out, so that an ordinary user can run
// the bundle where no cgroup was delegated to them.
//
// Where OCI has a field of the same meaning it is used. Its memory.swap counts
// memory and swap together and its shares are another scale than cpu.weight, so
// those go into `unified`, which is cgroup v2 as it is (cgroup-v2.rst).
func (c *compiler) resources() {
	in := &c.r.Limits
	if !in.Any() {
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

	if in.Memory.Set {
		out.Memory = &specs.LinuxMemory{Limit: &in.Memory.V}
		at("memory/limit", in.Memory.Origin)
	}
	setUnified("memory.high", in.MemoryHigh)
	setUnified("memory.low", in.MemoryLow)
	setUnified("memory.swap.max", in.Swap)
	if in.OOMGroup.Set {
		unified["memory.oom.group"] = "0"
		if in.OOMGroup.V {
			unified["memory.oom.group"] = "1"
		}
		at("unified/memory.oom.group", in.OOMGroup.Origin)
	}
	c.cpuResources(out, setUnified, at)
	if in.Pids.Set {
		out.Pids = &specs.LinuxPids{Limit: in.Pids.V}
		at("pids/limit", in.Pids.Origin)
	}
	for i, h := range in.HugePages {
		limit := uint64(h.Limit)
		if h.Limit < 0 {
			unified["hugetlb."+h.PageSize+".max"] = "max"
			at("unified/hugetlb."+h.PageSize+".max", h.Origin)
			continue
		}
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: limit})
		at("hugepageLimits/"+strconv.Itoa(i), h.Origin)
	}
	ioResources(in, unified, at)
	if len(unified) > 0 {
		out.Unified = unified
	}
	c.spec.Linux.Resources = out
}

func (c *compiler) cpuResources(out *specs.LinuxResources, setUnified func(string, Number), at func(string, Origin)) {
	in := &c.r.Limits
	setUnified("cpu.weight", in.CPUWeight)
	if !in.CPUQuota.Set && !in.CPUs.Set && !in.Mems.Set {
		return
	}
	cpu := &specs.LinuxCPU{Cpus: in.CPUs.V, Mems: in.Mems.V}
	if in.CPUQuota.Set {
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

// ioResources writes io.max and io.weight: a line a device, and the default weight
// before them.
func ioResources(in *Limits, unified map[string]string, at func(string, Origin)) {
	line := func(file, text string, o Origin) {
		if unified[file] != "" {
			text = unified[file] + "\n" + text
		}
		unified[file] = text
		at("unified/"+file, o)
	}
	if in.IOWeight.Set {
		line("io.weight", "default "+limitText(in.IOWeight.V), in.IOWeight.Origin)
	}
	for _, d := range in.IO {
		device := strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
		text := device
		for _, f := range []struct {
			key string
			n   Number
		}{{"rbps", d.Read}, {"wbps", d.Write}, {"riops", d.ReadOps}, {"wiops", d.WriteOps}} {
			if f.n.Set {
				text += " " + f.key + "=" + limitText(f.n.V)
			}
		}
		if text != device {
			line("io.max", text, d.Origin)
		}
		if d.Weight.Set {
			line("io.weight", device+" "+limitText(d.Weight.V), d.Origin)
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
