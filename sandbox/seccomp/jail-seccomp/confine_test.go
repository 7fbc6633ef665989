//go:build cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("JAIL_TEST_CONFINED") != "" {
		confined()
		return
	}
	os.Exit(m.Run())
}

// attempts are what a spec that takes the compiler over would try next.
var attempts = []struct {
	name string
	try  func() error
}{
	{"open a file", func() error { _, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0); return err }},
	{"open a socket", func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err }},
	{"start a process", func() error {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK, 0, 0, 0, 0, 0)
		return asError(errno)
	}},
	{"start a process with clone3", func() error {
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		return asError(errno)
	}},
	{"run a program", func() error { return unix.Exec("/bin/true", []string{"true"}, nil) }},
	{"signal the parent", func() error { return unix.Kill(os.Getppid(), 0) }},
	{"map code", func() error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		return err
	}},
	{"ask for privileges back", func() error { return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }},
	{"raise a limit", func() error {
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	}},
	{"a new descriptor", func() error { _, err := unix.Dup(0); return err }},
}

func asError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// confined prints what became of each attempt, from a thread other than the one
// that confined the process too.
func confined() {
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		fmt.Println("list descriptors:", err)
		return
	}
	for _, link := range links {
		if target, _ := os.Readlink(link); target == os.Getenv("JAIL_TEST_LEAK") {
			fmt.Println("inherited:", target)
		}
	}
	if os.Getenv("JAIL_TEST_CONFINED") == "yes" {
		if err := confine(); err != nil {
			fmt.Println("confine:", err)
			return
		}
	}
	done := make(chan string)
	for _, a := range attempts {
		if os.Getenv("JAIL_TEST_CONFINED") == "control" && (a.name == "start a process" || a.name == "run a program") {
			continue // these would succeed, and more than a test wants
		}
		go func() {
			runtime.LockOSThread()
			done <- fmt.Sprintf("%s: %v", a.name, a.try())
		}()
		fmt.Println(<-done)
	}
	// What compile needs still works.
	for range 20 {
		_ = make([]byte, 4<<20)
		debug.FreeOSMemory()
		time.Sleep(time.Millisecond)
	}
	fmt.Println("end")
}

func TestConfinedProcessCanOnlyCompute(t *testing.T) {
	t.Parallel()
	outcome := func(mode string) map[string]string {
		cmd := exec.Command(os.Args[0])
		leak, err := os.Create(filepath.Join(t.TempDir(), "leak"))
		if err != nil {
			t.Fatal(err)
		}
		defer leak.Close()
		cmd.ExtraFiles = []*os.File{leak}
		cmd.Env = append(os.Environ(), "JAIL_TEST_CONFINED="+mode, "JAIL_TEST_LEAK="+leak.Name())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "end\n") {
			t.Fatalf("%s: %v\n%s", mode, err, out)
		}
		results := map[string]string{}
		for line := range strings.Lines(string(out)) {
			name, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
			results[name] = result
		}
		return results
	}
	free, bound := outcome("control"), outcome("yes")
	if leaked, ok := bound["inherited"]; ok {
		t.Errorf("the descriptor of %s was inherited", leaked)
	}
	for _, a := range attempts {
		want := unix.EPERM.Error()
		if a.name == "start a process with clone3" {
			want = unix.ENOSYS.Error()
		}
		if bound[a.name] != want {
			t.Errorf("%s: %s, want %s", a.name, bound[a.name], want)
		}
		if free[a.name] == want {
			t.Errorf("%s: proves nothing, it fails unconfined too: %s", a.name, free[a.name])
		}
	}
}

func TestOversizedInputIsRefused(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		chunk := make([]byte, 1<<20)
		for range maxSpec/len(chunk) + 1 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}()
	if text, err := readAll(int(r.Fd())); err == nil || errors.Is(err, unix.EIO) {
		t.Errorf("read %d bytes, %v", len(text), err)
	}
}
