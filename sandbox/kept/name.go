package kept

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Unnamed makes a file of a folder that has no name yet, so that it is there whole
// or not at all: a jail that is killed meanwhile leaves nothing behind. Some file
// systems have no such files (EOPNOTSUPP, EISDIR).
func Unnamed(dir int) (*os.File, error) {
	fd, err := unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "unnamed"), nil
}

// Name gives an unnamed file its name in place of what has it: a file that did not
// pass the checks, or the same one from a jail that was quicker.
func Name(f *os.File, dir int, name string) error {
	// AT_EMPTY_PATH would need a capability, open(2) says to go this way.
	self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	for range 3 {
		err := unix.Linkat(unix.AT_FDCWD, self, dir, name, unix.AT_SYMLINK_FOLLOW)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		err = unix.Unlinkat(dir, name, 0)
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return unix.EEXIST
}
