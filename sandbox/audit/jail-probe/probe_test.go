package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func TestEveryCheckIsWhole(t *testing.T) {
	seen := map[string]bool{}
	groups := map[string]int{}
	for _, c := range allChecks() {
		if seen[c.ID] {
			t.Errorf("%s: there are two", c.ID)
		}
		seen[c.ID] = true
		groups[c.Group]++
		if c.What == "" || c.Why == "" || c.Source == "" || c.try == nil {
			t.Errorf("%s: lacks what, why, source or the attempt: %+v", c.ID, c.Check)
		}
		if strings.ContainsAny(c.What+c.Why+c.Source, "\n\t") {
			t.Errorf("%s: is more than one line", c.ID)
		}
	}
	for _, g := range check.Groups {
		if groups[g] == 0 {
			t.Errorf("the group %s is empty", g)
		}
	}
	if len(seen) < 300 {
		t.Errorf("only %d checks", len(seen))
	}
}

// A process of its own makes each call and tells how it ended; this one goes on as it was.
func TestTry(t *testing.T) {
	for _, c := range []struct {
		name string
		call call
		want string
	}{
		{"success", call{nr: unix.SYS_GETPID}, "success"},
		{"an errno", call{nr: unix.SYS_CLOSE, args: [6]uintptr{bad}}, "EBADF"},
		{"no such call", call{nr: 5000}, "ENOSYS"},
		{"a deadly signal", call{nr: unix.SYS_KILL, args: [6]uintptr{0, uintptr(unix.SIGKILL)}}, "killed by SIGKILL"},
	} {
		prelude := noPrelude
		if c.call.nr == unix.SYS_KILL {
			prelude = &call{nr: unix.SYS_SETPGID} // kill(0) is for the process group
		}
		if got := try(abiNative, prelude, c.call).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestByOutcome(t *testing.T) {
	for _, c := range []struct {
		outcome outcome
		want    check.Answer
	}{
		{outcome{}, check.Open}, {outcome{errno: unix.EFAULT}, check.Open}, {outcome{errno: unix.EPERM}, check.Held},
		{outcome{errno: unix.ENOSYS}, check.Held}, {outcome{signal: unix.SIGSYS}, check.Held}, {outcome{failed: unix.EAGAIN}, check.Cannot},
	} {
		if got := byOutcome(c.outcome).answer; got != c.want {
			t.Errorf("%v: %s, want %s", c.outcome, got, c.want)
		}
	}
}

func TestField(t *testing.T) {
	stat := []byte("12 (a) b) S 34 56 78\n")
	for n, want := range map[int]string{3: "S", 4: "34", 6: "78", 9: ""} {
		if got := field(stat, n); got != want {
			t.Errorf("field %d: %q, want %q", n, got, want)
		}
	}
}
