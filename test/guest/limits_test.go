package guest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// The two ways of an ordinary user to a control group. A login session is not delegated, so jail asks the manager. A
// subtree that is the user's own is made here as a service with Delegate= would have it: with its processes in a group below.
var ways = []struct {
	name, says string
	argv       []string
}{
	{"scope", "limits: kept by a scope of the systemd manager", nil},
	{"direct", "limits: kept by /sys/fs/cgroup/", []string{"systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes", "--", "sh", "-c",
		`g=/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup); mkdir $g/shell && echo $$ >$g/shell/cgroup.procs && exec "$@"`, "sh"}},
}

// limited gives what is needed to run jail with a profile, for tests of an ordinary user who is logged in.
func limited(t *testing.T, profile string) (argv []string, file string) {
	t.Helper()
	need.Guest(t)
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	if os.Getenv("JAIL_GUEST_INIT") == "plain" {
		t.Skip("needs a systemd manager; the boot with systemd has this test")
	}
	file = filepath.Join(t.TempDir(), "p.yaml")
	write(t, file, "version: 1\nextends: [base]\n"+profile)
	return []string{need.Jail(t), "--profile", file}, file
}

func join(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// took is what a test reads of a report.
type took struct {
	Wall      float64 `json:"wall_seconds"`
	User      float64 `json:"user_seconds"`
	System    float64 `json:"system_seconds"`
	Peak      uint64  `json:"memory_peak_bytes"`
	Processes uint64  `json:"processes_peak"`
	Read      uint64  `json:"read_bytes"`
	Written   uint64  `json:"written_bytes"`
	Throttled uint64  `json:"throttled_periods"`
	Kills     uint64  `json:"oom_kills"`
	Refused   uint64  `json:"forks_refused"`
	Way       string  `json:"cgroup"`
}

// reported adds a report to jail's flags, and reads it after the run.
func reported(t *testing.T, jail []string) (argv []string, read func() took) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report")
	return append(jail, "--report=json", "--report-file="+file), func() (r took) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			t.Fatalf("the report %s: %v", text, err)
		}
		return r
	}
}

func TestLimitsSayWhichWay(t *testing.T) {
	jail, file := limited(t, "limits: {memory: 64M, pids: 50}\n")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			r := run(t, join(way.argv, jail, []string{"--verbose", "cat", "/proc/self/cgroup"})...)
			if r.code != 0 || r.stdout != "0::/\n" || !strings.Contains(r.stderr, way.says) {
				t.Errorf("exit code %d, in group %q, jail said: %s", r.code, r.stdout, r.stderr)
			}
			foreseen := must(t, join(way.argv, []string{need.Jail(t), "explain", file})...)
			_, place, _ := strings.Cut(way.says, "by ")
			if !strings.Contains(foreseen, "On this machine the limits are kept by:\n  "+place) {
				t.Errorf("explain says\n%s", foreseen)
			}
		})
	}
}

func TestForkBomb(t *testing.T) {
	jail, file := limited(t, "limits:\n  pids: 50\n")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			jail, report := reported(t, jail)
			argv := join(way.argv, jail, []string{"sh", "-c", "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 10"})
			done := make(chan result, 1)
			go func() { done <- run(t, argv...) }()
			// The guest answers, as it would not among thousands of processes. (It may be busy with more than this.)
			time.Sleep(4 * time.Second)
			for range 3 {
				began := time.Now()
				must(t, "true")
				if d := time.Since(began); d > 20*time.Second {
					t.Errorf("starting true took %v beside the fork bomb", d)
				}
			}
			r := <-done
			told := regexp.MustCompile(`(?m)^jail: ` + regexp.QuoteMeta(file) + `:4:9: too many processes: the limit of 50 refused \d+ new ones$`)
			if r.code != 0 || !told.MatchString(r.stderr) {
				t.Errorf("exit code %d, jail said: %s", r.code, r.stderr)
			}
			if took := report(); took.Refused == 0 || took.Processes != 0 && (took.Processes < 40 || took.Processes > 50) || took.Way != way.name {
				t.Errorf("report %+v", took)
			}
			noneLeft(t, "p")
		})
	}
}

func TestMemoryHog(t *testing.T) {
	jail, file := limited(t, "limits:\n  memory: 64M\n  swap: 0\n")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			jail, report := reported(t, jail)
			r := run(t, join(way.argv, jail, []string{"dd", "bs=160M", "count=1", "if=/dev/zero", "of=/dev/null"})...)
			want := "jail: " + file + ":4:11: out of memory: the kernel killed 1 process that had reached the memory limit of 64 MiB\n"
			if r.code != 137 || r.stderr != want {
				t.Errorf("exit code %d, jail said %q, want %q", r.code, r.stderr, want)
			}
			if took := report(); took.Kills != 1 || took.Peak < 50<<20 || took.Peak > 65<<20 {
				t.Errorf("report %+v", took)
			}
		})
	}
	// Control: what was killed without swap gets its memory where it may swap.
	t.Run("swap", func(t *testing.T) {
		hog := []string{"--set", "limits.memory=32M", "sh", "-c", "head -c 44M /dev/zero | tail -c 44M | wc -c"}
		if r := run(t, join(jail, []string{"--set", "limits.swap=200M"}, hog)...); r.code != 0 || r.stdout != "46137344\n" {
			t.Errorf("with swap: exit code %d, printed %q, jail said: %s", r.code, r.stdout, r.stderr)
		}
		if r := run(t, join(jail, hog)...); r.stdout == "46137344\n" || !strings.Contains(r.stderr, "out of memory") {
			t.Errorf("with swap: 0: exit code %d, printed %q, jail said: %s", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("all together", func(t *testing.T) {
		r := run(t, join(jail, []string{"--set", "limits.oom-group=true", "sh", "-c", "dd bs=160M count=1 if=/dev/zero of=/dev/null; echo the shell lives"})...)
		if r.code != 137 || r.stdout != "" || !strings.Contains(r.stderr, "out of memory: the kernel killed all processes, which together had reached the memory limit of 64 MiB") {
			t.Errorf("exit code %d, printed %q, jail said: %s", r.code, r.stdout, r.stderr)
		}
	})
}

func TestHalfAProcessor(t *testing.T) {
	jail, _ := limited(t, "limits: {cpu: 50%}\nprocess: {timeout: 5s}\n")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			jail, report := reported(t, jail)
			r := run(t, join(way.argv, jail, []string{"sh", "-c", "while :; do :; done"})...)
			if r.code != 143 || !strings.Contains(r.stderr, "its time limit of 5s is reached") {
				t.Errorf("exit code %d, jail said: %s", r.code, r.stderr)
			}
			took := report()
			share := (took.User + took.System) / took.Wall
			t.Logf("%.3f of a processor over %.2f s, %d periods throttled", share, took.Wall, took.Throttled)
			if share < 0.45 || share > 0.55 || took.Throttled == 0 {
				t.Errorf("used %.3f of a processor, want 0.5 within a tenth: %+v", share, took)
			}
		})
	}
}

// A program that does not end when it is asked to, and has left processes in other sessions, is gone all the same when its
// time is up: also where there is no pid namespace whose end would take them along.
func TestTimeoutEndsEverything(t *testing.T) {
	for name, profile := range map[string]string{
		"pid namespace":    "limits: {pids: 50}\nprocess: {timeout: 3s}\n",
		"no pid namespace": "limits: {pids: 50}\nprocess: {timeout: 3s}\nnamespaces: [user, mount, ipc, uts, cgroup, net]\nwithout: {filesystem: [/proc]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			jail, _ := limited(t, profile)
			mark := "71" + time.Now().Format("150405.000000")
			began := time.Now()
			r := run(t, join(jail, []string{"sh", "-c", "trap '' TERM; setsid sh -c 'trap \"\" TERM; setsid sleep " + mark + " & sleep " + mark + "' & while :; do sleep 1; done"})...)
			if r.code != 137 || !strings.Contains(r.stderr, "its time limit of 3s is reached") {
				t.Errorf("exit code %d, jail said: %s", r.code, r.stderr)
			}
			if d := time.Since(began); d < 8*time.Second {
				t.Errorf("it took %v, want the five seconds in which a program may end by itself", d)
			}
			if left := withMark(mark); left > 0 {
				t.Errorf("%d processes are left", left)
			}
		})
	}
}

// A program that ends leaves nothing either.
func TestDoubleForksEndWithTheProgram(t *testing.T) {
	jail, _ := limited(t, "limits: {pids: 50}\nnamespaces: [user, mount, ipc, uts, cgroup, net]\nwithout: {filesystem: [/proc]}\n")
	mark := "72" + time.Now().Format("150405.000000")
	if r := run(t, join(jail, []string{"sh", "-c", "(setsid sleep " + mark + " >/dev/null 2>&1 &) & sleep 1; echo started"})...); r.code != 0 || r.stdout != "started\n" {
		t.Fatalf("exit code %d, printed %q, jail said: %s", r.code, r.stdout, r.stderr)
	}
	if left := withMark(mark); left > 0 {
		t.Errorf("%d processes are left", left)
	}
}

// withMark counts the processes with a word on their command line.
func withMark(mark string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if text, _ := os.ReadFile(f); strings.Contains(string(text), mark) {
			n++
		}
	}
	return n
}

// groups lists the control groups and scopes of sandboxes of that name.
func groups(t *testing.T, name string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), "jail-"+name+"-") {
			all = append(all, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// noneLeft waits a little for the groups of ended sandboxes to go.
func noneLeft(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := groups(t, name)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestHundredKilledSupervisorsLeaveNothing(t *testing.T) {
	jail, _ := limited(t, "limits: {memory: 64M, pids: 20}\n")
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			mark := "73" + time.Now().Format("150405.000000")
			name := "kill" + strings.ReplaceAll(mark, ".", "")
			argv := join(way.argv, jail, []string{"--name", name, "sh", "-c", "setsid sleep " + mark + " & sleep " + mark})
			span := time.Duration(0)
			started := 0
			rounds := 100
			if testing.Short() {
				rounds = 20
			}
			for range rounds {
				cmd := exec.Command(argv[0], argv[1:]...)
				began := time.Now()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if span == 0 { // the first is killed when its program runs: that tells how long a start takes here
					for withMark(mark) < 3 && time.Since(began) < time.Minute {
						time.Sleep(5 * time.Millisecond)
					}
					span = time.Since(began)
				} else {
					time.Sleep(rand.N(span * 3 / 2))
				}
				if withMark("sleep\x00"+mark) > 0 {
					started++
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // "signal: killed" is what was wanted
			}
			// A sweeper whose jail died just before it asked the manager for a scope waits for that scope as long as a
			// manager may take to answer, 25 s, and half as long again.
			for deadline := time.Now().Add(90 * time.Second); withMark(mark) > 0; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d processes are left", withMark(mark))
				}
			}
			noneLeft(t, name)
			if started == 0 || started == rounds {
				t.Errorf("the kills did not fall on both sides of the start: %d of %d ran", started, rounds)
			}
			if way.name == "scope" {
				if units := must(t, "systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "jail-"+name+"*"); units != "" {
					t.Errorf("units are left:\n%s", units)
				}
			}
			t.Logf("a start takes %v; %d of %d ran their program when killed", span, started, rounds)
		})
	}
}
