//go:build amd64

package faults

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// limit is how long a start with a fault in it may take: 5 s, and as much again for each of three other things that a
// busy machine does at the same time.
const limit = 20 * time.Second

var errnos = []syscall.Errno{unix.EPERM, unix.ENOMEM, unix.EINTR, unix.ENOSYS}

// TestSweep makes each system call of a start fail, in each of jail's processes, and wants the program not to run, or to
// run exactly as without the fault.
//
// In full (JAIL_TEST_FULL=1, `make test-faults`) every call of three starts fails with every errno. Otherwise, and for the
// further starts, a few calls of each kind fail in each process, with the errnos in turn. Of each kind of call that Go's runtime and C's library make for
// themselves, such as rt_sigaction(2) for each signal, one fails: what comes of it is theirs to decide, not jail's.
func TestSweep(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	sweep(t, starts)
}

// TestRootSweep is TestSweep for what root alone has here: control groups of the first version, which a process is
// written into.
func TestRootSweep(t *testing.T) {
	need.Root(t)
	sweep(t, rootStarts)
}

func sweep(t *testing.T, starts []start) {
	full := os.Getenv("JAIL_TEST_FULL") != ""
	for _, s := range starts {
		t.Run(s.name, func(t *testing.T) {
			sandboxes := []*sandbox{newSandbox(t, s), newSandbox(t, s)}
			calls := sandboxes[0].healthy(t)
			sandboxes[1].healthy(t)
			faults := choose(calls, s.sampleOf(full))
			next := make(chan fault)
			var tally tally
			var workers sync.WaitGroup
			for _, b := range sandboxes {
				workers.Go(func() {
					for f := range next {
						out := b.run(t, &f)
						tally.add(t, f, out, b.judge(f, out))
					}
				})
			}
			for _, f := range faults {
				next <- f
			}
			close(next)
			workers.Wait()
			t.Logf("%d calls\n%s", len(calls), tally.String())
		})
	}
}

// infallible are calls that their manual pages say cannot fail, or do not return.
var infallible = []uint64{unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RT_SIGRETURN}

// few is how many calls of one kind a sample has, fewer that of a start whose full sweep is itself a sample.
const few, fewer = 8, 2

// sampleOf is how many calls of one kind fail in each process; 0 is all of them, with every errno.
func (s *start) sampleOf(full bool) int {
	switch {
	case full:
		return s.sample
	case s.sample > 0:
		return fewer
	}
	return few
}

// choose picks the faults to try, the same in every run.
func choose(calls []record, sample int) []fault {
	kinds := map[fault][]record{}
	var order []fault
	for _, r := range calls {
		if slices.Contains(infallible, r.Call) {
			continue
		}
		kind := fault{Role: r.Role, Call: r.Call}
		if kinds[kind] == nil {
			order = append(order, kind)
		}
		kinds[kind] = append(kinds[kind], r)
	}
	var faults []fault
	for n, kind := range order {
		all := kinds[kind]
		take := len(all)
		switch {
		case all[0].Runtime:
			take = 1
		case sample > 0:
			take = min(sample, take)
		}
		if sample == 0 {
			for _, r := range all[:take] {
				for _, e := range errnos {
					faults = append(faults, fault{r.Role, r.Call, r.Nth, e})
				}
			}
			continue
		}
		for i := range take {
			r := all[i*len(all)/take]
			faults = append(faults, fault{r.Role, r.Call, r.Nth, errnos[(n+i)%len(errnos)]})
		}
	}
	return faults
}

// A verdict says what became of a start with a fault in it.
type verdict string

const (
	refused  verdict = "refused"   // the program did not run, and jail said why
	ranRight verdict = "ran right" // exactly as without the fault
	retried  verdict = "retried"   // the same, because the call was made again
	ranTold  verdict = "ran right, and jail told of the fault"
	warned   verdict = "ran without a layer that the profile prefers, and jail said so"
	crashed  verdict = "ended by Go's runtime or C's library"
	// Go's library takes a failed read(2) of a pipe for the failure of the program that it started, and waits for the
	// end of a process that waits for its input. No read of a pipe fails so.
	inForkExec verdict = "waited in Go's syscall.forkExec; the program did not run"
	unreached  verdict = "not made in this run"
)

type tally struct {
	mu     sync.Mutex
	all    int
	counts map[string]map[verdict]int // by role
}

func (c *tally) add(t *testing.T, f fault, out outcome, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]map[verdict]int{}
	}
	if c.counts[f.Role] == nil {
		c.counts[f.Role] = map[verdict]int{}
	}
	c.all++
	switch v {
	case refused, ranRight, retried, ranTold, warned, crashed, inForkExec, unreached:
		c.counts[f.Role][v]++
	default:
		c.counts[f.Role]["FAILED"]++
		t.Errorf("%s: %s\nexit code %d, called by %s\n%s", f, v, out.Code, strings.Join(out.Callers, " < "), out.Stderr)
		return
	}
}

func (c *tally) String() string {
	lines := []string{fmt.Sprintf("%d injections", c.all)}
	var roles []string
	for role := range c.counts {
		roles = append(roles, role)
	}
	slices.Sort(roles)
	for _, role := range roles {
		var parts []string
		for v, n := range c.counts[role] {
			parts = append(parts, fmt.Sprintf("%s %d", v, n))
		}
		slices.Sort(parts)
		lines = append(lines, fmt.Sprintf("%-18s %s", role, strings.Join(parts, "; ")))
	}
	return strings.Join(lines, "\n")
}

func (f fault) String() string {
	return fmt.Sprintf("%s, %s number %d, %s", f.Role, callName(f.Call), f.Nth, unix.ErrnoName(f.Errno))
}

// judge compares a run that had a fault in it with the healthy one.
func (b *sandbox) judge(f fault, out outcome) verdict {
	if !out.Hit {
		return unreached
	}
	if out.Hung && slices.Contains(out.Callers, "syscall.forkExec") {
		return inForkExec
	}
	if out.Hung || len(out.Left) > 0 {
		return verdict(fmt.Sprintf("not over after %s: %s", limit, strings.Join(out.Left, "; ")))
	}
	if left := b.leftovers(); left != "" {
		return verdict("something is left: " + left)
	}
	said := message(out)
	if f.Role == program && f.Call == unix.SYS_EXECVE && out.Code == 126 && strings.HasPrefix(out.Stderr, "jail: ") {
		return refused // the program cannot be executed
	}
	if out.Stdout != "" {
		if odd := difference(b.normal, out.Stdout); odd != "" {
			if strings.Contains(out.Stderr, "warning: runs without the second barrier on files") && strings.Count(odd, "\n+ ") == 1 && strings.Contains(odd, "+ "+againstLandlock) {
				return warned
			}
			return verdict("the program ran in another sandbox than without the fault:\n" + odd)
		}
		switch {
		case out.Code == 0 && out.Retried:
			return retried
		case out.Code == 0:
			return ranRight
		case ofRuntime(out.Callers):
			return crashed
		case said == "":
			return ranTold
		}
		return verdict("the program ran, and " + said)
	}
	switch {
	case out.Code == 0:
		return "the program did not run and jail says that all is well"
	case said == "":
		return refused
	case ofRuntime(out.Callers):
		return crashed
	}
	return verdict(said)
}

// message finds fault with what jail said, if there is any.
func message(out outcome) string {
	lines := strings.Split(out.Stderr, "\n")
	told := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "jail: ") })
	switch {
	case out.Code != 125:
		return "the exit code is not 125"
	case strings.Contains(out.Stderr, "panic:") || strings.Contains(out.Stderr, "goroutine "):
		return "jail crashed"
	case told < 0:
		return "there is no message"
	case strings.Count(lines[told], ": ") < 2:
		return "the message does not name both step and cause"
	}
	return ""
}

// difference names the lines of a posture that are not as in the healthy one. One that was cut off must be right as far
// as it goes.
func difference(healthy, got string) string {
	want, have := strings.Split(healthy, "\n"), strings.Split(got, "\n")
	if len(have) > 0 {
		have = have[:len(have)-1] // empty, or half a line
	}
	var odd []string
	for i, line := range have {
		if i >= len(want) || line != want[i] {
			odd = append(odd, fmt.Sprintf("- %s\n+ %s", at(want, i), line))
		}
	}
	return strings.Join(odd[:min(len(odd), 8)], "\n")
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// sortCalls puts records in the order of processes and names, so that the choice of errnos is the same in every run.
func sortCalls(calls []record) {
	slices.SortFunc(calls, func(a, b record) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), cmp.Compare(a.Call, b.Call), cmp.Compare(a.Nth, b.Nth))
	})
}

// TestSweepSees is the sweep's control: a posture with something missing is told from the healthy one, a call that fails
// is named, and what a run leaves is found.
func TestSweepSees(t *testing.T) {
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	b := newSandbox(t, starts[1])
	calls := b.healthy(t)
	plain := b.job.Args
	for _, flags := range [][]string{
		{"--set", "enforcement.seccomp=off"}, {"--set", "enforcement.landlock=off"}, {"--set", "network.mode=host"}, {"--bind", b.home + "/.ssh"},
		{"--set", "process.umask=\"0000\""}, {"--set", "process.hostname=other"},
		{"--env", "TOKEN"}, {"--ro", "/etc/hostname"},
	} {
		b.job.Args = slices.Concat(plain[:3], flags, plain[3:])
		if out := b.run(t, nil); out.Stdout == "" || difference(b.normal, out.Stdout) == "" {
			t.Errorf("%v: the posture does not show it; exit code %d\n%s", flags, out.Code, out.Stderr)
		}
	}
	b.job.Args = plain
	seen := slices.ContainsFunc(calls, func(r record) bool { return r.Role == pid1 && r.Call == unix.SYS_PIVOT_ROOT })
	out := b.run(t, &fault{pid1, unix.SYS_PIVOT_ROOT, 1, unix.ENOMEM})
	if !seen || !out.Hit || out.Code != 125 || !strings.Contains(out.Stderr, "pivot_root: cannot allocate memory") {
		t.Errorf("pivot_root was recorded %t and failed %t: exit code %d\n%s", seen, out.Hit, out.Code, out.Stderr)
	}
	if err := os.WriteFile(b.home+"/left", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if b.leftovers() == "" {
		t.Error("a file that is left is not found")
	}
}
