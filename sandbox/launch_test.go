package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
)

// TestMain lets a test run the launcher in a process of its own: with a bundle on standard input the test
// binary is a small jail.
func TestMain(m *testing.M) {
	if file := os.Getenv("SANDBOX_TEST_BUNDLE"); file != "" {
		os.Exit(launch(file))
	}
	os.Exit(m.Run())
}

func launch(file string) int {
	os.Unsetenv("SANDBOX_TEST_BUNDLE")
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	b := &Bundle{}
	if err := json.Unmarshal(text, b); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	status, err := func() (Status, error) {
		facts, err := Gather()
		if err != nil {
			return Status{Code: 125}, err
		}
		plan, err := Compile(b, facts)
		if err != nil {
			return Status{Code: 125}, err
		}
		if os.Getenv("SANDBOX_TEST_PLAN") != "" {
			plan.WriteTo(os.Stdout)
		}
		return plan.Run(Options{}, [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, func(s string) { fmt.Fprintln(os.Stderr, "jail:", s) })
	}()
	if err != nil {
		fmt.Fprintf(os.Stderr, "jail: %v\n", err)
		var e *Error
		if errors.As(err, &e) {
			if e.Hint != "" {
				fmt.Fprintf(os.Stderr, "  %s\n", e.Hint)
			}
			return e.Exit
		}
	}
	return status.Code
}
