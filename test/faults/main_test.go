//go:build amd64

// Package faults makes single system calls of a start fail and looks at what becomes of the sandbox.
//
// strace(1) can inject failures, but counts calls for each thread by itself and cannot be told which process to choose:
// the first openat(2) to fail would always be the first of the supervisor's. So the tests bring a tracer of their own
// (ptrace(2), a file), which names a call by the process of jail's that makes it, its name, and how many of that name
// that process has made.
//
// The test binary is also the tracer, started as "trace", and the program inside the sandbox, started as "posture".
package faults

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "posture":
			os.Exit(posture(os.Args[2:]))
		case "trace":
			os.Exit(traceAll(os.Stdin, os.Stdout))
		}
	}
	os.Exit(m.Run())
}
