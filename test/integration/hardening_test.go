package integration

import (
	"strings"
	"testing"

	"jail/test/need"
)

// Each switch of `process` that hardens is seen to do so, beside a run without it.

// makeExecutable has memory written to and then asks to execute it.
const makeExecutable = `import ctypes, mmap
m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
libc = ctypes.CDLL(None, use_errno=True)
print("executable" if libc.mprotect(ctypes.c_void_p(at), 4096, mmap.PROT_READ | mmap.PROT_EXEC) == 0 else "refused")`

func TestWritableMemoryIsNeverExecuted(t *testing.T) {
	need.Kernel(t, 6, 3)
	python := need.Program(t, "python3")
	u := newUser(t)
	for set, want := range map[string]string{"false": "executable\n", "true": "refused\n"} {
		flags := []string{"run", "-p", "default", "--set", "process.memory-deny-write-execute=" + set, "--"}
		if got := u.must(append(flags, python, "-c", makeExecutable)...); got != want {
			t.Errorf("%s: %q, want %q", set, got, want)
		}
		// What the program starts is under it as well.
		if got := u.must(append(flags, "sh", "-c", "exec \"$@\"", "sh", python, "-c", makeExecutable)...); got != want {
			t.Errorf("%s, after an exec: %q, want %q", set, got, want)
		}
	}
}

func TestNoCoreIsDumped(t *testing.T) {
	u := newUser(t)
	core := func(set string) string {
		return u.must("run", "-p", "default", "--set", "process.no-dump="+set, "--set", "rlimits.core=4096", "--", "grep", "core file", "/proc/self/limits")
	}
	if got := strings.Fields(core("false")); got[4] != "4096" {
		t.Errorf("control: %q", got)
	}
	// 1 is the limit at which a core_pattern that starts a program is not followed either.
	if got := strings.Fields(core("true")); got[4] != "1" || got[5] != "1" {
		t.Errorf("%q", got)
	}
}

func TestProcShowsProcessesAlone(t *testing.T) {
	need.Kernel(t, 5, 8)
	u := newUser(t)
	list := func(value string) string {
		return u.must("run", "-p", "default", "--set", "process.proc="+value, "--", "sh", "-c", "ls /proc; cat /proc/self/comm; cat /proc/version 2>/dev/null; true")
	}
	if got := list("all"); !strings.Contains(got, "meminfo") || !strings.Contains(got, "Linux version") {
		t.Errorf("control: %q", got)
	}
	got := list("pid")
	for _, name := range []string{"meminfo", "sys", "Linux version", "kallsyms"} {
		if strings.Contains(got, name) {
			t.Errorf("%s is in sight: %q", name, got)
		}
	}
	if !strings.Contains(got, "self") || !strings.Contains(got, "cat\n") {
		t.Errorf("its own processes are not: %q", got)
	}
}

// A kernel that cannot part processor cores is an error with a remedy; one that can gives the program a cookie.
func TestCoreScheduling(t *testing.T) {
	python := need.Program(t, "python3")
	u := newUser(t)
	// PR_SCHED_CORE, PR_SCHED_CORE_GET: 0 is no cookie. On a machine without second threads there is none to give.
	const cookie = `import ctypes
c = ctypes.c_ulong(0)
libc = ctypes.CDLL(None, use_errno=True)
print(c.value != 0 if libc.prctl(62, 0, 0, 0, ctypes.byref(c)) == 0 else ctypes.get_errno())`
	run := func(set string) (string, string, int) {
		return u.run("run", "-p", "default", "--set", "process.core-scheduling="+set, "--", python, "-c", cookie)
	}
	out, errs, code := run("true")
	switch {
	case code == 125 && strings.Contains(errs, "CONFIG_SCHED_CORE"):
	case code == 0 && (out == "True\n" || out == "19\n"): // ENODEV
	default:
		t.Errorf("exit code %d, %q %q", code, out, errs)
	}
	if out, errs, code := run("false"); code != 0 || out == "True\n" {
		t.Errorf("control: exit code %d, %q %q", code, out, errs)
	}
}
