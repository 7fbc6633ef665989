package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jail/test/need"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// wholeDisk finds the disk below a file, as MAJOR and MINOR: limits are not for partitions.
func wholeDisk(t *testing.T, path string) (major, minor int64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Skipf("needs a file system on a disk: %v", err)
	}
	if _, err := os.Stat(dir + "/partition"); err == nil {
		dir = filepath.Dir(dir)
	}
	text, err := os.ReadFile(dir + "/dev")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major, minor
}

// writes measures how fast a program writes past the page cache, in bytes a second, and what the group counted.
func writes(t *testing.T, o order, to string, megabytes int) (rate float64, counted uint64) {
	t.Helper()
	o.Shell = fmt.Sprintf("LC_ALL=C dd if=/dev/zero of=%s bs=256k count=%d oflag=direct conv=notrunc 2>&1", to, megabytes*4)
	out := supervised(t, o)
	if out.Err != "" || out.Exit != "0" {
		t.Fatalf("%s %s: %s", out.Err, out.Exit, out.Output)
	}
	// dd's own clock: the start of the programs takes long under emulation.
	var seconds float64
	if _, after, ok := strings.Cut(out.Output, " copied, "); !ok {
		t.Fatalf("dd says %q", out.Output)
	} else if _, err := fmt.Sscanf(after, "%f s", &seconds); err != nil {
		t.Fatalf("dd says %q: %v", out.Output, err)
	}
	return float64(megabytes<<20) / seconds, out.Stats.Written.Value
}

func writeLimit(major, minor int64, rate uint64) *specs.LinuxResources {
	return &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{throttle(major, minor, rate)}}}
}

func TestUserDiskBandwidth(t *testing.T) {
	unified(t)
	if m, err := look(""); err != nil || m.managerHas != nil && !slices.Contains(m.managerHas, "io") {
		t.Skipf("needs the io controller for the user's manager: %s", dropIn)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	major, minor := wholeDisk(t, file)
	checkBandwidth(t, order{Options: Options{Name: "disk", Account: true}}, file, major, minor)
}

func TestRootLoopDeviceBandwidth(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(need.Program(t, "losetup"), "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, text)
	}
	loop := strings.TrimSpace(string(text))
	defer func() { _ = exec.Command(need.Program(t, "losetup"), "--detach", loop).Run() }()
	var st unix.Stat_t
	if err := unix.Stat(loop, &st); err != nil {
		t.Fatal(err)
	}
	checkBandwidth(t, order{Options: Options{Name: "loop", Account: true}}, loop, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)))
}

// checkBandwidth wants what is written under a limit to come within a fifth of it.
func checkBandwidth(t *testing.T, o order, to string, major, minor int64) {
	t.Helper()
	const limit = 1 << 20
	free, _ := writes(t, o, to, 8)
	if free < 2*limit {
		t.Skipf("needs a disk that writes more than 2 MB/s when it may, and this one wrote %.2f", free/1e6)
	}
	o.Res = writeLimit(major, minor, limit)
	rate, counted := writes(t, o, to, 5)
	for range 2 {
		if rate < 0.8*limit { // a busy machine under the emulation; too fast it must never be
			rate, counted = writes(t, o, to, 5)
		}
	}
	t.Logf("%.2f MB/s without and %.2f MB/s with a limit of 1 MiB/s; %d bytes counted", free/1e6, rate/1e6, counted)
	if rate < 0.8*limit || rate > 1.2*limit {
		t.Errorf("wrote %.0f bytes a second, want %d within a fifth", rate, limit)
	}
	if counted < 5<<20 || counted > 6<<20 {
		t.Errorf("the group counted %d bytes written, want 5 MiB and little more", counted)
	}
}
