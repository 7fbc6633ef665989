package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExitCodes: what a command in the guest answers is passed on without a word; what fails on the way there is said.
func TestExitCodes(t *testing.T) {
	bin := t.TempDir()
	// In the place of ssh a guest in which everything fails.
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\necho 'no space left'\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	g := &guest{dir: t.TempDir()}
	command := g.ssh("tester", []string{"false"})
	command.Stdout = nil
	for _, c := range []struct {
		name string
		err  error
		code int
		says string
	}{
		{"nothing", nil, 0, ""},
		{"the guest's command", answered(command.Run()), 1, ""},
		{"no ssh", answered(os.ErrNotExist), 125, "file does not exist"},
		{"copying programs", g.refresh(), 125, "copy programs into the guest: exit status 1: no space left"},
	} {
		var said bytes.Buffer
		if code := exitCode(c.err, &said); code != c.code || !strings.Contains(said.String(), c.says) || (c.says == "") != (said.Len() == 0) {
			t.Errorf("%s: exit code %d and %q, not %d and %q", c.name, code, said.String(), c.code, c.says)
		}
	}
}
