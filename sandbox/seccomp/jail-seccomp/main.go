//go:build cgo

// jail-seccomp turns the seccomp part of an OCI spec (JSON on standard input)
// into classic BPF (an array of struct sock_filter on standard output) by means
// of libseccomp. It is a program of its own because cgo costs 0.7 ms at each
// start of a program that contains it, and because a spec may come from
// anywhere: what reads it here can do nothing but compute (see confine.go).
//
// It is static, is embedded in jail, and runs only when a filter is not in the
// cache. It exits with 1 and a message on standard error when it refuses.
package main

/*
#include <sys/syscall.h>
#include <unistd.h>

// Whatever descriptors the caller of jail left open are none of ours. This runs
// before Go's runtime opens any of its own, which could not be told from them.
__attribute__((constructor)) static void close_inherited(void) {
	syscall(SYS_close_range, 3U, ~0U, 0U);
}
*/
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/compile"
)

// maxSpec bounds the input; a filter for all calls of three ABIs takes 20 KB.
const maxSpec = 4 << 20

func main() {
	if err := run(); err != nil {
		complain(err)
		os.Exit(1)
	}
}

func run() error {
	text, err := readAll(0)
	if err != nil {
		return fmt.Errorf("read the spec: %w", err)
	}
	var export [2]int
	if err := unix.Pipe2(export[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	if err := confine(); err != nil {
		return fmt.Errorf("confine the filter compiler: %w", err)
	}
	var spec specs.LinuxSeccomp
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("parse the spec: %w", err)
	}
	program, err := compile.Spec(&spec, export)
	if err != nil {
		return err
	}
	return writeAll(1, program.Bytes())
}

func readAll(fd int) ([]byte, error) {
	var text []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return text, nil
		case len(text)+n > maxSpec:
			return nil, fmt.Errorf("more than %d bytes", maxSpec)
		}
		text = append(text, buf[:n]...)
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// complain writes at most what a pipe takes at once (PIPE_BUF).
func complain(err error) {
	text := err.Error()
	if len(text) > 4000 {
		text = text[:4000]
	}
	_ = writeAll(2, []byte(text+"\n"))
}
