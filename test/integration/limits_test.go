package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// needHybrid is for tests of a machine whose controllers are bound to cgroup v1.
func needHybrid(t *testing.T) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		t.Skip("needs controllers of cgroup v1; the tests of the virtual machine cover cgroup v2")
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory/cgroup.procs"); err != nil {
		t.Skipf("needs the memory controller of cgroup v1: %v", err)
	}
}

// What only root can do on such a machine is refused to others with its reason, or left out with a warning.
func TestLimitsWhereOnlyRootCanSetThem(t *testing.T) {
	needHybrid(t)
	u := newUser(t)
	profile := u.write("p.yaml", "version: 1\nextends: [base]\nlimits:\n  memory: 64M\n  pids: 50\n")
	const hint = "  hint: boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line, or run jail as root"
	refusal := func(label, rest string) string {
		return label + profile + ":4:11: limit memory.max=67108864 cannot be applied in /sys/fs/cgroup/memory: the memory controller is bound to cgroup v1 here, where only root can set limits\n" +
			label + profile + ":5:9: limit pids.max=50 cannot be applied in /sys/fs/cgroup/pids: the pids controller is bound to cgroup v1 here, where only root can set limits\n" + hint + rest + "\n"
	}
	for _, tt := range []struct {
		level, out, says string
		code             int
	}{
		{"require", "", refusal("jail: ", "; or go without, and be warned: --set enforcement.limits=prefer"), 125},
		{"prefer", "started\n", refusal("jail: warning: ", ""), 0},
		{"off", "started\n", "", 0},
	} {
		out, says, code := u.run("--profile", profile, "--set", "enforcement.limits="+tt.level, "echo", "started")
		if out != tt.out || says != tt.says || code != tt.code {
			t.Errorf("%s: exit code %d, printed %q, said\n%swant\n%s", tt.level, code, out, says, tt.says)
		}
	}
}

// A report needs no limits and no control group: what the kernel adds up for processes will do.
func TestAReportWithoutAControlGroup(t *testing.T) {
	needHybrid(t)
	u := newUser(t)
	out, says, code := u.run("--report", "--profile", "base", "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; exit 3")
	lines := `^wall time       \d+\.\d{3} s\nuser time       0\.[1-9]\d* s|^wall time       \d+\.\d{3} s\nuser time       [1-9]\d*\.\d+ s`
	if out != "done\n" || code != 3 || !regexp.MustCompile(lines).MatchString(says) || !strings.Contains(says, "\npeak processes  unknown\n") {
		t.Errorf("exit code %d, printed %q, said\n%s", code, out, says)
	}
	file := filepath.Join(u.home, "took.json")
	if _, says, code = u.run("--report=json", "--report-file", file, "--profile", "base", "true"); code != 0 || says != "" {
		t.Errorf("exit code %d, said %s", code, says)
	}
	var took map[string]any
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &took)
	}
	if wall, ok := took["wall_seconds"].(float64); err != nil || !ok || wall <= 0 || took["cgroup"] != "none" || took["processes_peak"] != nil {
		t.Errorf("%s: %v", text, err)
	}
	for _, bad := range [][]string{{"--report=xml"}, {"--report-file", u.home + "/missing/took"}} {
		if out, says, code := u.run(append(bad, "--profile", "base", "echo", "started")...); code != 125 || out != "" || !strings.Contains(says, "--report") {
			t.Errorf("%v: exit code %d, printed %q, said %s", bad, code, out, says)
		}
	}
}

// Root's limits hold through cgroup v1 as well.
func TestRootLimitsByV1(t *testing.T) {
	need.Root(t)
	needHybrid(t)
	dir := t.TempDir()
	profile, took := filepath.Join(dir, "p.yaml"), filepath.Join(dir, "took.json")
	text := "version: 1\nextends: [base]\nlimits:\n  memory: 64M\n  pids: 20\n  cpu: 50%\n"
	if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	jail := func(args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.Command(need.Jail(t), append([]string{"--profile", profile, "--report=json", "--report-file", took}, args...)...)
		var out, says bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &says
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return out.String(), says.String(), cmd.ProcessState.ExitCode()
	}
	report := func() (r map[string]any) {
		text, err := os.ReadFile(took)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	_, says, code := jail("dd", "bs=160M", "count=1", "if=/dev/zero", "of=/dev/null")
	if code != 137 || says != "jail: "+profile+":4:11: out of memory: the kernel killed 1 process that had reached the memory limit of 64 MiB\n" {
		t.Errorf("memory: exit code %d, said %s", code, says)
	}
	if r := report(); r["cgroup"] != "v1" || r["oom_kills"] != 1.0 {
		t.Errorf("report %v", r)
	}
	_, says, _ = jail("bash", "-c", "for i in {1..30}; do sleep 30 & done 2>/dev/null; kill $(jobs -p)")
	if !regexp.MustCompile(`(?m)^jail: ` + regexp.QuoteMeta(profile) + `:5:9: too many processes: the limit of 20 refused \d+ new ones?$`).MatchString(says) {
		t.Errorf("pids: said %s", says)
	}
	jail("--set", "process.timeout=4s", "sh", "-c", "while :; do :; done")
	r := report()
	number := func(key string) float64 { n, _ := r[key].(float64); return n }
	// The processor's own share is all that a busy machine may leave of it; more it must never be.
	if share := (number("user_seconds") + number("system_seconds")) / number("wall_seconds"); share > 0.55 || share > 0.45 && number("throttled_periods") == 0 {
		t.Errorf("cpu: %.3f of a processor with a limit of a half: %v", share, r)
	}
	// A report alone takes the way that knows the most.
	jail("--set", "enforcement.limits=off", "true")
	if r := report(); r["cgroup"] != "v1" || r["processes_peak"] == nil || r["memory_peak_is_estimate"] != false {
		t.Errorf("a report without limits: %v", r)
	}
	// As with cgroup v2, a weight that nothing heeds is none.
	schedulers, _ := filepath.Glob("/sys/block/*/queue/scheduler")
	heeded := slices.ContainsFunc(schedulers, func(file string) bool {
		b, _ := os.ReadFile(file)
		return bytes.Contains(b, []byte("[bfq]")) || bytes.Contains(b, []byte("[cfq]"))
	})
	if _, says, code := jail("--set", "limits.io-weight=30", "true"); heeded != (code == 0) || !heeded && !strings.Contains(says, "no disk of this machine shares its time by weight") {
		t.Errorf("a weight of disks: exit code %d, said %s", code, says)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/jail-p-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What runs is shown while it does, and the sandbox's own number of processes with it.
func TestStatsOfARunningSandbox(t *testing.T) {
	u := newUser(t)
	name := fmt.Sprintf("stats%d", os.Getpid())
	cmd := u.jail("--name", name, "--profile", "base", "sh", "-c", "sleep 100 & echo up; while :; do :; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	text, says, code := u.run("stats", name, "--json")
	var all []struct {
		Name      string  `json:"name"`
		Percent   float64 `json:"cpu_percent"`
		Memory    uint64  `json:"memory_bytes"`
		Processes int     `json:"processes"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil || code != 0 || len(all) != 1 {
		t.Fatalf("exit code %d, %v: %s%s", code, err, text, says)
	}
	if s := all[0]; s.Name != name || s.Processes != 3 || s.Memory < 1<<20 || s.Percent < 1 || s.Percent > 130 {
		t.Errorf("%s", text)
	}
	// Among all of the user's sandboxes its line is there, with a bar.
	if text, _, _ := u.run("stats"); !regexp.MustCompile(`(?m)^NAME +CPU +MEMORY +PROCESSES +READ +WRITTEN$`).MatchString(text) ||
		!regexp.MustCompile(`(?m)^`+name+` +\[#+\.*\] +\d+% .* 3 +\? +\?$`).MatchString(text) {
		t.Errorf("the table is\n%s", text)
	}
	// It is followed until it ends.
	watch := u.jail("stats", name, "--watch", "--json")
	watched, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	first, err := bufio.NewReader(watched).ReadString('\n')
	if err != nil || !strings.HasPrefix(first, "[") {
		t.Errorf("the first line is %q, %v", first, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, watched)
	if err := watch.Wait(); err != nil {
		t.Error(err)
	}
	if _, says, code := u.run("stats", name); code != 125 || !strings.Contains(says, "no running sandbox is called") {
		t.Errorf("after its end: exit code %d, said %s", code, says)
	}
}

// On a terminal the table is drawn over and over in one place, also where its lines are longer than the window is wide, and
// Ctrl-C ends it.
func TestStatsAreWatchedInOnePlace(t *testing.T) {
	need.Kernel(t, 5, 12)
	u := newUser(t)
	name := u.background(t, []string{"--profile", "base"}, []string{"sleep", "100"}).up().name
	p := newPane(t, u)
	for _, columns := range []string{"100", "40"} {
		p.do("resize-window", "-x", columns, "-y", "30")
		p.line("clear; jail stats --watch " + name)
		p.shows(name + "  ")
		time.Sleep(3500 * time.Millisecond) // three more looks, or one on a very slow machine
		if screen := p.screen(); strings.Count(screen, "NAME ") != 1 || strings.Count(screen, name+"  ") != 1 {
			t.Errorf("in %s columns the table is drawn beside itself:\n%s", columns, screen)
		}
		p.types("C-c")
		p.line("echo code $?")
		p.sees("code 0")
	}
}

// Where the sandbox's group has a controller for little, its processes are counted.
func TestRootStatsOfAGroupThatTellsLittle(t *testing.T) {
	need.Root(t)
	needHybrid(t)
	name := fmt.Sprintf("little%d", os.Getpid())
	cmd := exec.Command(need.Jail(t), "--name", name, "--profile", "base", "--set", "limits.hugepages.2M=4M", "--", "sh", "-c", "echo up; sleep 100")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(need.Jail(t), "stats", "--json", name).Output()
	var all []map[string]any
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || len(all) != 1 || all[0]["cgroup"] != true {
		t.Fatalf("%v: %s", err, text)
	}
	if memory, ok := all[0]["memory_bytes"].(float64); !ok || memory < 100_000 || all[0]["processes"] == nil {
		t.Errorf("%s", text)
	}
}
