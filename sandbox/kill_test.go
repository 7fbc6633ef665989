package sandbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostState is what a sandbox might leave on the host: mounts of this namespace, files beside the bundle.
func hostState(t *testing.T, dir string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(dir + "/*")
	return string(mounts) + strings.Join(files, "\n")
}

// TestKilledAtAnyMoment kills the supervisor with SIGKILL at random moments of the start and looks for what is left.
func TestKilledAtAnyMoment(t *testing.T) {
	mark := fmt.Sprintf("%d.%d", 8000000+os.Getpid(), time.Now().Nanosecond())
	data := t.TempDir()
	b := shellBundle("sleep " + mark)
	b.Spec.Mounts = append(b.Spec.Mounts, bind(data, "/data"))
	before := hostState(t, data)

	// How long a start takes here, at best, decides the moments: they go from at once to well after it, a little
	// off the even steps.
	span := time.Hour
	for range 3 {
		began := time.Now()
		sees(t, shellBundle("true"))
		span = min(span, 2*time.Since(began))
	}
	step := span / rounds

	started := 0
	patience := time.Now().Add(2 * time.Minute)
	for i := range rounds {
		cmd := command(t, b)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			time.Sleep(time.Duration(i)*step + rand.N(step))
		}
		for i == rounds-1 && !programRuns(mark) && time.Now().Before(patience) {
			time.Sleep(10 * time.Millisecond) // on a busy machine the last one may need longer
		}
		if programRuns(mark) {
			started++
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	deadline := time.Now().Add(30 * time.Second)
	for processesWith(mark) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d processes are left", processesWith(mark))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if after := hostState(t, data); after != before {
		t.Errorf("something is left on the host:\nbefore\n%s\nafter\n%s", before, after)
	}
	if started == 0 || started == rounds {
		t.Errorf("the kills did not fall on both sides of the start: %d of %d were started", started, rounds)
	}
	t.Logf("%d of %d had started their program when killed", started, rounds)
}

// programRuns tells whether a process with the mark on its command line is there.
func programRuns(mark string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), mark) {
			return true
		}
	}
	return false
}

func TestAHundredAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	count := min(rounds, 100)
	errs := make(chan error, count)
	for i := range count {
		cmd := command(t, shellBundle(fmt.Sprintf("sleep 0.2; echo %d", i)))
		wg.Add(1)
		go func() {
			defer wg.Done()
			out, err := cmd.CombinedOutput()
			if want := fmt.Sprintf("%d\n", i); err != nil || string(out) != want {
				errs <- fmt.Errorf("sandbox %d: %w: %q", i, err, out)
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}
