package main

import (
	"bytes"
	"errors"
	"fmt"
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

// guestOnly is the package with tests for the guest alone.
const guestOnly = "test/guest"

// suite is one package's compiled tests.
type suite struct {
	dir     string // below the tree
	binary  string // in /stage
	hasRoot bool   // has tests named TestRoot*
}

// choice narrows a run down to what a developer works on.
type choice struct {
	packages string // only those whose folder contains it
	tests    string // only those that match
}

// test runs the suites in a fresh guest of every release named, then those for a guest without systemd.
func (h home) test(releases []string, only choice) error {
	suites, err := h.compile(only)
	if err != nil {
		return err
	}
	var failed []string
	for _, release := range releases {
		for _, plain := range []bool{false, true} {
			b := boot{release: release, plain: plain}
			ran := suites
			if plain {
				ran = slices.DeleteFunc(slices.Clone(suites), func(s suite) bool { return s.dir != guestOnly })
			}
			if len(ran) == 0 {
				continue
			}
			fmt.Printf("== %s\n", b)
			failures, err := h.testIn(b, ran, only)
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
	bench := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(h.stage(), "bench"), "./test/bench/startup")
	bench.Dir, bench.Stderr, bench.Env = h.tree, os.Stderr, list.Env
	if err := bench.Run(); err != nil {
		return nil, fmt.Errorf("compile the benchmark: %w", err)
	}
	var suites []suite
	for dir := range strings.FieldsSeq(string(out)) {
		rel, err := filepath.Rel(h.tree, dir)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(rel, only.packages) {
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
		names := exec.Command(path, "-test.list", "^TestRoot")
		names.Dir = dir
		found, err := names.Output()
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", rel, err)
		}
		s.hasRoot = bytes.Contains(found, []byte("TestRoot"))
		suites = append(suites, s)
	}
	if len(suites) == 0 {
		return nil, fmt.Errorf("no package with tests matches %q", only.packages)
	}
	return suites, nil
}

// testIn boots a guest and runs suites in it. It gives the names of those that failed.
func (h home) testIn(b boot, suites []suite, only choice) (failed []string, err error) {
	g, err := h.start(b, false)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	defer g.stopOnSignal()()
	if err := g.refresh(); err != nil {
		return nil, err
	}
	for _, s := range suites {
		filter := only.tests
		if b.plain {
			filter = "^TestPlain"
		}
		if !h.runSuite(g, s, "tester", "JAIL_TEST_ROOT_PASS=follows", filter) {
			failed = append(failed, fmt.Sprintf("%s in %s as tester", s.dir, b))
		}
		switch {
		case b.plain:
			filter = "^TestPlainRoot"
		case !s.hasRoot:
			continue
		case filter == "":
			filter = "^TestRoot"
		}
		if !h.runSuite(g, s, "root", "JAIL_TEST_ROOT_PASS=now", filter) {
			failed = append(failed, fmt.Sprintf("%s in %s as root", s.dir, b))
		}
	}
	return failed, nil
}

var outcome = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): .*$`)

// runSuite runs one test binary and prints one line about it, the reasons of skips, and everything when it failed.
func (h home) runSuite(g *guest, s suite, user, setting, filter string) bool {
	line := fmt.Sprintf("cd /src/%s && %s exec /stage/%s -test.v -test.timeout=15m", s.dir, setting, s.binary)
	if filter != "" {
		line += fmt.Sprintf(" -test.run='%s'", filter)
	}
	begun := time.Now()
	out, err := g.output(user, line)
	seconds := time.Since(begun).Seconds()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		out = append(out, err.Error()...)
	}
	count := map[string]int{}
	for _, found := range outcome.FindAllSubmatch(out, -1) {
		count[string(found[1])]++
	}
	verdict := "ok  "
	if err != nil {
		verdict = "FAIL"
		fmt.Printf("%s\n", out)
	}
	fmt.Printf("%s\t%s\t%.1fs\tas %s: %d passed, %d failed, %d skipped\n", verdict, s.dir, seconds, user,
		count["PASS"], count["FAIL"], count["SKIP"])
	if err == nil {
		printSkips(out)
	}
	return err == nil
}

// printSkips prints why tests were skipped, each reason once.
func printSkips(out []byte) {
	lines := strings.Split(string(out), "\n")
	seen := map[string]int{}
	var reasons []string
	for i, line := range lines {
		if !strings.Contains(line, "--- SKIP: ") || i == 0 {
			continue
		}
		// The reason is printed before the verdict.
		_, reason, found := strings.Cut(strings.TrimSpace(lines[i-1]), ": ")
		if !found {
			reason = strings.TrimSpace(line)
		}
		if seen[reason]++; seen[reason] == 1 {
			reasons = append(reasons, reason)
		}
	}
	for _, reason := range reasons {
		fmt.Printf("\t\tskipped %d: %s\n", seen[reason], reason)
	}
}
