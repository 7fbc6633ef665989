package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// settingsV1 translates what an OCI spec asks for into limits of cgroup v1. Keys of the unified map, which name
// files of cgroup v2, are taken where v1 has something that means the same.
func settingsV1(res *specs.LinuxResources) ([]limitV1, Refusals) {
	if res == nil {
		return nil, nil
	}
	t := translationV1{at: "/linux/resources"}
	t.memory(res.Memory, res.Unified)
	t.cpu(res.CPU)
	if p := res.Pids; p != nil {
		t.pids(p.Limit, "/pids/limit")
	}
	t.blockIO(res.BlockIO)
	for i, l := range res.HugepageLimits {
		at := fmt.Sprintf("/hugepageLimits/%d", i)
		if !isPageSize(l.Pagesize) {
			t.refuse("hugetlb", l.Pagesize, at, "the page size is not one like 2MB or 1GB", "use a size that has a folder in /sys/kernel/mm/hugepages")
			continue
		}
		t.add("hugetlb", "hugetlb."+l.Pagesize+".limit_in_bytes", strconv.FormatUint(l.Limit, 10), at, sameHugepages(l.Pagesize),
			&cgroups.Resources{HugetlbLimit: []*cgroups.HugepageLimit{{Pagesize: l.Pagesize, Limit: l.Limit}}})
	}
	if n := res.Network; n != nil && (n.ClassID != nil || len(n.Priorities) > 0) {
		t.refuse("net_cls", "", "/network", "jail does not mark packets with network classes", "take network out of the resources")
	}
	if len(res.Rdma) > 0 {
		t.refuse("rdma", "", "/rdma", "jail limits rdma on cgroup v2 only", "take rdma out of the resources")
	}
	for _, key := range slices.Sorted(maps.Keys(res.Unified)) {
		// A line for each disk, as in cgroup v2: what v1 has for one it may not have for the next.
		for line := range strings.SplitSeq(strings.TrimSpace(res.Unified[key]), "\n") {
			t.unified(key, strings.TrimSpace(line))
		}
	}
	return t.set, t.refused
}

type translationV1 struct {
	at      string
	set     []limitV1
	refused Refusals
}

func (t *translationV1) add(controller, file, value, pointer string, took check, r *cgroups.Resources) {
	r.SkipDevices, r.SkipFreezeOnSet = true, true
	t.set = append(t.set, limitV1{setting{controller, file, value, t.at + pointer, took}, r})
}

func (t *translationV1) refuse(controller, value, pointer, reason, remedy string) {
	t.refused = append(t.refused, &Refused{Controller: controller, Value: value, Pointer: t.at + pointer, Reason: reason, Remedy: remedy})
}

// memory takes both forms at once: v1 limits memory and swap together, so swap alone needs to know the other.
func (t *translationV1) memory(m *specs.LinuxMemory, unified map[string]string) {
	var limit, swap, low int64
	limitAt, swapAt, lowAt := "/memory/limit", "/memory/swap", "/memory/reservation"
	if m != nil {
		limit, swap, low = value(m.Limit), value(m.Swap), value(m.Reservation)
	}
	for key, into := range map[string]*int64{"memory.max": &limit, "memory.low": &low} {
		if text, ok := unified[key]; ok {
			n, ok := bytesV1(text)
			if !ok {
				t.refuse("memory", text, "/unified/"+key, "it is no size", "give bytes, or max")
				continue
			}
			*into = n
			if key == "memory.max" {
				limitAt = "/unified/" + key
			} else {
				lowAt = "/unified/" + key
			}
		}
	}
	if text, ok := unified["memory.swap.max"]; ok {
		n, ok := bytesV1(text)
		switch {
		case !ok:
			t.refuse("memory", text, "/unified/memory.swap.max", "it is no size", "give bytes, or max")
		case n < 0:
			swap, swapAt = -1, "/unified/memory.swap.max"
		case limit <= 0:
			t.refuse("memory", text, "/unified/memory.swap.max", "cgroup v1 limits swap only together with memory", "set a memory limit as well")
		default:
			swap, swapAt = limit+n, "/unified/memory.swap.max"
		}
	}
	if limit != 0 {
		t.add("memory", "memory.limit_in_bytes", strconv.FormatInt(max(limit, -1), 10), limitAt, sameCount, &cgroups.Resources{Memory: max(limit, -1)})
	}
	if swap != 0 {
		t.add("memory", "memory.memsw.limit_in_bytes", strconv.FormatInt(max(swap, -1), 10), swapAt, sameCount, &cgroups.Resources{MemorySwap: max(swap, -1)})
	}
	if low != 0 {
		t.add("memory", "memory.soft_limit_in_bytes", strconv.FormatInt(max(low, -1), 10), lowAt, sameCount, &cgroups.Resources{MemoryReservation: max(low, -1)})
	}
	if m == nil {
		return
	}
	if m.Kernel != nil && *m.Kernel > 0 {
		t.refuse("memory", strconv.FormatInt(*m.Kernel, 10), "/memory/kernel", "the kernel counts its own memory in with the program's", "set limit alone")
	}
	if m.KernelTCP != nil && *m.KernelTCP > 0 {
		t.refuse("memory", strconv.FormatInt(*m.KernelTCP, 10), "/memory/kernelTCP", "jail does not limit socket buffers apart", "set limit alone")
	}
	if m.Swappiness != nil {
		t.add("memory", "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10), "/memory/swappiness", sameText, &cgroups.Resources{MemorySwappiness: m.Swappiness})
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		t.add("memory", "memory.oom_control", "oom_kill_disable 1", "/memory/disableOOMKiller", hasLine, &cgroups.Resources{OomKillDisable: true})
	}
}

func (t *translationV1) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	t.cpuset(c.Cpus, "cpus", "/cpu/cpus")
	t.cpuset(c.Mems, "mems", "/cpu/mems")
	if c.Shares != nil && *c.Shares != 0 {
		t.add("cpu", "cpu.shares", strconv.FormatUint(*c.Shares, 10), "/cpu/shares", sameText, &cgroups.Resources{CpuShares: *c.Shares})
	}
	t.quota(value(c.Quota), valueU(c.Period), "/cpu/quota")
	if c.Burst != nil {
		t.add("cpu", "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10), "/cpu/burst", sameText, &cgroups.Resources{CpuBurst: c.Burst})
	}
	if c.Idle != nil {
		t.add("cpu", "cpu.idle", strconv.FormatInt(*c.Idle, 10), "/cpu/idle", sameText, &cgroups.Resources{CPUIdle: c.Idle})
	}
	if value(c.RealtimeRuntime) != 0 || valueU(c.RealtimePeriod) != 0 {
		t.refuse("cpu", "", "/cpu/realtimeRuntime", "jail gives no realtime budget", "take realtimeRuntime and realtimePeriod out of the resources")
	}
}

func (t *translationV1) cpuset(list, what, pointer string) {
	if list == "" {
		return
	}
	r := &cgroups.Resources{CpusetCpus: list}
	if what == "mems" {
		r = &cgroups.Resources{CpusetMems: list}
	}
	t.add("cpuset", "cpuset."+what, list, pointer, sameSet, r)
}

func (t *translationV1) quota(quota int64, period uint64, pointer string) {
	if period != 0 {
		t.add("cpu", "cpu.cfs_period_us", strconv.FormatUint(period, 10), pointer, sameText, &cgroups.Resources{CpuPeriod: period})
	}
	if quota != 0 {
		t.add("cpu", "cpu.cfs_quota_us", strconv.FormatInt(max(quota, -1), 10), pointer, sameText, &cgroups.Resources{CpuQuota: max(quota, -1)})
	}
}

func (t *translationV1) pids(limit int64, pointer string) {
	if limit == 0 {
		t.refuse("pids", "0", pointer, "with a limit of 0 not even the program itself could be started", "give at least 1, or -1 for no limit")
		return
	}
	t.add("pids", "pids.max", numberOrMax(limit), pointer, sameText, &cgroups.Resources{PidsLimit: new(max(limit, -1))})
}

func (t *translationV1) blockIO(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	if b.Weight != nil && *b.Weight != 0 {
		t.weight(*b.Weight, "/blockIO/weight")
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 || len(b.WeightDevice) > 0 {
		t.refuse("blkio", "", "/blockIO/weightDevice", "jail sets weights of single disks on cgroup v2 only", "set weight for all disks")
	}
	for _, list := range []struct {
		name, file string
		of         []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", "read_bps_device", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "write_bps_device", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "read_iops_device", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "write_iops_device", b.ThrottleWriteIOPSDevice},
	} {
		for i, d := range list.of {
			t.throttle(list.file, d.Major, d.Minor, d.Rate, fmt.Sprintf("/blockIO/%s/%d", list.name, i))
		}
	}
}

func (t *translationV1) weight(n uint16, pointer string) {
	t.add("blkio", "blkio.weight", strconv.Itoa(int(n)), pointer, hasWeight, &cgroups.Resources{BlkioWeight: n})
}

func (t *translationV1) throttle(file string, major, minor int64, rate uint64, pointer string) {
	line, took := throttled(major, minor, rate)
	list := []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(major, minor, rate)}
	r := &cgroups.Resources{}
	switch file {
	case "read_bps_device":
		r.BlkioThrottleReadBpsDevice = list
	case "write_bps_device":
		r.BlkioThrottleWriteBpsDevice = list
	case "read_iops_device":
		r.BlkioThrottleReadIOPSDevice = list
	case "write_iops_device":
		r.BlkioThrottleWriteIOPSDevice = list
	}
	t.add("blkio", "blkio.throttle."+file, line, pointer, took, r)
}

// unified takes a key of cgroup v2.
func (t *translationV1) unified(key, text string) {
	at := "/unified/" + escapePointer(key)
	controller, _, _ := strings.Cut(key, ".")
	number, err := strconv.ParseInt(strings.Replace(text, "max", "-1", 1), 10, 64)
	switch {
	case key == "memory.max", key == "memory.low", key == "memory.swap.max":
		return // in memory
	case key == "memory.high" && text == "max":
		return // v1 never slows a program down
	case key == "pids.max" && err == nil:
		t.pids(number, at)
		return
	case key == "cpuset.cpus", key == "cpuset.mems":
		t.cpuset(text, strings.TrimPrefix(key, "cpuset."), at)
		return
	case key == "cpu.weight" && err == nil && number >= 1 && number <= 10000:
		shares := sharesFor(uint64(number))
		t.add("cpu", "cpu.shares", strconv.FormatUint(shares, 10), at, sameText, &cgroups.Resources{CpuShares: shares})
		return
	case key == "cpu.max":
		if t.cpuMax(text, at) {
			return
		}
	case key == "io.weight":
		// On v1's scale the default is 500 of 1000 for cfq and 100 of 1000 for bfq, which is what is left.
		if n, err := strconv.ParseUint(strings.TrimPrefix(text, "default "), 10, 16); err == nil && n >= 1 && n <= 10000 {
			w, _ := strconv.ParseUint(bfqWeight(strconv.FormatUint(n, 10)), 10, 16)
			t.weight(uint16(max(w, 10)), at)
			return
		}
	case key == "io.max":
		if t.ioMax(text, at) {
			return
		}
	case strings.HasPrefix(key, "hugetlb.") && err == nil:
		if number < 0 {
			return // a new group has no limit
		}
		if size, ok := strings.CutSuffix(strings.TrimPrefix(key, "hugetlb."), ".max"); ok && isPageSize(size) {
			t.add("hugetlb", "hugetlb."+size+".limit_in_bytes", text, at, sameHugepages(size),
				&cgroups.Resources{HugetlbLimit: []*cgroups.HugepageLimit{{Pagesize: size, Limit: uint64(number)}}})
			return
		}
	}
	t.refused = append(t.refused, &Refused{
		Controller: v1Name(controller), File: key, Value: text, Pointer: t.at + at,
		Reason: "cgroup v1 has nothing that means the same", Remedy: "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
	})
}

func (t *translationV1) cpuMax(text, at string) bool {
	f := strings.Fields(text)
	if len(f) == 0 || len(f) > 2 {
		return false
	}
	quota, period := int64(-1), uint64(100_000)
	var err error
	if f[0] != "max" {
		if quota, err = strconv.ParseInt(f[0], 10, 64); err != nil || quota <= 0 {
			return false
		}
	}
	if len(f) == 2 {
		if period, err = strconv.ParseUint(f[1], 10, 64); err != nil {
			return false
		}
	}
	t.quota(quota, period, at)
	return true
}

func (t *translationV1) ioMax(line, at string) bool {
	f := strings.Fields(line)
	if len(f) < 2 {
		return false
	}
	var major, minor int64
	if n, err := fmt.Sscanf(f[0], "%d:%d", &major, &minor); n != 2 || err != nil {
		return false
	}
	for _, word := range f[1:] {
		key, value, _ := strings.Cut(word, "=")
		rate, err := strconv.ParseUint(strings.Replace(value, "max", "0", 1), 10, 64)
		file, ok := map[string]string{
			"rbps": "read_bps_device", "wbps": "write_bps_device", "riops": "read_iops_device", "wiops": "write_iops_device",
		}[key]
		if err != nil || !ok {
			return false
		}
		t.throttle(file, major, minor, rate, at)
	}
	return true
}

// sharesFor turns v2's cpu.weight back into v1's shares: the most that come to this weight along the curve that
// goes the other way, so that the default of 100 becomes the default of 1024.
func sharesFor(weight uint64) uint64 {
	return uint64(1 + sort.Search(262144-1, func(i int) bool {
		return cgroups.ConvertCPUSharesToCgroupV2Value(uint64(i+2)) > weight
	}))
}

// bytesV1 reads a size of cgroup v2's as v1 takes it: -1 for none.
func bytesV1(text string) (int64, bool) {
	if text == "max" {
		return -1, true
	}
	n, ok := parseSize(text)
	return int64(min(n, math.MaxInt64)), ok
}

func value(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

func valueU(p *uint64) uint64 {
	if p == nil {
		return 0
	}
	return *p
}
