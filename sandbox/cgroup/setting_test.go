package cgroup

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func throttle(major, minor int64, rate uint64) specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return d
}

func weightDevice(major, minor int64, weight uint16) specs.LinuxWeightDevice {
	d := specs.LinuxWeightDevice{Weight: &weight}
	d.Major, d.Minor = major, minor
	return d
}

// lines writes settings and refusals down for comparison.
func lines(set []setting, refused Refusals) string {
	var b strings.Builder
	for _, s := range set {
		fmt.Fprintf(&b, "%s: %s=%s <- %s\n", s.controller, s.file, s.value, strings.TrimPrefix(s.pointer, "/linux/resources"))
	}
	for _, r := range refused {
		fmt.Fprintf(&b, "no %s <- %s: %s\n", r.Controller, strings.TrimPrefix(r.Pointer, "/linux/resources"), r.Reason)
	}
	return b.String()
}

// translated is what becomes of the same resources on both versions.
var translated = []struct {
	name   string
	res    *specs.LinuxResources
	v2, v1 string
}{
	{"no resources", nil, "", ""},
	{"empty resources", &specs.LinuxResources{}, "", ""},
	{"devices are no limit", &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}, "", ""},
	{
		"memory and no swap",
		&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(64 << 20))}},
		"memory: memory.max=67108864 <- /memory/limit\nmemory: memory.swap.max=0 <- /memory/swap\n",
		"memory: memory.limit_in_bytes=67108864 <- /memory/limit\nmemory: memory.memsw.limit_in_bytes=67108864 <- /memory/swap\n",
	},
	{
		"memory with swap beside it",
		&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(4096)), Swap: new(int64(12288)), Reservation: new(int64(8192))}},
		"memory: memory.max=4096 <- /memory/limit\nmemory: memory.swap.max=8192 <- /memory/swap\nmemory: memory.low=8192 <- /memory/reservation\n",
		"memory: memory.limit_in_bytes=4096 <- /memory/limit\nmemory: memory.memsw.limit_in_bytes=12288 <- /memory/swap\nmemory: memory.soft_limit_in_bytes=8192 <- /memory/reservation\n",
	},
	{
		"no limit is -1",
		&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(-1)), Swap: new(int64(-1))}, Pids: &specs.LinuxPids{Limit: -1}},
		"memory: memory.max=max <- /memory/limit\nmemory: memory.swap.max=max <- /memory/swap\npids: pids.max=max <- /pids/limit\n",
		"memory: memory.limit_in_bytes=-1 <- /memory/limit\nmemory: memory.memsw.limit_in_bytes=-1 <- /memory/swap\npids: pids.max=max <- /pids/limit\n",
	},
	{
		"swap less than memory, where it includes memory",
		&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(8192)), Swap: new(int64(4096))}},
		"memory: memory.max=8192 <- /memory/limit\nno memory <- /memory/swap: memory+swap limit should be >= memory limit\n",
		"memory: memory.limit_in_bytes=8192 <- /memory/limit\nmemory: memory.memsw.limit_in_bytes=4096 <- /memory/swap\n",
	},
	{
		"what only v1 has",
		&specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: new(uint64(10)), DisableOOMKiller: new(true), Kernel: new(int64(1)), KernelTCP: new(int64(1))}},
		"no memory <- /memory/kernel: cgroup v2 counts the kernel's memory in with the program's\n" +
			"no memory <- /memory/kernelTCP: cgroup v2 counts socket buffers in with the program's memory\n" +
			"no memory <- /memory/swappiness: cgroup v2 has no swappiness for a group\n" +
			"no memory <- /memory/disableOOMKiller: cgroup v2 cannot switch its out-of-memory killer off\n",
		"memory: memory.swappiness=10 <- /memory/swappiness\nmemory: memory.oom_control=oom_kill_disable 1 <- /memory/disableOOMKiller\n" +
			"no memory <- /memory/kernel: the kernel counts its own memory in with the program's\n" +
			"no memory <- /memory/kernelTCP: jail does not limit socket buffers apart\n",
	},
	{
		"cpu",
		&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: new(int64(50000)), Shares: new(uint64(1024)), Cpus: "0-1", Mems: "0", Burst: new(uint64(1000)), Idle: new(int64(1))}},
		"cpuset: cpuset.cpus=0-1 <- /cpu/cpus\ncpuset: cpuset.mems=0 <- /cpu/mems\ncpu: cpu.weight=100 <- /cpu/shares\n" +
			"cpu: cpu.max=50000 100000 <- /cpu/quota\ncpu: cpu.max.burst=1000 <- /cpu/burst\ncpu: cpu.idle=1 <- /cpu/idle\n",
		"cpuset: cpuset.cpus=0-1 <- /cpu/cpus\ncpuset: cpuset.mems=0 <- /cpu/mems\ncpu: cpu.shares=1024 <- /cpu/shares\n" +
			"cpu: cpu.cfs_quota_us=50000 <- /cpu/quota\ncpu: cpu.cfs_burst_us=1000 <- /cpu/burst\ncpu: cpu.idle=1 <- /cpu/idle\n",
	},
	{
		"cpu period without quota",
		&specs.LinuxResources{CPU: &specs.LinuxCPU{Period: new(uint64(20000)), Quota: new(int64(-1))}},
		"cpu: cpu.max=max 20000 <- /cpu/quota\n",
		"cpu: cpu.cfs_period_us=20000 <- /cpu/quota\ncpu: cpu.cfs_quota_us=-1 <- /cpu/quota\n",
	},
	{
		"a limit of no process at all",
		&specs.LinuxResources{Pids: &specs.LinuxPids{}},
		"no pids <- /pids/limit: with a limit of 0 not even the program itself could be started\n",
		"no pids <- /pids/limit: with a limit of 0 not even the program itself could be started\n",
	},
	{
		"disks",
		&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
			Weight:                 new(uint16(10)),
			ThrottleReadBpsDevice:  []specs.LinuxThrottleDevice{throttle(8, 0, 1<<20), throttle(8, 16, 2<<20)},
			ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{throttle(8, 0, 0)}, ThrottleReadIOPSDevice: []specs.LinuxThrottleDevice{throttle(8, 0, 100)},
			ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{throttle(8, 0, 200)},
		}},
		"io: io.weight=default 1 <- /blockIO/weight\nio: io.max=8:0 rbps=1048576 <- /blockIO/throttleReadBpsDevice/0\nio: io.max=8:16 rbps=2097152 <- /blockIO/throttleReadBpsDevice/1\n" +
			"io: io.max=8:0 wbps=max <- /blockIO/throttleWriteBpsDevice/0\nio: io.max=8:0 riops=100 <- /blockIO/throttleReadIOPSDevice/0\nio: io.max=8:0 wiops=200 <- /blockIO/throttleWriteIOPSDevice/0\n",
		"blkio: blkio.weight=10 <- /blockIO/weight\nblkio: blkio.throttle.read_bps_device=8:0 1048576 <- /blockIO/throttleReadBpsDevice/0\n" +
			"blkio: blkio.throttle.read_bps_device=8:16 2097152 <- /blockIO/throttleReadBpsDevice/1\nblkio: blkio.throttle.write_bps_device=8:0 0 <- /blockIO/throttleWriteBpsDevice/0\n" +
			"blkio: blkio.throttle.read_iops_device=8:0 100 <- /blockIO/throttleReadIOPSDevice/0\nblkio: blkio.throttle.write_iops_device=8:0 200 <- /blockIO/throttleWriteIOPSDevice/0\n",
	},
	{
		"weights of single disks",
		&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: new(uint16(10)), WeightDevice: []specs.LinuxWeightDevice{weightDevice(8, 0, 1000)}}},
		"io: io.weight=8:0 10000 <- /blockIO/weightDevice/0\nno io <- /blockIO/leafWeight: cgroup v2 has no leaf weight\n",
		"no blkio <- /blockIO/weightDevice: jail sets weights of single disks on cgroup v2 only\n",
	},
	{
		"huge pages",
		&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}, {Pagesize: "../2MB", Limit: 1}}},
		"hugetlb: hugetlb.2MB.max=4194304 <- /hugepageLimits/0\nhugetlb: hugetlb.2MB.rsvd.max=4194304 <- /hugepageLimits/0\nno hugetlb <- /hugepageLimits/1: the page size is not one like 2MB or 1GB\n",
		"hugetlb: hugetlb.2MB.limit_in_bytes=4194304 <- /hugepageLimits/0\nno hugetlb <- /hugepageLimits/1: the page size is not one like 2MB or 1GB\n",
	},
	{
		"rdma and network classes",
		&specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: new(uint32(3)), HcaObjects: new(uint32(9))}}, Network: &specs.LinuxNetwork{ClassID: new(uint32(1))}},
		"rdma: rdma.max=mlx5_1 hca_handle=3 hca_object=9 <- /rdma/mlx5_1\nno net_cls <- /network: cgroup v2 has no network classes\n",
		"no net_cls <- /network: jail does not mark packets with network classes\nno rdma <- /rdma: jail limits rdma on cgroup v2 only\n",
	},
	{
		"the unified map, and that it wins",
		&specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: new(int64(4096))},
			Unified: map[string]string{
				"memory.max": "8192", "memory.high": "4096", "memory.swap.max": "0", "memory.low": "1M", "memory.oom.group": "1", "cpu.weight": "100",
				"cpu.max": "20000 50000", "io.max": "8:0 rbps=1 wiops=2\n8:16 wbps=max", "io.weight": "default 100", "pids.max": "7", "cpuset.cpus": "0", "hugetlb.1GB.max": "0",
			},
		},
		"memory: memory.max=8192 <- /unified/memory.max\ncpu: cpu.max=20000 50000 <- /unified/cpu.max\ncpu: cpu.weight=100 <- /unified/cpu.weight\ncpuset: cpuset.cpus=0 <- /unified/cpuset.cpus\n" +
			"hugetlb: hugetlb.1GB.max=0 <- /unified/hugetlb.1GB.max\nio: io.max=8:0 rbps=1 wiops=2 <- /unified/io.max\nio: io.max=8:16 wbps=max <- /unified/io.max\n" +
			"io: io.weight=default 100 <- /unified/io.weight\nmemory: memory.high=4096 <- /unified/memory.high\nmemory: memory.low=1M <- /unified/memory.low\nmemory: memory.oom.group=1 <- /unified/memory.oom.group\n" +
			"memory: memory.swap.max=0 <- /unified/memory.swap.max\npids: pids.max=7 <- /unified/pids.max\n",
		"memory: memory.limit_in_bytes=8192 <- /unified/memory.max\nmemory: memory.memsw.limit_in_bytes=8192 <- /unified/memory.swap.max\nmemory: memory.soft_limit_in_bytes=1048576 <- /unified/memory.low\n" +
			"cpu: cpu.cfs_period_us=50000 <- /unified/cpu.max\ncpu: cpu.cfs_quota_us=20000 <- /unified/cpu.max\ncpu: cpu.shares=1024 <- /unified/cpu.weight\ncpuset: cpuset.cpus=0 <- /unified/cpuset.cpus\n" +
			"hugetlb: hugetlb.1GB.limit_in_bytes=0 <- /unified/hugetlb.1GB.max\nblkio: blkio.throttle.read_bps_device=8:0 1 <- /unified/io.max\nblkio: blkio.throttle.write_iops_device=8:0 2 <- /unified/io.max\n" +
			"blkio: blkio.throttle.write_bps_device=8:16 0 <- /unified/io.max\nblkio: blkio.weight=100 <- /unified/io.weight\npids: pids.max=7 <- /unified/pids.max\n" +
			"no memory <- /unified/memory.high: cgroup v1 has nothing that means the same\nno memory <- /unified/memory.oom.group: cgroup v1 has nothing that means the same\n",
	},
	{
		"a weight for all disks and one for a single disk",
		&specs.LinuxResources{Unified: map[string]string{"io.weight": "default 100\n8:0 7"}},
		"io: io.weight=default 100 <- /unified/io.weight\nio: io.weight=8:0 7 <- /unified/io.weight\n",
		"blkio: blkio.weight=100 <- /unified/io.weight\nno blkio <- /unified/io.weight: cgroup v1 has nothing that means the same\n",
	},
	{
		"what cgroup v1 never does need not be switched off",
		&specs.LinuxResources{Unified: map[string]string{"memory.high": "max"}},
		"memory: memory.high=max <- /unified/memory.high\n",
		"",
	},
	{
		"keys that are no controller's files",
		&specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1", "../memory.max": "1", "memory": "1", "memory.": "1", "memory.a..b": "1", "": "1"}},
		"no  <- /unified/: the key is not the name of a controller's file\nno  <- /unified/..~1memory.max: the key is not the name of a controller's file\n" +
			"no  <- /unified/cgroup.procs: the key is not the name of a controller's file\nno  <- /unified/memory: the key is not the name of a controller's file\n" +
			"no  <- /unified/memory.: the key is not the name of a controller's file\nno  <- /unified/memory.a..b: the key is not the name of a controller's file\n",
		"no  <- /unified/: cgroup v1 has nothing that means the same\nno  <- /unified/..~1memory.max: cgroup v1 has nothing that means the same\n" +
			"no cgroup <- /unified/cgroup.procs: cgroup v1 has nothing that means the same\nno memory <- /unified/memory: cgroup v1 has nothing that means the same\n" +
			"no memory <- /unified/memory.: cgroup v1 has nothing that means the same\nno memory <- /unified/memory.a..b: cgroup v1 has nothing that means the same\n",
	},
}

func TestSettings(t *testing.T) {
	for _, test := range translated {
		t.Run(test.name, func(t *testing.T) {
			if got := lines(settings(test.res)); got != test.v2 {
				t.Errorf("cgroup v2:\n%s\nwant:\n%s", got, test.v2)
			}
			if got, want := Asked(test.res), test.v2 != ""; got != want {
				t.Errorf("asked for a limit: %v, want %v", got, want)
			}
			limits, refused := settingsV1(test.res)
			var set []setting
			for _, l := range limits {
				set = append(set, l.setting)
			}
			if got := lines(set, refused); got != test.v1 {
				t.Errorf("cgroup v1:\n%s\nwant:\n%s", got, test.v1)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	tests := []struct {
		file, wrote, reads string
		want               bool
	}{
		{"memory.max", "67108864", "67108864", true},
		{"memory.max", "67108865", "67108864", true},
		{"memory.max", "4095", "0", true},
		{"memory.max", "64M", "67108864", true},
		{"memory.max", "max", "max", true},
		{"memory.max", fmt.Sprint(math.MaxInt64), "max", true},
		{"memory.max", "67108864", "max", false},
		{"memory.max", "67108864", "33554432", false},
		{"memory.max", "12x", "12", false},
		{"cpu.max", "50000 100000", "50000 100000", true},
		{"cpu.max", "50000", "50000 100000", true},
		{"cpu.max", "50000 100000", "max 100000", false},
		{"cpuset.cpus", "0,1", "0-1", true},
		{"cpuset.cpus", "0-3", "0-1", false},
		{"cpuset.cpus", "a", "a", false},
		{"cpuset.cpus", "3-1", "3-1", false},
		{"cpu.weight", "200", "200", true},
		{"cpu.weight", "200", "100", false},
		{"io.weight", "default 200", "default 200", true},
		{"io.weight", "200", "default 200\n8:0 50", true},
		{"io.weight", "8:0 50", "default 200\n8:0 50", true},
		{"io.weight", "8:0 50", "default 50", false},
		{"io.max", "8:0 rbps=1 wiops=2", "8:0 rbps=1 wbps=max riops=max wiops=2", true},
		{"io.max", "8:0 rbps=1", "8:16 rbps=1 wbps=max riops=max wiops=max", false},
		{"io.max", "8:0 rbps=max", "", true},
		{"io.max", "8:0 rbps=max", "8:0 rbps=1 wbps=max riops=max wiops=max", false},
		{"io.max", "", "", false},
		{"hugetlb.2MB.max", "3145728", "2097152", true},
		{"hugetlb.2MB.max", "2097152", "0", false},
		{"hugetlb.1GB.max", "max", "9223372035781033984", true},
		{"misc.max", "a 1", "a 1", true},
	}
	for _, test := range tests {
		if got := checkFor(test.file)(test.wrote, test.reads); got != test.want {
			t.Errorf("%s: wrote %q, reads %q: taken %v, want %v", test.file, test.wrote, test.reads, got, test.want)
		}
	}
}

func TestSharesForWeight(t *testing.T) {
	for weight, want := range map[uint64]uint64{1: 2, 100: 1024, 10000: 262144} {
		if got := sharesFor(weight); got != want {
			t.Errorf("sharesFor(%d) = %d, want %d", weight, got, want)
		}
	}
}

func TestBFQWeight(t *testing.T) {
	for in, want := range map[string]string{"default 1": "default 1", "default 100": "default 100", "8:0 10000": "8:0 1000", "5050": "550"} {
		if got := bfqWeight(in); got != want {
			t.Errorf("bfqWeight(%q) = %q, want %q", in, got, want)
		}
	}
}
