package escape

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attack tries one thing and says whether it worked.
func attack(name string, args []string) {
	runtime.LockOSThread()
	err := attacks[name](args)
	if err == nil {
		fmt.Println("won:", name, strings.Join(args, " "))
	} else {
		fmt.Println("held:", name, strings.Join(args, " "), err)
	}
	os.Exit(0)
}

var attacks = map[string]func([]string) error{
	"type":        typeIntoTerminal,
	"open":        func(a []string) error { return open(a[0], unix.O_RDONLY) },
	"write-again": func(a []string) error { return open(a[0], unix.O_WRONLY) },
	"read":        readSomething,
	"find":        func(a []string) error { return bait(a[0]) },
	"descriptors": leakedDescriptors,
	"new-mount":   func([]string) error { return again("move-mount", unix.CLONE_NEWUSER|unix.CLONE_NEWNS) },
	"move-mount":  newMountCalls,
	"clone":       func([]string) error { return forkInto(unix.SYS_CLONE) },
	"clone3":      func([]string) error { return forkInto(unix.SYS_CLONE3) },
	"connect":     connectAbstract,
	"dial":        dialLoopback,
	"cgroup": func([]string) error {
		return again("mount-cgroup", unix.CLONE_NEWUSER|unix.CLONE_NEWNS|unix.CLONE_NEWCGROUP)
	},
	"mount-cgroup": mountCgroup,
	"shm":          foreignSegment,
	"key":          foreignKey,
	"create":       create,
	"capabilities": capabilities,

	"race":            seesForeign,
	"open-and-find":   func(a []string) error { return errors.Join(letIn(a[0]), bait(a[0])) },
	"open-and-create": func(a []string) error { return errors.Join(letIn(filepath.Dir(filepath.Dir(a[0]))), create(a)) },
	"unmasked-proc":   unmaskedProc,
}

func open(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// typeIntoTerminal pushes a character into the terminal behind any descriptor, with and without a bit above the lower
// half of the request.
func typeIntoTerminal([]string) error {
	var all []error
	for fd := range 3 {
		for _, request := range []uintptr{unix.TIOCSTI, 1<<32 | unix.TIOCSTI} {
			c := byte('!')
			_, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&c)))
			if errno == 0 {
				return nil
			}
			all = append(all, errno)
		}
	}
	return errors.Join(all...)
}

func readSomething(a []string) error {
	b, err := os.ReadFile(a[0])
	if err == nil && len(b) == 0 {
		return errors.New("is empty")
	}
	return err
}

func bait(path string) error {
	b, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(b), "bait") {
		return errors.New("is not the bait")
	}
	return err
}

// leakedDescriptors looks for a directory of the host's among what is open.
func leakedDescriptors([]string) error {
	for fd := 3; fd < 64; fd++ {
		if f, err := unix.Openat(fd, "bait", unix.O_RDONLY, 0); err == nil {
			_ = unix.Close(f)
			return nil
		}
	}
	return errors.New("no descriptor leads to the bait")
}

// again goes on with another attack in new namespaces, as their root.
func again(name string, namespaces uintptr) error {
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"attack", "attack", name}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Cloneflags: namespaces, UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}},
	})
	if err != nil {
		return err
	}
	_, err = syscall.Wait4(pid, nil, 0, nil)
	return errors.Join(err, errors.New("this process alone did not; see what the other says"))
}

// newMountCalls mounts something with calls that are newer than many a filter.
func newMountCalls([]string) error {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.MoveMount(m, "", unix.AT_FDCWD, "/tmp", unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// forkInto makes a process in a user namespace of its own, which ends at once.
func forkInto(call uintptr) error {
	args := [11]uint64{unix.CLONE_NEWUSER, 0, 0, 0, uint64(unix.SIGCHLD)}
	var pid uintptr
	var errno syscall.Errno
	if call == unix.SYS_CLONE3 {
		pid, _, errno = syscall.RawSyscall(call, uintptr(unsafe.Pointer(&args)), 64, 0)
	} else {
		pid, _, errno = syscall.RawSyscall6(call, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		for {
			_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	_, err := syscall.Wait4(int(pid), nil, 0, nil)
	return err
}

func connectAbstract(a []string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + a[0]})
}

func dialLoopback(a []string) error {
	port, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port})
}

// mountCgroup takes the first steps of the way to release_agent: a user, a mount and a cgroup namespace of its own, and
// in them a hierarchy that it may write.
func mountCgroup([]string) error {
	var all []error
	for _, kind := range []struct{ fstype, options string }{{"cgroup2", ""}, {"cgroup", "none,name=systemd"}, {"cgroup", "pids"}, {"cgroup", "memory"}, {"cgroup", "rdma"}} {
		err := unix.Mount("none", "/tmp", kind.fstype, 0, kind.options)
		if err == nil {
			return nil
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

func foreignSegment(a []string) error {
	key, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	_, err = unix.SysvShmGet(key, 0, 0)
	return err
}

// foreignKey looks for a key by its description in the keyrings that the process came with.
func foreignKey([]string) error {
	_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", "jail-bait", 0)
	return err
}

func create(a []string) error {
	if err := os.MkdirAll(filepath.Dir(a[0]), 0o755); err != nil {
		return err
	}
	return os.WriteFile(a[0], []byte("bait"), 0o600)
}

// seesForeign looks in folders for the bait, and makes a file in each.
func seesForeign(dirs []string) error {
	for _, dir := range dirs {
		for _, name := range []string{"", "bait", "sub/bait"} {
			if bait(filepath.Join(dir, name)) == nil {
				return nil
			}
		}
		_ = os.WriteFile(filepath.Join(dir, "made-inside"), nil, 0o600)
	}
	return errors.New("no bait is seen")
}

// letIn opens the directory above a path to its owner.
func letIn(path string) error { return os.Chmod(filepath.Dir(path), 0o700) }

// capabilities looks for any in any set.
func capabilities([]string) error {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if !strings.Contains(string(text), set+":\t0000000000000000\n") {
			return nil
		}
	}
	return errors.New("all sets are empty")
}

// unmaskedProc looks through every procfs of the sandbox for one that shows what is masked at /proc.
func unmaskedProc([]string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		mounts = []byte("1 1 0:1 / /fake rw - proc proc rw\n1 1 0:1 / /var/tmp rw - proc proc rw\n")
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); strings.Contains(line, " - proc ") && f[3] == "/" {
			if readSomething([]string{f[4] + "/key-users"}) == nil {
				return nil
			}
		}
	}
	return errors.New("every /proc is masked")
}

// swap puts a link to a folder in the place of another folder.
func swap(dir, target string) {
	_ = os.Rename(dir, dir+".old")
	_ = os.Symlink(target, dir)
}
