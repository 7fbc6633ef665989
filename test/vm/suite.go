package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What runs in the guest. policy and profiles are left out: they touch no kernel, so a guest shows nothing new.
var tested = []string{"./cmd/...", "./sandbox/...", "./netsetup/...", "./test/..."}

// suite is one package's compiled tests.
type suite struct {
	dir    string   // below the tree
	binary string   // in /stage
	tests  []string // the names of those that were chosen
}

// choice narrows a run down to what a developer works on.
type choice struct {
	packages *regexp.Regexp // only those whose folder matches, if not nil
	tests    string         // only those that match
	short    bool           // with -test.short
}

func (c choice) part() bool { return c.packages != nil || c.tests != "" }

// pass is what one user runs of a suite in one kind of guest. The names of tests say which one they belong to.
type pass struct {
	plain  bool // in the boot without systemd
	user   string
	prefix string // of the names of its tests
	marks  string // how package need knows
}

var passes = []pass{
	{false, "tester", "", "JAIL_TEST_ROOT_PASS=follows"},
	{false, "root", "TestRoot", "JAIL_TEST_ROOT_PASS=now"},
	{true, "tester", "TestPlain", "JAIL_TEST_ROOT_PASS=follows"},
	{true, "root", "TestPlainRoot", "JAIL_TEST_ROOT_PASS=now"},
}

// of gives the tests of a suite that belong to a pass. Those with a longer prefix belong to another one.
func (p pass) of(s suite) []string {
	return slices.DeleteFunc(slices.Clone(s.tests), func(name string) bool {
		home := passes[0]
		for _, other := range passes {
			if strings.HasPrefix(name, other.prefix) && len(other.prefix) > len(home.prefix) {
				home = other
			}
		}
		return home != p
	})
}

// test runs the suites in a guest of every release named, then those for a guest without systemd. The guests are fresh
// ones; for a part of the suites one that stays will do.
func (h home) test(releases []string, only choice) error {
	suites, err := h.compile(only)
	if err != nil {
		return err
	}
	var failed []string
	for _, release := range releases {
		for _, plain := range []bool{false, true} {
			failures, err := h.testIn(boot{release: release, plain: plain}, suites, only)
			if err != nil {
				return err
			}
			failed = append(failed, failures...)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed in the guest:\n  %s", strings.Join(failed, "\n  "))
	}
	return nil
}

// compile builds the test binaries. They are static: the guest's C library is another one.
func (h home) compile(only choice) ([]suite, error) {
	list := exec.Command("go", append([]string{"list", "-e", "-f",
		"{{if and (not .Incomplete) (or .TestGoFiles .XTestGoFiles)}}{{.Dir}}{{end}}"}, tested...)...)
	list.Dir, list.Stderr = h.tree, os.Stderr
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	if err := os.MkdirAll(h.stage(), 0o755); err != nil {
		return nil, err
	}
	if err := h.compilePrograms(list.Env); err != nil {
		return nil, err
	}
	var suites []suite
	for dir := range strings.FieldsSeq(string(out)) {
		rel, err := filepath.Rel(h.tree, dir)
		if err != nil {
			return nil, err
		}
		if only.packages != nil && !only.packages.MatchString(rel) {
			continue
		}
		s := suite{dir: rel, binary: strings.ReplaceAll(rel, "/", "-") + ".test"}
		path := filepath.Join(h.stage(), s.binary)
		build := exec.Command("go", "test", "-c", "-trimpath", "-o", path, "./"+rel)
		build.Dir, build.Stdout, build.Stderr = h.tree, os.Stderr, os.Stderr
		build.Env = list.Env
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("compile the tests of %s: %w", rel, err)
		}
		// What stands behind a slash chooses among subtests, which nobody knows before the tests run.
		wanted, _, _ := strings.Cut(only.tests, "/")
		names := exec.Command(path, "-test.list", cmp.Or(wanted, "."))
		names.Dir, names.Stderr = dir, os.Stderr
		found, err := names.Output()
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", rel, err)
		}
		for name := range strings.FieldsSeq(string(found)) {
			if !strings.HasPrefix(name, "Benchmark") {
				s.tests = append(s.tests, name)
			}
		}
		if len(s.tests) > 0 {
			suites = append(suites, s)
		}
	}
	if len(suites) == 0 {
		return nil, fmt.Errorf("no test matches -pkg %v -run %q", only.packages, only.tests)
	}
	return suites, nil
}

// compilePrograms builds what tests run in the guest, which has no compiler.
func (h home) compilePrograms(env []string) error {
	programs := map[string][]string{"bench": {"go", "build", "-trimpath", "-buildvcs=false", "-o", "", "./test/bench/startup"}}
	attackers, err := filepath.Glob(filepath.Join(h.tree, "test/escape/attacks/*.c"))
	if err != nil {
		return err
	}
	for _, source := range attackers {
		programs["attack-"+strings.TrimSuffix(filepath.Base(source), ".c")] = []string{"gcc", "-static", "-O1", "-o", "", source}
	}
	for name, argv := range programs {
		argv[slices.Index(argv, "")] = filepath.Join(h.stage(), name)
		build := exec.Command(argv[0], argv[1:]...)
		build.Dir, build.Stderr, build.Env = h.tree, os.Stderr, env
		if err := build.Run(); err != nil {
			return fmt.Errorf("compile %s for the guest: %w", name, err)
		}
	}
	return nil
}

// testIn runs suites in one kind of guest, if they have tests for it. It gives the names of those that failed.
func (h home) testIn(b boot, suites []suite, only choice) (failed []string, err error) {
	var g *guest
	for _, s := range suites {
		for _, p := range passes {
			tests := p.of(s)
			if p.plain != b.plain || len(tests) == 0 {
				continue
			}
			if g == nil {
				fmt.Printf("== %s\n", b)
				if g, err = h.guestFor(b, only); err != nil {
					return nil, err
				}
				defer g.leave()
				defer g.stopOnSignal()()
				if err := g.refresh(); err != nil {
					return nil, err
				}
			}
			passed, err := h.runSuite(g, s, p, tests, only)
			if err != nil {
				return nil, err
			}
			if !passed {
				failed = append(failed, fmt.Sprintf("%s in %s as %s", s.dir, b, p.user))
			}
		}
	}
	return failed, nil
}

// guestFor is a fresh guest, or for a part of the suites one that stays.
func (h home) guestFor(b boot, only choice) (*guest, error) {
	if only.part() {
		if g, err := h.running(b); err == nil {
			return g, nil
		}
	}
	return h.start(b, false)
}

// testLimit is how long the tests of one package may take in an emulated guest on a busy machine; they end by themselves
// then, with the stacks of what hangs. hangLimit is for a guest that hangs as a whole.
const (
	testLimit = 45 * time.Minute
	hangLimit = testLimit + 3*time.Minute
)

var outcome = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): .*$`)

// runSuite runs one test binary and prints one line about it, the reasons of skips, and everything when it failed. Who chose a
// part sees everything, as it comes. An error means that the guest is of no more use.
func (h home) runSuite(g *guest, s suite, p pass, tests []string, only choice) (passed bool, err error) {
	filter := "^(" + strings.Join(tests, "|") + ")$"
	if _, subtests, some := strings.Cut(only.tests, "/"); some {
		filter += "/" + subtests
	}
	line := fmt.Sprintf("cd /src/%s && %s exec /stage/%s -test.v -test.short=%v -test.timeout=%v -test.run='%s'",
		s.dir, p.marks, s.binary, only.short, testLimit, filter)
	begun := time.Now()
	cmd := g.ssh(p.user, []string{line})
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = nil, &out
	if only.part() {
		cmd.Stdout = io.MultiWriter(&out, os.Stdout)
	}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = time.Minute
	if err := cmd.Start(); err != nil {
		return false, err
	}
	hang := time.AfterFunc(min(hangLimit, time.Until(h.until)), func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	hang.Stop()
	seconds := time.Since(begun).Seconds()
	count := map[string]int{}
	for _, found := range outcome.FindAllSubmatch(out.Bytes(), -1) {
		count[string(found[1])]++
	}
	verdict := "ok  "
	if err != nil {
		verdict = "FAIL"
		if !only.part() {
			fmt.Printf("%s\n", out.Bytes())
		}
	}
	fmt.Printf("%s\t%s\t%.1fs\tas %s: %d passed, %d failed, %d skipped\n", verdict, s.dir, seconds, p.user,
		count["PASS"], count["FAIL"], count["SKIP"])
	var exit *exec.ExitError
	switch {
	case err == nil:
		printSkips(out.Bytes())
		return true, nil
	case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() != sshFailed:
		return false, nil
	}
	if !time.Now().Before(h.until) {
		err = errors.New("the time of -limit is over")
	}
	return false, fmt.Errorf("%s in the %s guest after %.0f s: given up: %w\n%s", s.dir, g.boot, seconds, err, g.lastWords())
}

// sshFailed is ssh's own exit code, when there is none of the command: ssh(1).
const sshFailed = 255

var (
	speaker = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S+)`)
	remark  = regexp.MustCompile(`^(?:\s+\S+\.go:\d+: | {8,})(\S.*)`)
	skipped = regexp.MustCompile(`^\s*--- SKIP: (\S+)`)
)

// printSkips prints why tests were skipped, each reason once: the last line that the test said.
func printSkips(out []byte) {
	said := map[string]string{}
	seen := map[string]int{}
	var name string
	var reasons []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if m := speaker.FindStringSubmatch(line); m != nil {
			name = m[1]
		} else if m := skipped.FindStringSubmatch(line); m != nil {
			reason := cmp.Or(said[m[1]], m[1])
			if seen[reason]++; seen[reason] == 1 {
				reasons = append(reasons, reason)
			}
		} else if m := remark.FindStringSubmatch(line); m != nil {
			said[name] = m[1]
		}
	}
	for _, reason := range reasons {
		fmt.Printf("\t\tskipped %d: %s\n", seen[reason], reason)
	}
}
