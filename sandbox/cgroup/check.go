package cgroup

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// checkFor picks how a file that a spec names itself is compared after writing.
func checkFor(file string) check {
	switch file {
	case "memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "memory.swap.high", "memory.zswap.max":
		return samePages
	case "cpuset.cpus", "cpuset.mems", "cpuset.cpus.exclusive":
		return sameSet
	case "cpu.max":
		return sameQuota
	case "io.max", "rdma.max", "io.latency":
		return hasDeviceLimits
	case "io.weight", "io.bfq.weight":
		return hasWeight
	}
	if rest, ok := strings.CutPrefix(file, "hugetlb."); ok {
		size, _, _ := strings.Cut(rest, ".")
		if isPageSize(size) {
			return sameHugepages(size)
		}
	}
	return sameText
}

func sameText(wrote, reads string) bool { return wrote == reads }

// samePages compares sizes the way the kernel keeps them: rounded down to whole pages (page_counter_memparse in
// mm/page_counter.c), with the units that memparse takes.
func samePages(wrote, reads string) bool {
	return sameRounded(wrote, reads, uint64(os.Getpagesize()))
}

func sameHugepages(size string) check {
	page, _ := parseSize(strings.TrimSuffix(size, "B"))
	return func(wrote, reads string) bool { return sameRounded(wrote, reads, page) }
}

func sameRounded(wrote, reads string, unit uint64) bool {
	if wrote == reads {
		return true
	}
	w, okw := parseSize(wrote)
	r, okr := parseSize(reads)
	if !okw || !okr {
		return false
	}
	if w >= math.MaxInt64/unit*unit {
		return r >= math.MaxInt64/unit*unit
	}
	return w/unit*unit == r
}

// parseSize reads a number as memparse in the kernel's lib/cmdline.c does: with K, M, G, T as powers of 1024.
func parseSize(s string) (uint64, bool) {
	if s == "max" {
		return math.MaxUint64, true
	}
	shift := 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMGT", s[n-1]&^0x20); i >= 0 {
			shift, s = 10*(i+1), s[:n-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, false
	}
	return n << shift, true
}

// sameSet compares lists like 0-2,7: the kernel writes them back in a form of its own.
func sameSet(wrote, reads string) bool {
	w, okw := parseSet(wrote)
	r, okr := parseSet(reads)
	return okw && okr && slices.Equal(w, r)
}

// parseSet reads a list of numbers and ranges into sorted single numbers.
func parseSet(s string) ([]int, bool) {
	var all []int
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.Atoi(from)
		if err != nil || a < 0 {
			return nil, false
		}
		b, err := strconv.Atoi(to)
		if err != nil || b < a || b > 1<<16 {
			return nil, false
		}
		for ; a <= b; a++ {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), true
}

// sameQuota compares "quota period", where the period may have been left out.
func sameQuota(wrote, reads string) bool {
	w, r := strings.Fields(wrote), strings.Fields(reads)
	return len(r) == 2 && (len(w) == 1 && w[0] == r[0] || slices.Equal(w, r))
}

// hasLine looks for the whole line among those that the file has, one a device.
func hasLine(wrote, reads string) bool {
	for line := range strings.SplitSeq(reads, "\n") {
		if line == wrote {
			return true
		}
	}
	return false
}

// hasWeight is hasLine for a weight that may have been written without its "default".
func hasWeight(wrote, reads string) bool {
	return hasLine(wrote, reads) || hasLine("default "+wrote, reads) || wrote == reads
}

// hasDeviceLimits looks for the device's line and in it for each KEY=VALUE. A device that has no limit at all has
// no line, which is what "max" asks for.
func hasDeviceLimits(wrote, reads string) bool {
	words := strings.Fields(wrote)
	if len(words) == 0 {
		return false
	}
	var have []string
	for line := range strings.SplitSeq(reads, "\n") {
		if f := strings.Fields(line); len(f) > 0 && f[0] == words[0] {
			have = f[1:]
		}
	}
	for _, w := range words[1:] {
		if !slices.Contains(have, w) && !(have == nil && strings.HasSuffix(w, "=max")) {
			return false
		}
	}
	return true
}
