package policy

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// unitFactor gives what a unit of size stands for. K, M, G and T are powers of
// 1024, as in systemd and the cgroup files, with iB or without; KB, MB, GB and TB
// are powers of 1000, as on a disk's label.
func unitFactor(unit string) (uint64, bool) {
	if unit == "" || unit == "B" {
		return 1, true
	}
	i := strings.IndexByte("KMGT", unit[0]) + 1
	if unit[0] == 'k' {
		i = 1
	}
	if i == 0 {
		return 0, false
	}
	switch unit[1:] {
	case "", "iB":
		return 1 << (10 * i), true
	case "B":
		return [...]uint64{1e3, 1e6, 1e9, 1e12}[i-1], true
	}
	return 0, false
}

// splitUnit parts "1.5G" into "1.5" and "G".
func splitUnit(s string) (number, unit string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	return s[:i], strings.TrimSpace(s[i:])
}

const sizeFix = "write a size as 512M, 4G or 1500MB"

// scaled multiplies a decimal number by a factor, without a float's rounding
// for whole numbers.
func scaled(number string, factor uint64) (int64, bool) {
	if whole, err := strconv.ParseUint(number, 10, 64); err == nil {
		if whole > math.MaxInt64/factor {
			return 0, false
		}
		return int64(whole * factor), true
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f*float64(factor) >= math.MaxInt64 {
		return 0, false
	}
	return int64(f * float64(factor)), true
}

// parseSize reads a number of bytes.
func parseSize(s string) (int64, *varError) {
	if strings.HasPrefix(s, "-") {
		return 0, &varError{quote(s) + " is negative", sizeFix}
	}
	number, unit := splitUnit(s)
	factor, known := unitFactor(unit)
	switch {
	case number == "" || strings.Count(number, ".") > 1 || number == ".":
		return 0, &varError{quote(s) + " is not a size", sizeFix}
	case !known:
		return 0, &varError{"unknown unit " + quote(unit) + " in " + quote(s), "units are K, M, G, T (powers of 1024) and KB, MB, GB, TB (powers of 1000)"}
	}
	n, ok := scaled(number, factor)
	if !ok {
		return 0, &varError{quote(s) + " is too large", "the largest size is 8388607T"}
	}
	return n, nil
}

// parseLimitSize reads a size or max.
func parseLimitSize(s string) (int64, *varError) {
	if s == "max" {
		return Unlimited, nil
	}
	return parseSize(s)
}

// parseRate reads bytes a second.
func parseRate(s string) (int64, *varError) {
	n, err := parseLimitSize(strings.TrimSuffix(s, "/s"))
	if err != nil {
		err = &varError{err.cause, "write a rate as 50MB/s"}
	} else if n == 0 {
		err = &varError{"a rate of 0 would stop the device", "leave the key out, or write a rate as 50MB/s"}
	}
	return n, err
}

// parseOps reads operations a second.
func parseOps(s string) (int64, *varError) {
	s = strings.TrimSuffix(s, "/s")
	switch n, err := strconv.ParseUint(s, 10, 62); {
	case err != nil:
	case n == 0:
		return 0, &varError{"a rate of 0 would stop the device", "leave the key out, or write a rate as 1000/s"}
	case n >= math.MaxUint32:
		// The kernel keeps an unsigned int, whose largest value means no limit (tg_set_limit in block/blk-throttle.c).
		return 0, &varError{quote(s) + " is more operations than Linux can count", "at most 4294967294, or max for no limit"}
	}
	return parseCount(s, "operations")
}

// parseCount reads a whole number above 0, or max.
func parseCount(s, of string) (int64, *varError) {
	if s == "max" {
		return Unlimited, nil
	}
	n, err := strconv.ParseUint(s, 10, 62)
	switch {
	case strings.HasPrefix(s, "-"):
		return 0, &varError{quote(s) + " is negative", "write a whole number above 0, or max"}
	case errors.Is(err, strconv.ErrRange):
		return 0, &varError{quote(s) + " is too large", "write max for no limit"}
	case err != nil:
		return 0, &varError{quote(s) + " is not a number of " + of, "write a whole number above 0, or max"}
	case n == 0:
		return 0, &varError{"0 " + of + " would stop the program from starting", "write a whole number above 0, or max"}
	}
	return int64(n), nil
}

// parseCPU reads processor time as microseconds a CPUPeriod.
func parseCPU(s string) (int64, *varError) {
	const fix = "write 200% or 2 for two processors' worth"
	if s == "max" {
		return Unlimited, nil
	}
	if strings.HasPrefix(s, "-") {
		return 0, &varError{quote(s) + " is negative", fix}
	}
	number, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.ContainsAny(number, "eExXpPnN_") {
		return 0, &varError{quote(s) + " is not an amount of processor time", fix}
	}
	if percent {
		f /= 100
	}
	quota := math.Round(f * CPUPeriod)
	// The kernel refuses a quota under 1 ms (CONFIG_CFS_BANDWIDTH,
	// min_cfs_quota_period).
	if quota < 1000 {
		return 0, &varError{quote(s) + " is less than the kernel can give", "1% is the least"}
	}
	if quota > 1e12 {
		return 0, &varError{quote(s) + " is too large", "write max for no limit"}
	}
	return int64(quota), nil
}

// parseBitrate reads bits a second.
func parseBitrate(s string) (int64, *varError) {
	const fix = "write a rate as 10Mbit/s or 1MB/s"
	if strings.HasPrefix(s, "-") {
		return 0, &varError{quote(s) + " is negative", fix}
	}
	number, unit := splitUnit(strings.TrimSuffix(s, "/s"))
	if number == "" || strings.Count(number, ".") > 1 || number == "." {
		return 0, &varError{quote(s) + " is not a rate", fix}
	}
	factor, known := uint64(0), false
	if prefix, ok := strings.CutSuffix(unit, "bit"); ok {
		switch prefix {
		case "":
			factor, known = 1, true
		case "K", "k", "M", "G":
			factor, known = unitFactor(prefix + "B")
		}
	} else if unit != "" {
		factor, known = unitFactor(unit)
		factor *= 8
	}
	if !known {
		return 0, &varError{"unknown unit " + quote(unit) + " in " + quote(s), fix}
	}
	n, ok := scaled(number, factor)
	switch {
	case !ok:
		return 0, &varError{quote(s) + " is too large", fix}
	case n == 0:
		return 0, &varError{"a rate of 0 would let nothing through", "leave the key out, or set network.mode: none"}
	}
	return n, nil
}

// parseDuration reads a time with its unit. d stands for 24 hours, and there are
// at most 32767 of them; the whole is at most the longest time.Duration.
func parseDuration(s string, negative bool) (time.Duration, *varError) {
	const (
		fix     = "write a time with its unit: 500ms, 90s, 5m, 1h30m, 2d"
		longest = "32767d is the longest"
	)
	t := s
	days := time.Duration(0)
	if i := strings.IndexByte(t, 'd'); i >= 0 {
		n, err := strconv.ParseInt(t[:i], 10, 16)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return 0, &varError{quote(s) + " is too long", longest}
		case err != nil:
			return 0, &varError{quote(s) + " is not a time", fix}
		}
		days, t = time.Duration(n)*24*time.Hour, t[i+1:]
		if t == "" {
			t = "0s"
		}
	}
	d, err := time.ParseDuration(t)
	if err != nil {
		if _, err := strconv.ParseFloat(t, 64); err == nil {
			return 0, &varError{quote(s) + " has no unit", fix}
		}
		if _, err := time.ParseDuration(oneDigit(t)); err == nil {
			return 0, &varError{quote(s) + " is too long", longest}
		}
		return 0, &varError{quote(s) + " is not a time", fix}
	}
	if d < 0 && days > 0 {
		return 0, &varError{quote(s) + " is not a time", fix}
	}
	if days < 0 {
		d = -d
	}
	if days > 0 && d > math.MaxInt64-days || days < 0 && d < math.MinInt64-days {
		return 0, &varError{quote(s) + " is too long", longest}
	}
	d += days
	if d < 0 && !negative {
		return 0, &varError{quote(s) + " is negative", fix}
	}
	return d, nil
}

// oneDigit leaves the first digit of each number: whatever is no time after
// that was none because of its form, and not of its length.
func oneDigit(s string) string {
	var last rune
	return strings.Map(func(r rune) rune {
		again := '0' <= last && last <= '9' && '0' <= r && r <= '9'
		if last = r; again {
			return -1
		}
		return r
	}, s)
}

// parseMode reads permission bits in octal.
func parseMode(s string, most uint64) (uint32, *varError) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || len(s) > 5 {
		return 0, &varError{quote(s) + " is not octal", `write permission bits as "0755"`}
	}
	if n > most {
		return 0, &varError{quote(s) + " has bits above " + strconv.FormatUint(most, 8), `write permission bits as "0755"`}
	}
	return uint32(n), nil
}

// maxCPU is the largest number of processors Linux can be built for (NR_CPUS).
const maxCPU = 8191

// parseCPUSet reads a list such as 0-3,8 and gives it in the kernel's form.
func parseCPUSet(s string) (text string, set []int, err *varError) {
	const fix = "write a list as 0-3,8"
	var have [maxCPU + 1]bool
	if s == "" {
		return "", nil, &varError{"an empty list", fix}
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		switch {
		case errors.Is(err1, strconv.ErrRange) || errors.Is(err2, strconv.ErrRange):
			return "", nil, &varError{quote(part) + " is above " + strconv.Itoa(maxCPU), fix}
		case err1 != nil || err2 != nil:
			return "", nil, &varError{quote(s) + " is not a list of numbers", fix}
		case a > b:
			return "", nil, &varError{quote(part) + " runs backwards", fix}
		case b > maxCPU:
			return "", nil, &varError{quote(part) + " is above " + strconv.Itoa(maxCPU), fix}
		}
		for i := a; i <= b; i++ {
			have[i] = true
		}
	}
	for i, ok := range have {
		if ok {
			set = append(set, i)
		}
	}
	return setText(set), set, nil
}

func setText(set []int) string {
	var b strings.Builder
	for i := 0; i < len(set); i++ {
		j := i
		for j+1 < len(set) && set[j+1] == set[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(set[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(set[j]))
		}
		i = j
	}
	return b.String()
}
