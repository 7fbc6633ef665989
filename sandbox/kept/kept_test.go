package kept

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var script = []byte("#!/bin/sh\necho kept\n")

// folder is one of a cache of the test's own, whatever the umask it runs with.
func folder(t *testing.T) (fd int, path string) {
	t.Helper()
	home := t.TempDir()
	must(t, os.Chmod(home, 0o700))
	fd, err := Open(home, "programs")
	must(t, err)
	t.Cleanup(func() { Close(fd) })
	return fd, filepath.Join(home, "jail", "programs")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output runs a kept program from its descriptor.
func output(t *testing.T, f *os.File) string {
	t.Helper()
	defer f.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	must(t, err)
	return string(out)
}

// untouched fails when it is read: the program was there.
type untouched struct{ *testing.T }

func (u untouched) Read([]byte) (int, error) {
	return 0, fmt.Errorf("%s: the program was written once more", u.Name())
}

func TestProgramIsKeptAndExecuted(t *testing.T) {
	dir, path := folder(t)
	f, err := Program(dir, "p", int64(len(script)), bytes.NewReader(script))
	must(t, err)
	if got := output(t, f); got != "kept\n" {
		t.Errorf("when it was written it printed %q", got)
	}
	f, err = Program(dir, "p", int64(len(script)), untouched{t})
	must(t, err)
	if got := output(t, f); got != "kept\n" {
		t.Errorf("when it was found it printed %q", got)
	}
	st, err := os.Stat(filepath.Join(path, "p"))
	must(t, err)
	if st.Mode() != programMode {
		t.Errorf("its mode is %v", st.Mode())
	}
}

// A file that another could have put there or changed is not executed.
func TestDoubtfulProgramsAreReplaced(t *testing.T) {
	other := []byte("#!/bin/sh\necho evil\n")
	if len(other) != len(script) {
		t.Fatal("the sizes must not tell them apart")
	}
	for name, attack := range map[string]func(*testing.T, string){
		"writable": func(t *testing.T, p string) { must(t, os.Chmod(p, 0o700)) },
		"others":   func(t *testing.T, p string) { must(t, os.Chmod(p, 0o505)) },
		"set-uid":  func(t *testing.T, p string) { must(t, os.Chmod(p, 0o500|os.ModeSetuid)) },
		"other size": func(t *testing.T, p string) {
			must(t, os.Chmod(p, 0o700))
			must(t, os.Truncate(p, 9))
			must(t, os.Chmod(p, 0o500))
		},
		"two names": func(t *testing.T, p string) { must(t, os.Link(p, filepath.Join(t.TempDir(), "x"))) },
		"a link": func(t *testing.T, p string) {
			moved := filepath.Join(t.TempDir(), "moved")
			must(t, os.Rename(p, moved))
			must(t, os.Symlink(moved, p))
		},
		"a directory": func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.Mkdir(p, 0o500)) },
		"a FIFO":      func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, unix.Mkfifo(p, 0o500)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, path := folder(t)
			planted, err := Program(dir, "p", int64(len(other)), bytes.NewReader(other))
			must(t, err)
			if got := output(t, planted); got != "evil\n" {
				t.Fatalf("the control run printed %q", got)
			}
			attack(t, filepath.Join(path, "p"))
			f, err := Program(dir, "p", int64(len(script)), bytes.NewReader(script))
			must(t, err)
			if got := output(t, f); got != "kept\n" {
				t.Errorf("printed %q", got)
			}
		})
	}
}

// While one start writes a program, others do without, unless it is there already.
func TestOneStartWrites(t *testing.T) {
	dir, path := folder(t)
	writer, err := os.Open(path)
	must(t, err)
	defer writer.Close()
	must(t, unix.Flock(int(writer.Fd()), unix.LOCK_EX))
	if _, err := Program(dir, "p", int64(len(script)), untouched{t}); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("with the folder locked: %v", err)
	}
	must(t, unix.Flock(int(writer.Fd()), unix.LOCK_UN))
	f, err := Program(dir, "p", int64(len(script)), bytes.NewReader(script))
	must(t, err)
	must(t, f.Close())
	must(t, unix.Flock(dir, unix.LOCK_UN))
	must(t, unix.Flock(int(writer.Fd()), unix.LOCK_EX))
	f, err = Program(dir, "p", int64(len(script)), untouched{t})
	must(t, err)
	if got := output(t, f); got != "kept\n" {
		t.Errorf("printed %q", got)
	}
}

// What cannot be written whole gets no name.
func TestHalfAProgramIsNotKept(t *testing.T) {
	dir, path := folder(t)
	if _, err := Program(dir, "p", int64(len(script)+1), bytes.NewReader(script)); err == nil || !strings.Contains(err.Error(), "20 bytes instead of 21") {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(path)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestOldProgramsAreRemoved(t *testing.T) {
	dir, path := folder(t)
	for i := range maxPrograms + 3 {
		f, err := Program(dir, fmt.Sprint("p", i), int64(len(script)), bytes.NewReader(script))
		must(t, err)
		must(t, f.Close())
		at := unix.NsecToTimespec(int64(i+1) * 1e9)
		must(t, unix.UtimesNanoAt(dir, fmt.Sprint("p", i), []unix.Timespec{at, at}, 0))
	}
	left, err := os.ReadDir(path)
	must(t, err)
	names := ""
	for _, e := range left {
		names += e.Name() + " "
	}
	if len(left) != maxPrograms || !strings.Contains(names, fmt.Sprint("p", maxPrograms+2)) || strings.Contains(names, "p0 ") {
		t.Errorf("left %s", names)
	}
}
