package policy

import (
	"errors"

	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is the machine as the profile language sees it: a plain value, so that
// Load and Resolve are functions that a table can test.
type Host struct {
	Home     string // absolute, clean, as the user names it (may be a symlink)
	User     string
	Hostname string
	Cwd      string // absolute
	UID, GID int
	Groups   []int // supplementary groups of the caller
	Env      map[string]string
	FS       HostFS

	// SubUIDs and SubGIDs are the caller's ranges of /etc/subuid and /etc/subgid.
	SubUIDs, SubGIDs []IDRange

	// The XDG base directories, absolute, without a trailing "jail".
	ConfigHome, StateHome, CacheHome, DataHome string
	RuntimeDir                                 string // "" where the session has none

	// Executable is the jail program itself, which no sandbox may write
	// (CVE-2019-5736); "" where it is not known.
	Executable string

	// Project is the project file of the working directory, absolute, which need
	// not exist; "" to look for none.
	Project string

	// Shipped holds the profiles inside the binary as NAME.yaml.
	Shipped fs.FS
}

// IDRange is a range of subordinate ids.
type IDRange struct {
	Start, Count uint32
}

// HostFS is the host's file system, read only.
type HostFS interface {
	// Lstat looks at path itself, not at what a symlink there leads to.
	Lstat(path string) (FileStat, error)
	Readlink(path string) (string, error)
	// ReadDir gives the names in a directory, sorted.
	ReadDir(path string) ([]string, error)
	// ReadFile gives at most limit bytes, and an error for a file that holds more
	// or is not a regular file.
	ReadFile(path string, limit int64) ([]byte, error)
	// ReadPlain is ReadFile for a file that anybody may have put there: a symlink
	// in the last component is not followed, and what was opened is told.
	ReadPlain(path string, limit int64) ([]byte, FileStat, error)
	// Access asks whether the caller may read (4), write (2) or search (1) path.
	Access(path string, mode uint32) error
}

// FileStat is what Resolve wants to know of a file.
type FileStat struct {
	Mode     fs.FileMode // type and permission bits
	Dev, Ino uint64
	Rdev     uint64 // of a device node
	Links    uint64 // how many names the file has
	UID      uint32
}

// ErrTooLarge is what HostFS.ReadFile answers for a file above its limit.
var ErrTooLarge = errors.New("file too large")

// ErrNotRegular is what HostFS.ReadFile answers for a FIFO, a device or a directory.
var ErrNotRegular = errors.New("not a regular file")

// CurrentHost looks at the machine this process runs on. Shipped profiles are
// handed in because the package that embeds them is not this one's business.
func CurrentHost(shipped fs.FS) (*Host, error) {
	h := &Host{
		UID: os.Getuid(), GID: os.Getgid(),
		Env: map[string]string{}, FS: OSFS{}, Shipped: shipped,
	}
	for _, kv := range os.Environ() {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			h.Env[name] = value
		}
	}
	var err error
	if h.Cwd, err = os.Getwd(); err != nil {
		return nil, errors.New("the working directory cannot be named: " + err.Error() + "\nhint: cd to a directory that exists")
	}
	if h.Hostname, err = os.Hostname(); err != nil {
		return nil, errors.New("read the host name: " + err.Error())
	}
	if h.Groups, err = os.Getgroups(); err != nil {
		return nil, errors.New("read supplementary groups: " + err.Error())
	}
	h.Executable, _ = os.Executable() // not known: nothing to protect by path
	h.User = h.Env["USER"]
	h.Home = h.Env["HOME"]
	// The environment is the caller's to set; the account database answers only
	// where it says nothing usable.
	if h.User == "" || !filepath.IsAbs(h.Home) {
		if u, err := user.LookupId(strconv.Itoa(h.UID)); err == nil {
			if h.User == "" {
				h.User = u.Username
			}
			if !filepath.IsAbs(h.Home) {
				h.Home = u.HomeDir
			}
		}
	}
	if !filepath.IsAbs(h.Home) {
		return nil, errors.New("no home directory is known for user id " + strconv.Itoa(h.UID) + "\nhint: set HOME to an absolute path")
	}
	h.Home = filepath.Clean(h.Home)
	h.ConfigHome = baseDir(h.Env["XDG_CONFIG_HOME"], h.Home+"/.config")
	h.StateHome = baseDir(h.Env["XDG_STATE_HOME"], h.Home+"/.local/state")
	h.CacheHome = baseDir(h.Env["XDG_CACHE_HOME"], h.Home+"/.cache")
	h.DataHome = baseDir(h.Env["XDG_DATA_HOME"], h.Home+"/.local/share")
	h.RuntimeDir = baseDir(h.Env["XDG_RUNTIME_DIR"], "")
	h.SubUIDs = subIDs("/etc/subuid", h.User, h.UID)
	h.SubGIDs = subIDs("/etc/subgid", h.User, h.UID)
	return h, nil
}

// baseDir follows the XDG base directory specification: a value that is not
// absolute is invalid and ignored.
func baseDir(value, fallback string) string {
	if filepath.IsAbs(value) {
		return filepath.Clean(value)
	}
	return fallback
}

// subIDs reads the caller's lines of /etc/subuid or /etc/subgid (subuid(5)):
// "name-or-id:start:count". Lines that are not in that form are none of ours;
// newuidmap, which reads the file itself, has the last word.
func subIDs(path, name string, uid int) []IDRange {
	text, err := OSFS{}.ReadFile(path, 1<<20)
	if err != nil {
		return nil
	}
	var ranges []IDRange
	id := strconv.Itoa(uid)
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 || (fields[0] != name && fields[0] != id) {
			continue
		}
		start, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			ranges = append(ranges, IDRange{uint32(start), uint32(count)})
		}
	}
	return ranges
}

// OSFS is the HostFS of the machine this process runs on.
type OSFS struct{}

// Lstat calls lstat(2).
func (OSFS) Lstat(path string) (FileStat, error) {
	var st syscall.Stat_t
	for {
		err := syscall.Lstat(path, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			return FileStat{}, err
		}
	}
	return fileStat(&st), nil
}

func fileStat(st *syscall.Stat_t) FileStat {
	return FileStat{Mode: fileMode(st.Mode), Dev: st.Dev, Ino: st.Ino, Rdev: st.Rdev, Links: uint64(st.Nlink), UID: st.Uid} //nolint:unconvert // 32 bits on arm64
}

func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	if m&syscall.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	switch m & syscall.S_IFMT {
	case syscall.S_IFDIR:
		mode |= fs.ModeDir
	case syscall.S_IFLNK:
		mode |= fs.ModeSymlink
	case syscall.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case syscall.S_IFSOCK:
		mode |= fs.ModeSocket
	case syscall.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case syscall.S_IFBLK:
		mode |= fs.ModeDevice
	}
	return mode
}

// Readlink calls readlink(2).
func (OSFS) Readlink(path string) (string, error) { return os.Readlink(path) }

// ReadDir lists a directory. Like readRegular it makes the bare calls: a pattern
// can go through thousands.
func (OSFS) ReadDir(path string) ([]string, error) {
	fd, err := retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	var names []string
	for buf := make([]byte, 32<<10); ; {
		n, err := retry(func() (int, error) { return syscall.ReadDirent(fd, buf) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			slices.Sort(names)
			return names, nil
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
}

// ReadFile reads a regular file. It opens without blocking, so that a FIFO put
// where a profile is expected cannot make jail wait, and checks the type on the
// open descriptor.
func (OSFS) ReadFile(path string, limit int64) ([]byte, error) {
	text, _, err := readRegular(path, 0, limit)
	return text, err
}

// ReadPlain reads a regular file and no symlink.
func (OSFS) ReadPlain(path string, limit int64) ([]byte, FileStat, error) {
	text, st, err := readRegular(path, syscall.O_NOFOLLOW, limit)
	if errors.Is(err, syscall.ELOOP) {
		err = ErrNotRegular
	}
	return text, st, err
}

// readRegular makes the bare calls: package os would set up its poller for the
// first file, which costs a start more than reading does.
func readRegular(path string, flags int, limit int64) ([]byte, FileStat, error) {
	fail := func(op string, err error) ([]byte, FileStat, error) {
		return nil, FileStat{}, &fs.PathError{Op: op, Path: path, Err: err}
	}
	fd, err := retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC|flags, 0)
	})
	if err != nil {
		return fail("open", err)
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return fail("stat", err)
	}
	switch {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return fail("read", ErrNotRegular)
	case st.Size > limit:
		return fail("read", ErrTooLarge)
	}
	text := make([]byte, 0, st.Size+1) // one more, so that the end is found without growing
	for {
		if len(text) == cap(text) {
			text = slices.Grow(text, 4096)
		}
		n, err := retry(func() (int, error) { return syscall.Read(fd, text[len(text):cap(text)]) })
		switch {
		case err != nil:
			return fail("read", err)
		case n == 0:
			return text, fileStat(&st), nil
		}
		if text = text[:len(text)+n]; int64(len(text)) > limit { // it grew
			return fail("read", ErrTooLarge)
		}
	}
}

// retry repeats a call for as long as a signal comes in between.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// Access calls faccessat(2) with the real ids.
func (OSFS) Access(path string, mode uint32) error {
	return unix.Faccessat(unix.AT_FDCWD, path, mode, 0)
}
