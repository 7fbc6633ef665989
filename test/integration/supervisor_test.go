package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Once its program runs, the supervisor is confined in every one of its threads, and can still be found and joined.
func TestTheSupervisorIsConfined(t *testing.T) {
	u := newUser(t)
	cmd := u.jail("--name", "confined", "-p", "default", "--", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if own("Seccomp") != "0" { // in a container
		t.Skip("this test itself runs behind a filter, so that nothing can be told")
	}
	var open []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		open = nil
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
		for _, file := range threads {
			text, err := os.ReadFile(file)
			if err == nil && (!strings.Contains(string(text), "\nSeccomp:\t2\n") || !strings.Contains(string(text), "\nNoNewPrivs:\t1\n")) {
				open = append(open, file)
			}
		}
		if len(threads) > 0 && len(open) == 0 {
			break
		}
	}
	if len(open) > 0 {
		t.Errorf("threads without a filter: %v", open)
	}
	for range 100 { // its spec is kept a moment later
		if out, _, code := u.run("exec", "confined", "echo", "joined"); code == 0 && out == "joined\n" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, errs, code := u.run("exec", "confined", "echo", "joined")
	t.Errorf("it cannot be joined: exit code %d, %q %q", code, out, errs)
}
