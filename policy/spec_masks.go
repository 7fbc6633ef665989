package policy

import (
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// procMasked and sysMasked are files of the kernel that tell about the whole
// machine, or reach its hardware: what runc and Docker mask, and the symbol and
// page tables and the list of modules besides. Those that a kernel lacks are
// passed over by the runtime.
var procMasked = []string{
	"/proc/acpi", "/proc/asound", "/proc/bus", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/key-users",
	"/proc/keys", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags",
	"/proc/latency_stats", "/proc/modules", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	"/proc/vmallocinfo",
}

var sysMasked = []string{
	"/sys/devices/virtual/powercap", // counters of power use leak keys (CVE-2020-8694)
	"/sys/firmware", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
}

// procReadonly are switches of the kernel. A program that is root of its own
// user namespace may write to some of /proc/sys.
var procReadonly = []string{
	"/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
}

// masks writes linux.maskedPaths and linux.readonlyPaths: what of /proc and /sys
// concerns the machine and not the program, and what the profile hides.
func (c *compiler) masks(under *mountTree) {
	l := c.spec.Linux
	if c.shows("/proc", under) && c.r.Process.Proc.V != "pid" { // with pid there is nothing of the kernel to mask
		l.MaskedPaths = append(l.MaskedPaths, procMasked...)
		l.ReadonlyPaths = append(l.ReadonlyPaths, procReadonly...)
	}
	if c.shows("/sys", under) {
		l.MaskedPaths = append(l.MaskedPaths, sysMasked...)
	}
	c.cgroupTree(under)
	for _, h := range c.r.Hidden {
		if slices.Contains(l.MaskedPaths, h.Path) {
			continue
		}
		c.origin("/linux/maskedPaths/"+strconv.Itoa(len(l.MaskedPaths)), h.Origin)
		l.MaskedPaths = append(l.MaskedPaths, h.Path)
	}
}

// cgroupTree has the program see its own control group alone where it would see
// those of the whole machine, as the cgroup namespace has it. Without limits
// nothing is mounted that was not asked for.
func (c *compiler) cgroupTree(under *mountTree) {
	if above, covered := under.above(cgroupRoot); covered && above.hosts && c.r.ownCgroup() {
		c.spec.Mounts = append(c.spec.Mounts, specs.Mount{
			Destination: cgroupRoot, Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"},
		})
	}
}

// cgroupRoot is where every distribution mounts its control groups
// (file-hierarchy(7)).
const cgroupRoot = "/sys/fs/cgroup"

// shows tells whether anything of the host, or a new procfs, can be seen at dir
// or below.
func (c *compiler) shows(dir string, under *mountTree) bool {
	for i := range c.r.Filesystem {
		if e := &c.r.Filesystem[i]; isBelow(e.Path, dir) && (e.HostBacked() || e.Kind == KindProc) {
			return true
		}
	}
	_, covered := under.above(dir)
	return covered
}
