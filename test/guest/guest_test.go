// Package guest holds the tests that run in the virtual machine only: they change the machine, or need one set up
// in a way that no other is. `make test-vm` runs them; elsewhere they are skipped.
package guest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"jail/test/need"
)

// result is how a command ended and what it said.
type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, argv ...string) result {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a command that sets something up.
func must(t *testing.T, argv ...string) string {
	t.Helper()
	r := run(t, argv...)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d: %s", strings.Join(argv, " "), r.code, r.stderr)
	}
	return r.stdout
}

// asUser puts before a command what makes root become an ordinary user.
func asUser(name string, argv ...string) []string {
	return append([]string{"runuser", "-u", name, "--"}, argv...)
}

// jailed is a command that says so when it runs, inside a sandbox.
func jailed(t *testing.T, flags ...string) []string {
	t.Helper()
	argv := append([]string{need.Jail(t)}, flags...)
	return append(argv, "sh", "-c", "echo started")
}

// started checks that the program ran, which is every refusal's control run.
func started(t *testing.T, r result) {
	t.Helper()
	if r.code != 0 || r.stdout != "started\n" {
		t.Fatalf("exit code %d, printed %q, want the program to run; jail said: %s", r.code, r.stdout, r.stderr)
	}
}

// refused checks that nothing ran and that the message holds every one of the words.
func refused(t *testing.T, r result, words ...string) {
	t.Helper()
	if r.code != 125 || r.stdout != "" {
		t.Errorf("exit code %d, printed %q, want 125 and nothing started; jail said: %s", r.code, r.stdout, r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("the message lacks %q: %s", word, r.stderr)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
