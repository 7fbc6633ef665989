package need

import (
	"fmt"
	"runtime"
	"testing"
)

// verdict runs a need in a fake test and says how that test ended.
type fake struct {
	testing.TB
	name, ended, said string
}

func (f *fake) Helper()      {}
func (f *fake) Name() string { return f.name }
func (f *fake) Skip(args ...any) {
	f.ended, f.said = "skip", fmt.Sprint(args...)
	runtime.Goexit()
}
func (f *fake) Fatalf(format string, args ...any) {
	f.ended, f.said = "fail", fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func verdict(name string, need func(testing.TB)) *fake {
	f := &fake{name: name, ended: "run"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		need(f)
	}()
	<-done
	return f
}

func TestMissing(t *testing.T) {
	program := func(t testing.TB) { Program(t, "no-such-program-on-any-machine") }
	browser := func(t testing.TB) { missing(t, guestLacks("firefox"), "needs firefox") }
	tests := []struct {
		name string
		env  map[string]string
		need func(testing.TB)
		want string
	}{
		{"a missing program skips at a developer's", nil, program, "skip"},
		{"a missing program fails in CI", map[string]string{"CI": "true"}, program, "fail"},
		{"a missing program fails in CI in the guest", map[string]string{"CI": "true", "JAIL_GUEST": "bookworm"}, program, "fail"},
		{"a browser is not expected in the guest", map[string]string{"CI": "true", "JAIL_GUEST": "bookworm"}, browser, "skip"},
		{"a browser is expected on the host", map[string]string{"CI": "true"}, browser, "fail"},
		{"a program that is there runs", map[string]string{"CI": "true"}, func(t testing.TB) { Program(t, "sh") }, "run"},
		{"one of several programs will do", map[string]string{"CI": "true"}, func(t testing.TB) { Program(t, "no-such-program", "sh") }, "run"},
		{"a kernel to come skips in CI", map[string]string{"CI": "true"}, func(t testing.TB) { Kernel(t, 99, 0) }, "skip"},
		{"an old kernel runs", nil, func(t testing.TB) { Kernel(t, 3, 0) }, "run"},
		{"guest tests skip on the host in CI", map[string]string{"CI": "true"}, func(t testing.TB) { Guest(t) }, "skip"},
		{"guest tests run in the guest", map[string]string{"CI": "true", "JAIL_GUEST": "trixie"}, func(t testing.TB) { Guest(t) }, "run"},
		{"a test for root must be named so", nil, func(t testing.TB) { Root(t) }, "fail"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CI", "")
			t.Setenv("JAIL_GUEST", "")
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			if got := verdict("TestSomething", test.need); got.ended != test.want {
				t.Errorf("the test would %s (%s), want %s", got.ended, got.said, test.want)
			}
		})
	}
}

func TestRootPassRunsWhatTheOtherLeaves(t *testing.T) {
	OrdinaryUser(t)
	t.Setenv("CI", "true")
	t.Setenv("JAIL_TEST_ROOT_PASS", "follows")
	if got := verdict("TestRootThing", func(t testing.TB) { Root(t) }); got.ended != "skip" {
		t.Errorf("with a pass as root to follow the test would %s (%s), want skip", got.ended, got.said)
	}
	t.Setenv("JAIL_TEST_ROOT_PASS", "")
	if got := verdict("TestRootThing", func(t testing.TB) { Root(t) }); got.ended != "fail" {
		t.Errorf("without a pass as root the test would %s (%s), want fail", got.ended, got.said)
	}
}

func TestRootPassIsRoot(t *testing.T) {
	Root(t)
	t.Setenv("CI", "true")
	t.Setenv("JAIL_TEST_ROOT_PASS", "now")
	if got := verdict("TestRootThing", func(t testing.TB) { OrdinaryUser(t) }); got.ended != "skip" {
		t.Errorf("as root a test for an ordinary user would %s (%s), want skip", got.ended, got.said)
	}
}
