package seccomp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/rules"
	"jail/test/elf32"
	"jail/test/need"
)

// childMode makes the test binary do one thing under the filter that it reads
// from standard input: a filter cannot be taken off again.
const childMode = "JAIL_TEST_FILTERED"

func child(what string) {
	runtime.LockOSThread()
	if what == "memfd_noexec" {
		filterWithoutMemfd()
	}
	code, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Println("read the filter:", err)
		os.Exit(3)
	}
	if len(code) > 0 {
		install(code)
	}
	name, argument, _ := strings.Cut(what, " ")
	if name == "exec" {
		err := syscall.Exec(argument, []string{argument}, nil)
		fmt.Println("exec:", err)
		os.Exit(3)
	}
	var number uintptr
	var args [6]uintptr
	if n, err := fmt.Sscan(what, &number, &args[0], &args[1], &args[2]); n < 1 {
		fmt.Println("not understood:", what, err)
		os.Exit(3)
	}
	_, _, errno := unix.RawSyscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
	fmt.Printf("errno %d\n", int(errno))
	os.Exit(0)
}

func install(code []byte) {
	program := unix.SockFprog{Len: uint16(len(code) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Println("no_new_privs:", err)
		os.Exit(3)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		fmt.Println("seccomp:", errno)
		os.Exit(3)
	}
}

// under runs one call or program in a process of its own, with the filter or,
// as a control, without.
func under(t *testing.T, code []byte, what string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"="+what)
	cmd.Stdin = strings.NewReader(string(code))
	out, err := cmd.Output()
	result := strings.TrimSpace(string(out))
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return result + failed.ProcessState.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestKernelKeepsTheFilter(t *testing.T) {
	t.Parallel()
	code := mustFilter(t, defaultSpec(t), Options{}).Code
	for _, c := range []struct {
		name, what, free, filtered string
	}{
		{"an allowed call", fmt.Sprint(unix.SYS_GETPPID), "errno 0", "errno 0"},
		{"an allowed ioctl", fmt.Sprint(unix.SYS_IOCTL, 99, unix.TCGETS), "errno 9", "errno 9"},
		{"input into the terminal", fmt.Sprint(unix.SYS_IOCTL, 99, unix.TIOCSTI), "errno 9", "errno 1"},
		{"input with high bits", fmt.Sprint(unix.SYS_IOCTL, 99, unix.TIOCSTI|1<<32), "errno 9", "errno 1"},
		{"the console's selection", fmt.Sprint(unix.SYS_IOCTL, 99, uint64(0x541c|0xffff<<48)), "errno 9", "errno 1"},
		{"a user namespace", fmt.Sprint(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_THREAD), "errno 22", "errno 1"},
		{"a user namespace with high bits", fmt.Sprint(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_THREAD|1<<32), "errno 22", "errno 1"},
		{"a call to hide flags in", fmt.Sprint(unix.SYS_CLONE3, 0, 0), "errno 22", "errno 38"},
		{"an allowed socket", fmt.Sprint(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM), "errno 0", "errno 0"},
		{"a rare kind of socket", fmt.Sprint(unix.SYS_SOCKET, unix.AF_KCM, 99), "errno 22", "errno 97"},
		{"a call not granted", fmt.Sprint(unix.SYS_BPF, 99), "errno 1|errno 22", "errno 1"},
		{"a newer call, not listed", fmt.Sprint(unix.SYS_LISTMOUNT, 0), "errno 14|errno 22|errno 38", "errno 38"},
		{"a call that nobody knows", fmt.Sprint(1000), "errno 38", "errno 38"},
		{"number -1", fmt.Sprint(uint64(0xffffffff)), "errno 38", "errno 38"},
		{"x32", fmt.Sprint(rules.X32Bit | 110), "errno 0|errno 38", "signal: bad system call (core dumped)|signal: bad system call"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := under(t, nil, c.what); !oneOf(got, c.free) {
				t.Errorf("without the filter: %s, want %s", got, c.free)
			}
			if got := under(t, code, c.what); !oneOf(got, c.filtered) {
				t.Errorf("with the filter: %s, want %s", got, c.filtered)
			}
		})
	}
}

func oneOf(got, choices string) bool {
	for choice := range strings.SplitSeq(choices, "|") {
		if got == choice {
			return true
		}
	}
	return false
}

// A program of 32 bits dies with its first call, unless i386 was asked for.
func TestKernelKeepsI386Closed(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "exit7")
	exit7 := []byte{0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80} // mov eax, 1 (exit); mov ebx, 7; int 0x80
	must(t, os.WriteFile(program, elf32.Program(exit7), 0o700))
	const dead = "signal: bad system call (core dumped)|signal: bad system call"
	if got := under(t, nil, "exec "+program); got != "exit status 7" {
		t.Skipf("this kernel runs no 32-bit programs (%s), so that none can come to anything", got)
	}
	closed := defaultSpec(t)
	if got := under(t, mustFilter(t, closed, Options{}).Code, "exec "+program); !oneOf(got, dead) {
		t.Errorf("with the filter: %s, want %s", got, dead)
	}
	open := defaultSpec(t)
	open.Architectures = append(open.Architectures, specs.ArchX86)
	if got := under(t, mustFilter(t, open, Options{}).Code, "exec "+program); got != "exit status 7" {
		t.Errorf("with i386 asked for: %s", got)
	}
}

// Where files in memory may not be executed the compiler runs from the cache.
func TestRootCompilerRunsWhereMemfdsMayNot(t *testing.T) {
	need.Root(t)
	need.Kernel(t, 6, 6) // vm.memfd_noexec is one of a pid namespace since then
	home := cacheHome(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"=memfd_noexec", "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	const want = "with a cache: 0 instructions cached: false\nwithout a cache: seccomp: run the filter compiler: may not be executed: memfd_create: permission denied\n" +
		"hint: allow files in memory to be executed (sysctl vm.memfd_noexec=1), or let XDG_CACHE_HOME be on a file system without noexec\n"
	got := string(out)
	if _, rest, ok := strings.Cut(got, " instructions"); ok {
		got = "with a cache: 0 instructions" + rest
	}
	if err != nil || got != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, out, want)
	}
	left, err := filepath.Glob(home + "/jail/seccomp/*")
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// filterWithoutMemfd is pid 1 of a new pid namespace, whose setting it changes.
func filterWithoutMemfd() {
	// /proc must be that of the namespace for /proc/self to exist.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Println("mount:", err)
		os.Exit(3)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		fmt.Println("mount /proc:", err)
		os.Exit(3)
	}
	if err := os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0); err != nil {
		fmt.Println("sysctl:", err)
		os.Exit(3)
	}
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	p, err := Filter(s, Options{CacheHome: os.Getenv("HOME")})
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Printf("with a cache: %d instructions cached: %v\n", p.Len(), p.Cached)
	_, err = Filter(s, Options{})
	fmt.Println("without a cache:", err)
	os.Exit(0)
}
