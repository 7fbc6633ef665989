package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// calls is what one system call costs, in nanoseconds, in the same sandbox with and without jail's filter.
type calls struct {
	GetppidFiltered float64 `json:"getppid_filtered_ns"`
	GetppidPlain    float64 `json:"getppid_plain_ns"`
	PreadFiltered   float64 `json:"pread_filtered_ns"`
	PreadPlain      float64 `json:"pread_plain_ns"`
}

// measureCalls runs the loops with and without the filter in turn and keeps the least of each: a loop can only be
// slowed down by what else runs.
func measureCalls(tree string) (*calls, error) {
	c := &calls{}
	for range 5 {
		for _, which := range []struct {
			profile       string
			getppid, read *float64
		}{
			{"same.yaml", &c.GetppidFiltered, &c.PreadFiltered},
			{"nofilter.yaml", &c.GetppidPlain, &c.PreadPlain},
		} {
			out, err := exec.Command(filepath.Join(tree, "bin", "jail"), "--profile", filepath.Join(tree, "test", "bench", which.profile),
				filepath.Join(tree, "bin", "loops")).Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", which.profile, withStderr(err))
			}
			var getppid, read float64
			if _, err := fmt.Sscan(string(out), &getppid, &read); err != nil {
				return nil, fmt.Errorf("%s: %w: %q", which.profile, err, out)
			}
			keepLeast(which.getppid, getppid)
			keepLeast(which.read, read)
		}
	}
	return c, nil
}

func keepLeast(kept *float64, value float64) {
	if *kept == 0 || value < *kept {
		*kept = value
	}
}

// supervisorMemory is the resident memory, in megabytes, of the jail process that waits for a running program.
func supervisorMemory(tree string) (float64, error) {
	cmd := exec.Command(filepath.Join(tree, "bin", "jail"), "--profile", filepath.Join(tree, "test", "bench", "same.yaml"),
		"sh", "-c", "echo up; read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	up := make([]byte, 3)
	if _, err := out.Read(up); err != nil {
		return 0, fmt.Errorf("%w: %s", err, said.Bytes())
	}
	time.Sleep(200 * time.Millisecond)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kilobytes, err := strconv.ParseFloat(fields[1], 64)
			return kilobytes / 1024, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/PID/status")
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}
