package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// A setting is one value for one file of a cgroup v2 group.
type setting struct {
	controller string
	file       string
	value      string
	pointer    string // JSON pointer to where the OCI spec asks for it
	took       check  // whether what the file says afterwards is what was asked for
}

// A check compares what was written with what the kernel says it took.
type check func(wrote, reads string) bool

// settings translates what an OCI spec asks for into files of cgroup v2, in the order in which they are written.
// What cgroup v2 has no file for comes back as refusals.
//
// The device list is left out on purpose: it is no limit. What a program can reach is decided by the device nodes
// in the sandbox's own /dev, and a user namespace cannot make others (mknod(2): EPERM).
func settings(res *specs.LinuxResources) ([]setting, Refusals) {
	if res == nil {
		return nil, nil
	}
	t := translation{at: "/linux/resources"}
	t.cpu(res.CPU)
	t.memory(res.Memory)
	t.pids(res.Pids)
	t.blockIO(res.BlockIO)
	t.hugepages(res.HugepageLimits)
	t.rdma(res.Rdma)
	if n := res.Network; n != nil && (n.ClassID != nil || len(n.Priorities) > 0) {
		t.refuse("net_cls", "", "", "/network", "cgroup v2 has no network classes", "take network out of the resources")
	}
	t.unified(res.Unified)
	return t.set, t.refused
}

// Asked says whether resources ask for a limit at all: a list of devices is none.
func Asked(res *specs.LinuxResources) bool {
	set, refused := settings(res)
	return len(set)+len(refused) > 0
}

type translation struct {
	at      string
	set     []setting
	refused Refusals
}

func (t *translation) add(file, value, pointer string, took check) {
	controller, _, _ := strings.Cut(file, ".")
	s := setting{controller: controller, file: file, value: value, pointer: t.at + pointer, took: took}
	// The unified map comes last and wins over the field that means the same file, as in runc and crun; io.max is
	// one file for many devices, so its lines add up.
	if file != "io.max" && file != "io.weight" && file != "io.bfq.weight" && file != "rdma.max" {
		if i := slices.IndexFunc(t.set, func(o setting) bool { return o.file == file }); i >= 0 {
			t.set[i] = s
			return
		}
	}
	t.set = append(t.set, s)
}

func (t *translation) refuse(controller, file, value, pointer, reason, remedy string) {
	t.refused = append(t.refused, &Refused{Controller: controller, File: file, Value: value, Pointer: t.at + pointer, Reason: reason, Remedy: remedy})
}

func (t *translation) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	// cpuset first: a group without cpus of its own would follow its parent's.
	if c.Cpus != "" {
		t.add("cpuset.cpus", c.Cpus, "/cpu/cpus", sameSet)
	}
	if c.Mems != "" {
		t.add("cpuset.mems", c.Mems, "/cpu/mems", sameSet)
	}
	if c.Shares != nil && *c.Shares != 0 {
		// The curve that runc uses since 1.3.2: v1's default of 1024 becomes v2's default of 100.
		t.add("cpu.weight", strconv.FormatUint(cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares), 10), "/cpu/shares", sameText)
	}
	if c.Quota != nil && *c.Quota != 0 || c.Period != nil && *c.Period != 0 {
		quota, period, at := "max", uint64(100_000), "/cpu/quota"
		if c.Quota != nil && *c.Quota > 0 {
			quota = strconv.FormatInt(*c.Quota, 10)
		}
		if c.Period != nil && *c.Period != 0 {
			period = *c.Period
		}
		t.add("cpu.max", quota+" "+strconv.FormatUint(period, 10), at, sameText)
	}
	if c.Burst != nil {
		t.add("cpu.max.burst", strconv.FormatUint(*c.Burst, 10), "/cpu/burst", sameText)
	}
	if c.Idle != nil {
		t.add("cpu.idle", strconv.FormatInt(*c.Idle, 10), "/cpu/idle", sameText)
	}
	if c.RealtimeRuntime != nil && *c.RealtimeRuntime != 0 || c.RealtimePeriod != nil && *c.RealtimePeriod != 0 {
		t.refuse("cpu", "", "", "/cpu/realtimeRuntime", "cgroup v2 has no realtime budget", "take realtimeRuntime and realtimePeriod out of the resources")
	}
}

func (t *translation) memory(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	var limit int64
	if m.Limit != nil && *m.Limit != 0 {
		limit = *m.Limit
		t.add("memory.max", numberOrMax(limit), "/memory/limit", samePages)
	}
	if m.Swap != nil && *m.Swap != 0 {
		// In the OCI spec swap means memory and swap together, because cgroup v1 counted so.
		swap, err := cgroups.ConvertMemorySwapToCgroupV2Value(*m.Swap, limit)
		if err != nil {
			t.refuse("memory", "memory.swap.max", strconv.FormatInt(*m.Swap, 10), "/memory/swap", err.Error(), "give swap as memory and swap together, at least the memory limit")
		} else {
			t.add("memory.swap.max", numberOrMax(swap), "/memory/swap", samePages)
		}
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		t.add("memory.low", numberOrMax(*m.Reservation), "/memory/reservation", samePages)
	}
	if m.Kernel != nil && *m.Kernel > 0 {
		t.refuse("memory", "", strconv.FormatInt(*m.Kernel, 10), "/memory/kernel", "cgroup v2 counts the kernel's memory in with the program's", "set limit alone")
	}
	if m.KernelTCP != nil && *m.KernelTCP > 0 {
		t.refuse("memory", "", strconv.FormatInt(*m.KernelTCP, 10), "/memory/kernelTCP", "cgroup v2 counts socket buffers in with the program's memory", "set limit alone")
	}
	if m.Swappiness != nil {
		t.refuse("memory", "", strconv.FormatUint(*m.Swappiness, 10), "/memory/swappiness", "cgroup v2 has no swappiness for a group", "set swap, or the unified key memory.high")
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		t.refuse("memory", "", "", "/memory/disableOOMKiller", "cgroup v2 cannot switch its out-of-memory killer off", "set the unified key memory.high, which slows the program down instead")
	}
}

func (t *translation) pids(p *specs.LinuxPids) {
	switch {
	case p == nil:
	case p.Limit == 0:
		t.refuse("pids", "pids.max", "0", "/pids/limit", "with a limit of 0 not even the program itself could be started", "give at least 1, or -1 for no limit")
	default:
		t.add("pids.max", numberOrMax(p.Limit), "/pids/limit", sameText)
	}
}

func (t *translation) blockIO(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	if b.Weight != nil && *b.Weight != 0 {
		t.add("io.weight", "default "+strconv.FormatUint(cgroups.ConvertBlkIOToIOWeightValue(*b.Weight), 10), "/blockIO/weight", hasLine)
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		t.refuse("io", "", "", "/blockIO/leafWeight", "cgroup v2 has no leaf weight", "set weight")
	}
	for i, d := range b.WeightDevice {
		at := fmt.Sprintf("/blockIO/weightDevice/%d", i)
		if d.LeafWeight != nil && *d.LeafWeight != 0 {
			t.refuse("io", "", "", at, "cgroup v2 has no leaf weight", "set weight")
		}
		if d.Weight != nil && *d.Weight != 0 {
			t.add("io.weight", device(d.LinuxBlockIODevice)+" "+strconv.FormatUint(cgroups.ConvertBlkIOToIOWeightValue(*d.Weight), 10), at, hasLine)
		}
	}
	for _, list := range []struct {
		name, key string
		of        []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", "rbps", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "wbps", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "riops", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "wiops", b.ThrottleWriteIOPSDevice},
	} {
		for i, d := range list.of {
			rate := "max" // the OCI spec's 0 takes a limit away, as in cgroup v1
			if d.Rate != 0 {
				rate = strconv.FormatUint(d.Rate, 10)
			}
			t.add("io.max", device(d.LinuxBlockIODevice)+" "+list.key+"="+rate, fmt.Sprintf("/blockIO/%s/%d", list.name, i), hasDeviceLimits)
		}
	}
}

func (t *translation) hugepages(limits []specs.LinuxHugepageLimit) {
	for i, l := range limits {
		at := fmt.Sprintf("/hugepageLimits/%d", i)
		if !isPageSize(l.Pagesize) {
			t.refuse("hugetlb", "", l.Pagesize, at, "the page size is not one like 2MB or 1GB", "use a size that has a folder in /sys/kernel/mm/hugepages")
			continue
		}
		n := strconv.FormatUint(l.Limit, 10)
		t.add("hugetlb."+l.Pagesize+".max", n, at, sameHugepages(l.Pagesize))
		// On the reservation too (since Linux 5.7): mmap then fails in time, where the other limit alone would
		// end the program with SIGBUS when it touches the page.
		t.add("hugetlb."+l.Pagesize+".rsvd.max", n, at, sameHugepages(l.Pagesize))
	}
}

func (t *translation) rdma(all map[string]specs.LinuxRdma) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.ContainsAny(name, " \n") {
			t.refuse("rdma", "rdma.max", name, "/rdma", "no device has such a name", "see /sys/class/infiniband")
			continue
		}
		line := name
		if n := all[name].HcaHandles; n != nil {
			line += " hca_handle=" + strconv.FormatUint(uint64(*n), 10)
		}
		if n := all[name].HcaObjects; n != nil {
			line += " hca_object=" + strconv.FormatUint(uint64(*n), 10)
		}
		t.add("rdma.max", line, "/rdma/"+escapePointer(name), hasDeviceLimits)
	}
}

// unified takes the map that names files of cgroup v2 themselves.
func (t *translation) unified(files map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(files)) {
		at := "/unified/" + escapePointer(file)
		// "cgroup." files steer the group itself (freeze, kill, subtree_control): they are jail's. A slash would
		// lead out of the group.
		if !isControllerFile(file) {
			t.refuse("", file, files[file], at, "the key is not the name of a controller's file", "use a name like memory.high")
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(files[file]), "\n") {
			t.add(file, strings.TrimSpace(line), at, checkFor(file))
		}
	}
}

// isControllerFile says whether the name is CONTROLLER.WORD[.WORD...] of a controller that takes limits.
func isControllerFile(name string) bool {
	controller, rest, ok := strings.Cut(name, ".")
	if !ok || rest == "" || controller == "" || controller == "cgroup" {
		return false
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-') {
			return false
		}
	}
	return !strings.Contains(name, "..")
}

func device(d specs.LinuxBlockIODevice) string {
	return strconv.FormatInt(d.Major, 10) + ":" + strconv.FormatInt(d.Minor, 10)
}

// numberOrMax writes -1 as the kernel's "max".
func numberOrMax(n int64) string {
	if n < 0 || n == math.MaxInt64 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func isPageSize(s string) bool {
	digits := strings.TrimRight(s, "KMGB")
	if _, err := strconv.ParseUint(digits, 10, 32); err != nil {
		return false
	}
	switch s[len(digits):] {
	case "KB", "MB", "GB":
		return true
	}
	return false
}

// escapePointer escapes a key for a JSON pointer (RFC 6901).
func escapePointer(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// controllersOf lists the controllers that the settings need, each once, in the order of first use.
func controllersOf(set []setting) []string {
	var names []string
	for _, s := range set {
		if !slices.Contains(names, s.controller) {
			names = append(names, s.controller)
		}
	}
	return names
}
