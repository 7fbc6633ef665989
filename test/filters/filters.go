// Package filters carries compiled system-call filters from one test's home to the next, in the virtual machine.
//
// Tests of jail as a whole give it a new home each, so jail compiles its filter anew for each. That takes milliseconds
// on a real processor, and is tested that way; an emulated one takes seconds.
package filters

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Lend gives a home the filters that were compiled before. Outside of the virtual machine it does nothing.
func Lend(home string) error { return carry(kept(os.Getenv("HOME")), kept(home)) }

// Keep takes what was compiled in a home, for the next. The place for it is the cache of the user that the tests run as:
// the guest is theirs, and nobody else writes there.
func Keep(home string) error { return carry(kept(home), kept(os.Getenv("HOME"))) }

// kept is where jail keeps its filters.
func kept(home string) string { return filepath.Join(home, ".cache", "jail", "seccomp") }

// carry copies the filters that are missing from one folder to another, with the modes that jail asks for.
func carry(source, dest string) error {
	if os.Getenv("JAIL_GUEST") == "" {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(source, "[0-9a-f]*"))
	if err != nil || len(names) == 0 {
		return err
	}
	if err := os.MkdirAll(dest, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		target := filepath.Join(dest, filepath.Base(name))
		if _, err := os.Lstat(target); err == nil {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned meanwhile
		}
		if err != nil {
			return err
		}
		// Another test may do the same: a filter is there whole or not at all.
		unfinished, err := os.CreateTemp(dest, ".new-")
		if err != nil {
			return err
		}
		_, err = unfinished.Write(text)
		if err := errors.Join(err, unfinished.Close(), os.Rename(unfinished.Name(), target)); err != nil {
			return err
		}
	}
	return nil
}
