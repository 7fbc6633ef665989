package policy

import "slices"

// Unlimited is the value of a limit written `max` or `unlimited`.
const Unlimited = int64(-1)

// Limits are the cgroup limits. Sizes are bytes, rates are a second.
type Limits struct {
	Memory, MemoryHigh, MemoryLow, Swap Number
	// CPUQuota is microseconds of processor time a CPUPeriod (100 ms): 200% is 200000.
	CPUQuota  Number
	CPUWeight Number // 1 to 10000
	CPUs      Text   // a cpuset list: 0-3,8
	Mems      Text
	Pids      Number
	IO        []IOLimit
	IOWeight  Number // 1 to 10000
	HugePages []HugePageLimit
	OOMGroup  Flag
}

// CPUPeriod is the period of Limits.CPUQuota in microseconds, the kernel's default.
const CPUPeriod = 100000

// Any tells whether the profile says anything of limits.
func (l *Limits) Any() bool {
	return l.Memory.Set || l.MemoryHigh.Set || l.MemoryLow.Set || l.Swap.Set || l.CPUQuota.Set ||
		l.CPUWeight.Set || l.CPUs.Set || l.Mems.Set || l.Pids.Set || len(l.IO) > 0 || l.IOWeight.Set ||
		len(l.HugePages) > 0 || l.OOMGroup.Set
}

// kept tells whether there is a limit for the kernel to keep. What is max is kept
// by every new control group as it is, and asks for none.
func (l *Limits) kept() bool {
	return l.CPUWeight.Set || l.IOWeight.Set || l.CPUs.Set || l.Mems.Set || l.MemoryLow.Set || l.OOMGroup.V ||
		slices.ContainsFunc([]Number{l.Memory, l.MemoryHigh, l.Swap, l.CPUQuota, l.Pids}, bounds) ||
		slices.ContainsFunc(l.HugePages, func(h HugePageLimit) bool { return h.Limit != Unlimited }) ||
		slices.ContainsFunc(l.IO, func(d IOLimit) bool {
			return d.Weight.Set || bounds(d.Read) || bounds(d.Write) || bounds(d.ReadOps) || bounds(d.WriteOps)
		})
}

// bounds tells whether a limit is one: max is none.
func bounds(n Number) bool { return n.Set && n.V != Unlimited }

// IOLimit is what one block device may be used for.
type IOLimit struct {
	Device                         string // canonical path
	Major, Minor                   uint32
	Read, Write, ReadOps, WriteOps Number
	Weight                         Number
	Origin                         Origin
}

// HugePageLimit limits the huge pages of one size.
type HugePageLimit struct {
	PageSize string // as the kernel names it: 2MB, 1GB
	Limit    int64
	Origin   Origin
}

// RlimitInfinity is RLIM_INFINITY.
const RlimitInfinity = ^uint64(0)

// Rlimit is one resource limit of the process.
type Rlimit struct {
	Type       string // RLIMIT_NOFILE
	Soft, Hard uint64
	Origin     Origin
}
