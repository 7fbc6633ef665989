package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"jail/test/elf32"
	"jail/test/need"
)

// Capabilities that the caller hands on, inheritable and ambient, end at the sandbox: CVE-2022-24769, CVE-2022-29162.
// An ordinary user has such in a user namespace of its own.
func inheritsNoCapability(t *testing.T) {
	u := newUser(t)
	path, flags := observer(t)
	names := []string{"status:CapInh", "status:CapPrm", "status:CapEff", "status:CapBnd", "status:CapAmb"}
	run := func(program string, args ...string) map[string]string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.Env = u.home, u.env
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
			AmbientCaps: []uintptr{unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE},
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
		return lines(string(out))
	}
	before := run(path, append([]string{"observe"}, names...)...)
	after := run(need.Jail(t), append(append(flags, "--", "/observer", "observe"), names...)...)
	const none, handed = "0000000000000000", "0000000000202002"
	for _, name := range names {
		if after[name] != none {
			t.Errorf("%s is %s inside", name, after[name])
		}
		if name != "status:CapBnd" && name != "status:CapPrm" && name != "status:CapEff" && before[name] != handed || before[name] == none {
			t.Errorf("%s: the control run has %s, so this proves nothing", name, before[name])
		}
	}
}

// A set-user-ID program of root's runs as what the caller is. The dynamic linker tells its programs' auxiliary vector,
// but not to those that gain a privilege: ld.so(8), LD_SHOW_AUXV, secure-execution mode.
func gainsNothingFromSetUserID(t *testing.T) {
	u := newUser(t)
	program := need.Program(t, "passwd")
	if st, err := os.Stat(program); err != nil || st.Mode()&os.ModeSetuid == 0 {
		t.Fatalf("%s is not set-user-ID, so this proves nothing: %v", program, err)
	}
	cmd := exec.Command(program, "--help")
	cmd.Env = append(u.env, "LD_SHOW_AUXV=1")
	if out, _ := cmd.Output(); strings.Contains(string(out), "AT_SECURE") {
		t.Errorf("the control run gains nothing either:\n%s", out)
	}
	out, _, _ := u.run("--env", "LD_SHOW_AUXV=1", program, "--help")
	if !strings.Contains(strings.Join(strings.Fields(out), " "), "AT_SECURE: 0") {
		t.Errorf("%s gained something:\n%s", program, out)
	}
}

// The calls of the native ABI, and the same by the one of 32 bits: there the filter ends the program at its first call.
func makesNoUserNamespace(t *testing.T) {
	u := newUser(t)
	check(t, u, nil, []property{
		{"call:unshare-user", "EPERM", false}, {"call:clone-user", "EPERM", false},
		{"call:clone3", "ENOSYS", false}, {"call:setns", "EPERM", true},
	})
	if out, err := exec.Command("unshare", "--user", "true").CombinedOutput(); err != nil {
		t.Errorf("the control run makes none either: %v %s", err, out)
	}
	if _, _, code := u.run("unshare", "--user", "true"); code != 1 {
		t.Errorf("unshare(1) ends with %d inside, want 1", code)
	}
	if runtime.GOARCH != "amd64" {
		return
	}
	// unshare(CLONE_NEWUSER), then exit with its errno, or with 42 after a success.
	path := filepath.Join(u.home, "unshare32")
	code := []byte{
		0xb8, 0x36, 1, 0, 0, 0xbb, 0, 0, 0, 0x10, 0xcd, 0x80, // mov eax, 310; mov ebx, 0x10000000; int 0x80
		0x89, 0xc3, 0xf7, 0xdb, 0x75, 5, 0xbb, 42, 0, 0, 0, // mov ebx, eax; neg ebx; jnz +5; mov ebx, 42
		0xb8, 1, 0, 0, 0, 0xcd, 0x80, // mov eax, 1; int 0x80
	}
	if err := os.WriteFile(path, elf32.Program(code), 0o755); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	switch err := exec.Command(path).Run(); {
	case err == nil:
		t.Fatal("the control run ends with 0")
	case !asExit(err, &exit) || exit.ExitCode() != 42:
		t.Logf("the control run: %v: this kernel runs no 32-bit programs", err)
		return
	}
	if _, _, code := u.run("--ro", path+":/unshare32", "/unshare32"); code != 128+int(syscall.SIGSYS) {
		t.Errorf("the 32-bit program ends with %d inside, want %d", code, 128+int(syscall.SIGSYS))
	}
}

// Objects of the user's are looked for by their names, which the program is told.
func hasIPCOfItsOwn(t *testing.T) {
	u := newUser(t)
	key := 0x6b000000 | os.Getpid()
	shm, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SysvShmCtl(shm, unix.IPC_RMID, nil) }()
	name := fmt.Sprintf("jail-bait-%d", os.Getpid())
	if errno := mqOpen(name, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC); errno != 0 {
		t.Fatalf("mq_open: %v", errno)
	}
	defer mqUnlink(name)
	id, err := unix.AddKey("user", name, []byte("bait"), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		t.Fatalf("add_key: %v", err)
	}
	defer func() {
		_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
	}()
	check(t, u, nil, []property{
		{fmt.Sprintf("shm:%d", key), "ENOENT", false},
		{"mq:" + name, "ENOENT", false},
		{"key:" + name, "EPERM", false},
	})
}

// jail with file capabilities stops before it reads anything. They count in a user namespace, where somebody who is
// its root gives them: user_namespaces(7), capabilities(7).
func refusesFileCapabilities(t *testing.T) {
	u := newUser(t)
	need.Program(t, "setcap")
	for _, c := range []struct {
		name, set string
		refused   bool
	}{{"control", "true", false}, {"with a capability", "setcap cap_net_raw+ep copy", true}} {
		script := "PATH=$PATH:/usr/sbin:/sbin; cp " + need.Jail(t) + " copy && " + c.set + " && exec unshare --user --map-user=1234 ./copy version"
		cmd := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", script)
		cmd.Dir, cmd.Env = u.home, u.env
		out, err := cmd.CombinedOutput()
		if refused := err != nil && strings.HasPrefix(string(out), "jail: refusing to run set-user-id"); refused != c.refused || !refused && err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}

// A program sees a few files of the kernel's and none that shows or changes the machine. The bait in the folders for
// temporary files is another user's as well as the caller's.
func hasSystemFoldersOfItsOwn(t *testing.T) {
	u := newUser(t)
	var properties []property
	for _, dir := range []string{"/tmp", "/dev/shm", "/run/user/" + fmt.Sprint(os.Getuid())} {
		f, err := os.CreateTemp(dir, "jail-bait-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(f.Name()) })
		properties = append(properties, property{"exists:" + f.Name(), "ENOENT", false})
	}
	check(t, u, nil, append(properties,
		property{"list:/dev", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero", false},
		property{"list:/dev/pts", "ptmx", true}, // a machine may have nobody logged in,
		property{"list:/dev/shm", "", false},
		property{"list:/tmp", "", false},
		property{"exists:/sys/kernel", "ENOENT", false},
		property{"exists:/run/user", "ENOENT", false},
		property{"bytes:/proc/kallsyms", "0", false},
		property{"bytes:/proc/interrupts", "0", false},
		property{"list:/proc/acpi", "", true},
		property{"write:/proc/self/oom_score_adj", "yes", true}, // its own
		property{"write:/proc/sys/kernel/ns_last_pid", "EROFS", false},
	))
}

func mqOpen(name string, flags int) syscall.Errno {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return syscall.EINVAL
	}
	fd, _, errno := syscall.RawSyscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), uintptr(flags), 0o600, 0, 0, 0)
	if errno == 0 {
		_ = unix.Close(int(fd))
	}
	return errno
}

func mqUnlink(name string) {
	if p, err := unix.BytePtrFromString(name); err == nil {
		_, _, _ = syscall.RawSyscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0)
	}
}
