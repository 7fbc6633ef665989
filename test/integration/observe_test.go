package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// observe makes the named observations. A name may carry an argument: "read:/etc/shadow".
func observe(names []string) int {
	runtime.LockOSThread()
	for _, name := range names {
		kind, arg, _ := strings.Cut(name, ":")
		fmt.Printf("%s = %s\n", name, observation(kind, arg))
	}
	return 0
}

func verdict(err error) string {
	if err == nil {
		return "yes"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func observation(kind, arg string) string {
	switch kind {
	case "bus":
		return busObservation(arg)
	case "read":
		_, err := os.ReadFile(arg)
		return verdict(err)
	case "list":
		entries, err := os.ReadDir(arg)
		if err != nil {
			return verdict(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	case "exists":
		_, err := os.Lstat(arg)
		return verdict(err)
	case "create":
		f, err := os.OpenFile(arg, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
		if err == nil {
			f.Close()
			os.Remove(arg)
		}
		return verdict(err)
	case "write":
		f, err := os.OpenFile(arg, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return verdict(err)
	case "status": // a field of /proc/self/status
		text, err := os.ReadFile("/proc/thread-self/status")
		if err != nil {
			return verdict(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if rest, ok := strings.CutPrefix(line, arg+":"); ok {
				return strings.TrimSpace(rest)
			}
		}
		return "none"
	case "securebits":
		r, _, errno := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0)
		if errno != 0 {
			return verdict(errno)
		}
		return fmt.Sprintf("%#x", r)
	case "env":
		if v, ok := os.LookupEnv(arg); ok {
			return v
		}
		return "unset"
	case "environment":
		env := os.Environ()
		sort.Strings(env)
		return strings.Join(env, " ")
	case "descriptors":
		var fds []string
		for fd := 3; fd < 100; fd++ {
			// What Go's own runtime has open is close-on-exec; what was inherited is not.
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err == nil && flags&unix.FD_CLOEXEC == 0 {
				fds = append(fds, strconv.Itoa(fd))
			}
		}
		return "[" + strings.Join(fds, " ") + "]"
	case "call": // a dangerous system call with arguments that do nothing: call:unshare
		return dangerousCall(arg)
	case "kill": // whether a process of the host can be signalled
		pid, _ := strconv.Atoi(arg)
		return verdict(syscall.Kill(pid, 0))
	case "processes":
		dirs, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return verdict(err)
		}
		if len(dirs) <= 3 {
			return "own"
		}
		return "many"
	case "connect": // connect:network:address
		network, address, _ := strings.Cut(arg, ":")
		c, err := net.DialTimeout(network, address, 2*time.Second)
		if err != nil {
			return "no"
		}
		c.Close()
		return "yes"
	case "shm":
		key, _ := strconv.Atoi(arg)
		_, _, errno := syscall.RawSyscall(unix.SYS_SHMGET, uintptr(key), 0, 0)
		if errno == 0 {
			return "yes"
		}
		return verdict(errno)
	case "mq":
		if errno := mqOpen(arg, unix.O_RDONLY|unix.O_CLOEXEC); errno != 0 {
			return verdict(errno)
		}
		return "yes"
	case "key": // of the user's keyring
		_, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", arg, 0)
		return verdict(err)
	case "bytes":
		text, err := os.ReadFile(arg)
		if err != nil {
			return verdict(err)
		}
		return strconv.Itoa(len(text))
	case "namespace":
		link, err := os.Readlink("/proc/self/ns/" + arg)
		if err != nil {
			return verdict(err)
		}
		return link
	case "hostname":
		name, err := os.Hostname()
		if err != nil {
			return verdict(err)
		}
		return name
	case "domainname":
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return verdict(err)
		}
		return unix.ByteSliceToString(u.Domainname[:])
	case "rlimits":
		text, err := os.ReadFile("/proc/self/limits")
		if err != nil {
			return verdict(err)
		}
		var out []string
		for _, line := range strings.Split(string(text), "\n") {
			// Go raises its own soft limit of open files, so only the hard one is the sandbox's.
			if strings.HasPrefix(line, "Max open files") {
				f := strings.Fields(line)
				line = "Max open files " + f[4]
			}
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(out, "; ")
	case "mounts": // mount points with their type and flags, without what differs by file system
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return verdict(err)
		}
		var out []string
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			left, right, _ := strings.Cut(line, " - ")
			l, r := strings.Fields(left), strings.Fields(right)
			out = append(out, l[4]+" "+r[0]+" "+l[5])
		}
		sort.Strings(out)
		return strings.Join(out, "; ")
	case "cwd":
		dir, err := os.Getwd()
		if err != nil {
			return verdict(err)
		}
		return dir
	case "umask":
		m := syscall.Umask(0)
		syscall.Umask(m)
		return fmt.Sprintf("%04o", m)
	case "ids":
		return fmt.Sprint(os.Getuid(), os.Getgid())
	}
	return "unknown observation"
}

// dangerousCalls are system calls whose refusal is seen from the errno: their arguments make them fail in another
// way, or do nothing, where they are allowed.
var dangerousCalls = map[string]func() syscall.Errno{
	"unshare-user":  raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	"unshare-mount": raw(unix.SYS_UNSHARE, unix.CLONE_NEWNS),
	"clone-user":    forkWith(unix.CLONE_NEWUSER),
	"clone3":        raw(unix.SYS_CLONE3, 0, 0),
	"setns":         raw(unix.SYS_SETNS, bad, 0),
	"mount":         raw(unix.SYS_MOUNT, 1, 1, 1, 0, 0),
	"umount2":       raw(unix.SYS_UMOUNT2, 1, 0),
	"pivot_root":    raw(unix.SYS_PIVOT_ROOT, 1, 1),
	"open_tree":     raw(unix.SYS_OPEN_TREE, bad, 1, 0),
	"move_mount":    raw(unix.SYS_MOVE_MOUNT, bad, 1, bad, 1, 0),
	"fsopen":        raw(unix.SYS_FSOPEN, 1, 0),
	"mount_setattr": raw(unix.SYS_MOUNT_SETATTR, bad, 1, 0, 1, 32),
	"chroot":        raw(unix.SYS_CHROOT, 1),
	"io_uring":      raw(unix.SYS_IO_URING_SETUP, 1, 1),
	"bpf":           raw(unix.SYS_BPF, 99, 1, 1),
	"userfaultfd":   raw(unix.SYS_USERFAULTFD, 0xffff),
	"perf":          raw(unix.SYS_PERF_EVENT_OPEN, 1, 0, bad, bad, 0),
	"keyctl":        raw(unix.SYS_KEYCTL, 99),
	"add_key":       raw(unix.SYS_ADD_KEY, 1, 1, 0, 0, 0),
	"request_key":   raw(unix.SYS_REQUEST_KEY, 1, 1, 0, 0),
	"ptrace":        raw(unix.SYS_PTRACE, unix.PTRACE_PEEKTEXT, 1, 0, 0),
	"process_vm":    raw(unix.SYS_PROCESS_VM_READV, 1, 1, 1, 1, 1, 99),
	"kexec":         raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xffff),
	"init_module":   raw(unix.SYS_INIT_MODULE, 1, 0, 1),
	"swapon":        raw(unix.SYS_SWAPON, 1, 0),
	"reboot":        raw(unix.SYS_REBOOT, 0, 0, 0),
	"settime":       raw(unix.SYS_CLOCK_SETTIME, 99, 1),
	"acct":          raw(unix.SYS_ACCT, 1),
	"quotactl":      raw(unix.SYS_QUOTACTL, 0, 1, 0, 1),
	"open_by":       raw(unix.SYS_OPEN_BY_HANDLE_AT, bad, 1, 0),
	"fanotify":      raw(unix.SYS_FANOTIFY_INIT, 0xffff, 0),
	"tiocsti":       raw(unix.SYS_IOCTL, bad, unix.TIOCSTI, 1),
	"tiocsti-high":  raw(unix.SYS_IOCTL, bad, 1<<32|unix.TIOCSTI, 1),
	"tioclinux":     raw(unix.SYS_IOCTL, bad, unix.TIOCLINUX, 1),
	"packet":        raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_DGRAM, 0),
	"vsock":         raw(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"alg":           raw(unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
	"sctp":          raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
	"personality":   raw(unix.SYS_PERSONALITY, 0x0400000), // READ_IMPLIES_EXEC
}

const bad = ^uintptr(0) // no descriptor

func raw(nr uintptr, args ...uintptr) func() syscall.Errno {
	return func() syscall.Errno {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		return errno
	}
}

// forkWith clones a process that ends at once.
func forkWith(flags uintptr) func() syscall.Errno {
	return func() syscall.Errno {
		cmd := &syscall.SysProcAttr{Cloneflags: flags}
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"true", "observe"}, &syscall.ProcAttr{Sys: cmd})
		if err != nil {
			var errno syscall.Errno
			_ = errors.As(err, &errno)
			return errno
		}
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return 0
	}
}

// dangerousCall runs one call in a process of its own, where it can do no harm to the others.
func dangerousCall(name string) string {
	f := dangerousCalls[name]
	if f == nil {
		return "unknown call"
	}
	if errno := f(); errno != 0 {
		return unix.ErrnoName(errno)
	}
	return "yes"
}
