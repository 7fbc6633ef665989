package running

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Usage is what the processes of a sandbox use, for one that has no cgroup to count it.
type Usage struct {
	// Processes counts them, pid 1 included.
	Processes int
	// Memory is what is resident, in bytes. What processes share counts for each.
	Memory uint64
	// CPU is the time they have used, and those they have waited for.
	CPU time.Duration
}

// clockTick is what /proc counts times in: USER_HZ, the same on every architecture that Go runs on (times(2)).
const clockTick = time.Second / 100

// Usages adds up /proc below each first process: what happens in a pid namespace descends from its pid 1.
func Usages(firsts []int) map[int]Usage {
	type stat struct {
		parent int
		Usage
	}
	all := map[int]stat{}
	page := uint64(os.Getpagesize())
	for pid := range processIDs {
		p, err := openProcess(pid)
		if err != nil {
			continue
		}
		text, err := p.read("stat")
		p.close()
		// The fields behind the name, which may hold anything: state is the third of proc_pid_stat(5).
		f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if err != nil || len(f) < 22 {
			continue
		}
		field := func(n int) uint64 {
			v, _ := strconv.ParseUint(f[n-3], 10, 64)
			return v
		}
		all[pid] = stat{int(field(4)), Usage{1, field(24) * page, time.Duration(field(14)+field(15)+field(16)+field(17)) * clockTick}}
	}
	out := map[int]Usage{}
	for pid, s := range all {
		// Parents may have changed while they were read; no chain of them is longer than the list.
		at := pid
		for range len(all) {
			if sum, wanted := out[at]; wanted || slices.Contains(firsts, at) {
				out[at] = Usage{sum.Processes + s.Processes, sum.Memory + s.Memory, sum.CPU + s.CPU}
				break
			}
			up, ok := all[at]
			if !ok {
				break
			}
			at = up.parent
		}
	}
	return out
}
