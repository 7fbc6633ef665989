//go:build amd64

package faults

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// posture is the program that runs inside: it prints what holds there, a line each, with nothing in it that changes from
// run to run. Its arguments are the host's namespaces, baits to read, and addresses to reach.
//
//	ns:NAME=LINK  read:PATH  list:PATH  create:DIR  tcp:IPv4:PORT
func posture(args []string) int {
	runtime.LockOSThread()
	say := func(key, format string, args ...any) { fmt.Printf("%s = %s\n", key, fmt.Sprintf(format, args...)) }
	for _, field := range []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk",
		"SigIgn", "Umask", "NSpgid", "NSsid"} {
		say(field, "%s", statusField(field))
	}
	say("pid", "%d, child of %d", os.Getpid(), os.Getppid())
	r, _, errno := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0)
	say("securebits", "%#x %s", r, word(errno))
	say("environment", "%s", strings.Join(sorted(os.Environ()), " "))
	cwd, err := os.Getwd()
	say("cwd", "%s %s", cwd, word(err))
	var host unix.Utsname
	_ = unix.Uname(&host)
	say("names", "%s %s", unix.ByteSliceToString(host.Nodename[:]), unix.ByteSliceToString(host.Domainname[:]))
	for i := range 16 {
		var l unix.Rlimit
		err := unix.Getrlimit(i, &l)
		if i == unix.RLIMIT_NOFILE {
			l.Cur = 0 // Go raises its own
		}
		say(fmt.Sprint("rlimit ", i), "%d %d %s", l.Cur, l.Max, word(err))
	}
	say("descriptors", "%s", descriptors())
	say("processes", "%s", processes())
	for _, m := range mounts() {
		say("mount", "%s", m)
	}
	for _, path := range []string{"/proc/1/environ", "/proc/1/maps", "/proc/1/fd", "/proc/kcore", "/proc/sys/user/max_user_namespaces"} {
		say("read "+path, "%s", content(path))
	}
	say("loopback", "%s", loopback())
	say(againstLandlock, "%s", openFor("/proc/self/fd/0", unix.O_RDWR))
	for _, call := range []struct {
		name string
		a    [6]uintptr
	}{
		{"unshare(CLONE_NEWUSER)", [6]uintptr{unix.SYS_UNSHARE, unix.CLONE_NEWUSER}}, {"mount", [6]uintptr{unix.SYS_MOUNT, 1, 1, 1}},
		{"bpf", [6]uintptr{unix.SYS_BPF, 99, 1, 1}}, {"io_uring_setup", [6]uintptr{unix.SYS_IO_URING_SETUP, 1, 1}}, {"keyctl", [6]uintptr{unix.SYS_KEYCTL, 99}},
		{"ioctl(TIOCSTI)", [6]uintptr{unix.SYS_IOCTL, ^uintptr(0), unix.TIOCSTI, 1}}, {"socket(AF_PACKET)", [6]uintptr{unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_DGRAM}},
	} {
		_, _, errno := syscall.RawSyscall6(call.a[0], call.a[1], call.a[2], call.a[3], call.a[4], call.a[5], 0)
		say("call "+call.name, "%s", word(errno))
	}
	for _, arg := range args {
		kind, rest, _ := strings.Cut(arg, ":")
		switch kind {
		case "ns":
			name, link, _ := strings.Cut(rest, "=")
			own, err := os.Readlink("/proc/self/ns/" + name)
			say("namespace "+name, "of its own: %t %s", own != link, word(err))
		case "read":
			say("read "+rest, "%s", content(rest))
		case "list":
			say("list "+rest, "%s", list(rest))
		case "create":
			say("create in "+rest, "%s", create(rest))
		case "tcp":
			say("connect to "+rest, "%s", connect(rest))
		}
	}
	say("posture", "complete")
	return 0
}

// againstLandlock is what only Landlock refuses.
const againstLandlock = "the stream 0 again, for writing"

func sorted(words []string) []string {
	sort.Strings(words)
	return words
}

// word is an error in one word.
func word(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil, errors.As(err, &errno) && errno == 0:
		return "ok"
	case errno != 0:
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func statusField(name string) string {
	text, err := os.ReadFile("/proc/thread-self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "none " + word(err)
}

// descriptors are those open beyond the standard streams; Go's own are close-on-exec and were not inherited.
func descriptors() string {
	var all []string
	for fd := 0; fd < 256; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			all = append(all, fmt.Sprint(fd))
		}
	}
	return strings.Join(all, " ")
}

func processes() string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var all []string
	for _, dir := range dirs {
		name, err := os.ReadFile(dir + "/comm")
		all = append(all, fmt.Sprintf("%s %s%s", filepath.Base(dir), strings.TrimSpace(string(name)), map[bool]string{false: "?"}[err == nil]))
	}
	return strings.Join(all, ", ")
}

// mounts are in the order in which they were made, without numbers.
func mounts() (all []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 6 || len(r) < 3 {
			all = append(all, "odd: "+line)
			continue
		}
		shared := ""
		for _, tag := range l[6:] {
			name, _, _ := strings.Cut(tag, ":")
			shared += " " + name
		}
		all = append(all, fmt.Sprintf("%s on %s %s%s %s %s %s", l[3], l[4], l[5], shared, r[0], r[1], r[2]))
	}
	return all
}

func content(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return word(err)
	}
	if info.IsDir() {
		return list(path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return word(err)
	}
	if len(b) > 40 {
		return fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
	}
	return fmt.Sprintf("%q", b)
}

func list(path string) string {
	entries, err := os.ReadDir(path)
	var all []string
	for _, e := range entries {
		mode := fs.FileMode(0)
		if info, err := e.Info(); err == nil {
			mode = info.Mode()
		}
		all = append(all, e.Name()+" "+mode.String())
	}
	return strings.Join(all, ", ") + " " + word(err)
}

func create(dir string) string {
	path := filepath.Join(dir, "made-by-the-program")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(path))
	}
	return word(err)
}

func openFor(path string, flags int) string {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return word(err)
}

func loopback() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return word(err)
	}
	defer unix.Close(fd)
	var req [40]byte // struct ifreq
	copy(req[:], "lo")
	_, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFFLAGS, uintptr(unsafe.Pointer(&req)))
	return fmt.Sprintf("up: %t %s", req[16]&unix.IFF_UP != 0, word(errno))
}

// connect tries a connection without package net, whose init would look at files of the sandbox.
func connect(address string) string {
	var ip [4]byte
	var port int
	if _, err := fmt.Sscanf(address, "%d.%d.%d.%d:%d", &ip[0], &ip[1], &ip[2], &ip[3], &port); err != nil {
		return err.Error()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return word(err)
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 10})
	return word(unix.Connect(fd, &unix.SockaddrInet4{Addr: ip, Port: port}))
}
