package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Facts is what Compile needs to know of the machine and of the caller. It is a plain value, so that every
// decision of a plan can be tested without the machine.
type Facts struct {
	UID, GID int   // of the caller, in the caller's user namespace
	Groups   []int // supplementary groups of the caller
	LastCap  int   // highest capability the kernel knows (/proc/sys/kernel/cap_last_cap)
	Files    Files // the caller's view of the file system
	NoFile   unix.Rlimit
	// NoSetgroups says that root is root of a user namespace that its maker could only map his own ids into, as a
	// container without subordinate ids is: setgroups(2) is off there for good, and below it (user_namespaces(7)).
	NoSetgroups  bool
	Capabilities capMask   // the caller's effective ones
	Landlock     int       // version of the kernel's Landlock, 0 for none
	Streams      [3]Stream // the caller's standard streams
}

// Files is the part of a file system that decisions are made from. Nothing is ever opened through it.
type Files interface {
	// Lstat tells the type of the file itself, without following a final symbolic link.
	Lstat(path string) (fs.FileMode, error)
	// Readlink gives the target of a symbolic link.
	Readlink(path string) (string, error)
	// ReadDir gives the names in a directory.
	ReadDir(path string) ([]string, error)
}

// Gather collects the facts about this machine.
func Gather() (*Facts, error) {
	f := &Facts{UID: os.Getuid(), GID: os.Getgid(), Files: hostFiles{}, Streams: standardStreams()}
	var err error
	if f.Landlock, err = landlockABI(); err != nil {
		return nil, err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return nil, err
	}
	f.Groups = groups
	f.LastCap = unix.CAP_LAST_CAP // of the headers, where /proc does not say
	if n, err := strconv.Atoi(readSysctl("kernel.cap_last_cap")); err == nil {
		f.LastCap = n
	}
	if f.Capabilities, err = effective(); err != nil {
		return nil, err
	}
	if f.UID == 0 {
		f.NoSetgroups = readLine("/proc/self/setgroups") == "deny"
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &f.NoFile); err != nil {
		return nil, err
	}
	return f, nil
}

type hostFiles struct{}

func (hostFiles) Lstat(path string) (fs.FileMode, error) {
	var st unix.Stat_t
	for {
		err := unix.Lstat(path, &st)
		if err == nil {
			return fileMode(st.Mode), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, err
		}
	}
}

func (hostFiles) Readlink(path string) (string, error) { return os.Readlink(path) }

func (hostFiles) ReadDir(path string) ([]string, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// effective are the capabilities that this process could use: capget(2).
func effective() (capMask, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return capMask(sets[0].Effective) | capMask(sets[1].Effective)<<32, nil
}

func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	}
	return m
}
