package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// measurement is one contender's times in milliseconds.
type measurement struct {
	Name   string   `json:"name"`
	Argv   []string `json:"argv"`
	Min    float64  `json:"min_ms"`
	Median float64  `json:"median_ms"`
	P90    float64  `json:"p90_ms"`
	// CPU is the median of user and system time, its children's included: it says more than the time on the clock
	// where other programs take the processors.
	CPU float64 `json:"cpu_ms"`
	// Misses counts starts that failed in the middle of the run; they are not among the times.
	Misses int `json:"misses,omitempty"`
	// Failed says why a contender could not be measured on this machine.
	Failed string `json:"failed,omitempty"`
}

// measure starts the contenders in turn. One whose first start fails is left out with its reason. When jail itself fails
// later the whole run is worthless; another contender's failures are counted.
func measure(list []contender, rounds int) ([]measurement, error) {
	devNull, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer devNull.Close()
	result := make([]measurement, len(list))
	times, cpu := make([][]float64, len(list)), make([][]float64, len(list))
	for i, c := range list {
		result[i] = measurement{Name: c.name, Argv: c.argv}
		// Warm caches, and jail's compiled filter, are the usual case: nobody waits for the first start only.
		if out, err := exec.Command(c.argv[0], c.argv[1:]...).CombinedOutput(); err != nil {
			result[i].Failed = strings.TrimSpace(fmt.Sprintf("%v: %s", err, bytes.TrimSpace(out)))
		}
	}
	const warmUp = 5
	for round := range rounds + warmUp {
		for i, c := range list {
			if result[i].Failed != "" {
				continue
			}
			took, busy, err := startToExit(c.argv, devNull)
			if err != nil && strings.HasPrefix(c.name, "jail") {
				return nil, fmt.Errorf("%s, round %d: %w", c.name, round, err)
			}
			if err != nil {
				result[i].Misses++
				continue
			}
			if round >= warmUp {
				times[i] = append(times[i], took)
				cpu[i] = append(cpu[i], busy)
			}
		}
	}
	for i := range result {
		if t := times[i]; len(t) > 0 {
			slices.Sort(t)
			slices.Sort(cpu[i])
			result[i].CPU = quantile(cpu[i], 0.5)
			result[i].Min, result[i].Median, result[i].P90 = t[0], quantile(t, 0.5), quantile(t, 0.9)
		}
	}
	return result, nil
}

// quantile takes sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// startToExit gives milliseconds on the clock and of the processors. Go's fork is a vfork that shares memory until
// the exec, as posix_spawn(3) is.
func startToExit(argv []string, devNull *os.File) (took, busy float64, err error) {
	null := devNull.Fd()
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{null, null, null}}
	begun := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return 0, 0, err
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		if _, err = syscall.Wait4(pid, &status, 0, &usage); err != syscall.EINTR {
			break
		}
	}
	took = milliseconds(time.Since(begun))
	if err != nil {
		return 0, 0, err
	}
	if status.ExitStatus() != 0 {
		return 0, 0, fmt.Errorf("ended with status %#x", int(status))
	}
	return took, milliseconds(time.Duration(usage.Utime.Nano() + usage.Stime.Nano())), nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}
