package guest

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// What joins a sandbox is bound by its limits as its program is, is seen from outside beside them, and ends with it.
func TestWhoJoinsIsLimitedToo(t *testing.T) {
	jail, _ := limited(t, "limits: {memory: 64M, swap: 0, pids: 30, cpu: 150%}\n")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			mark := "74" + time.Now().Format("150405.000000")
			name := "join" + strings.ReplaceAll(mark, ".", "")
			argv := join(way.argv, jail, []string{"--name", name, "sleep", mark})
			cmd := exec.Command(argv[0], argv[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := false
			end := func() {
				if !ended {
					_ = cmd.Process.Kill()
					_ = cmd.Wait() // "signal: killed" is what was wanted
				}
				ended = true
			}
			t.Cleanup(end)
			awaitProgram(t, name, "sleep\x00"+mark)
			inside := func(argv ...string) result {
				return run(t, append([]string{need.Jail(t), "exec", name}, argv...)...)
			}
			if r := inside("cat", "/proc/self/cgroup"); r.code != 0 || r.stdout != "0::/\n" {
				t.Errorf("its group is %q, exit code %d, jail said: %s", r.stdout, r.code, r.stderr)
			}
			if r := inside("dd", "bs=160M", "count=1", "if=/dev/zero", "of=/dev/null"); r.code != 137 {
				t.Errorf("a memory hog: exit code %d, said: %s", r.code, r.stderr)
			}
			if r := inside("dd", "bs=16M", "count=1", "if=/dev/zero", "of=/dev/null"); r.code != 0 {
				t.Errorf("control: exit code %d, said: %s", r.code, r.stderr)
			}
			r := inside("sh", "-c", "for i in $(seq 40); do sleep 2 & done; wait")
			if !strings.Contains(r.stderr, "fork") {
				t.Errorf("forty processes: exit code %d, said: %s", r.code, r.stderr)
			}
			var all []struct {
				Memory    uint64 `json:"memory_max_bytes"`
				Processes uint64 `json:"processes_max"`
				Quota     uint64 `json:"cpu_quota_permille"`
			}
			text := must(t, need.Jail(t), "stats", name, "--json")
			if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 || all[0].Memory != 64<<20 || all[0].Processes != 30 || all[0].Quota != 1500 {
				t.Errorf("%v: %s", err, text)
			}
			table := must(t, need.Jail(t), "stats", name)
			if !regexp.MustCompile(`(?m)^` + name + ` +\[[#.]+\] .*\[[#.]+\] .* of 64 MiB .*\[[#.]+\] .* of 30 `).MatchString(table) {
				t.Errorf("the table is\n%s", table)
			}
			t.Logf("%s", table)

			// It does not outlive the sandbox.
			last := "75" + mark[2:]
			guest := exec.Command(need.Jail(t), "exec", name, "sh", "-c", "setsid sleep "+last)
			if err := guest.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); withMark("sleep\x00"+last) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				continue
			}
			if withMark("sleep\x00"+last) == 0 {
				t.Error("control: what is to be ended does not run")
			}
			end()
			_ = guest.Wait() // its exit code is that of a program that was killed
			noneLeft(t, name)
			if n := withMark("sleep\x00" + last); n > 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}
