// Package kept opens the folders of jail's cache, and the files in them. What lies
// there decides what jail does next, so nothing is used that another user, or a
// program in a sandbox, could have put there: below the caller's own
// $XDG_CACHE_HOME every step is a real directory of the caller's that nobody else
// may write to, looked at through the very descriptor that is then used. jail makes
// those, and wants them as it makes them; $XDG_CACHE_HOME may be open to the user's
// own group (OthersWrite).
//
// No sandbox can write below jail's folder there; the compiler of profiles and the
// launcher see to that (policy/protect.go, sandbox/own.go).
package kept

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Open opens the folder called name of jail's cache, and makes it where it lacks.
// $XDG_CACHE_HOME, which is home, may be reached through links.
func Open(home, name string) (int, error) {
	if !filepath.IsAbs(home) {
		return -1, fmt.Errorf("%q is not an absolute path (set XDG_CACHE_HOME)", home)
	}
	fd, err := unix.Open(home, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err = unix.Mkdir(home, 0o700); err == nil || errors.Is(err, unix.EEXIST) {
			fd, err = unix.Open(home, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", home, err)
	}
	path := home
	if err := checkHome(fd, path); err != nil {
		Close(fd)
		return -1, err
	}
	for _, step := range []struct {
		name  string
		other uint32 // permissions that nobody but the owner may have
	}{{"jail", 0o022}, {name, 0o077}} {
		path = filepath.Join(path, step.name)
		below, err := openBelow(fd, step.name)
		Close(fd)
		if err != nil {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
		fd = below
		if err := checkDir(fd, path, step.other); err != nil {
			Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// Close closes what was only looked at or read: there is nothing to lose.
func Close(fd int) { _ = unix.Close(fd) }

func openBelow(dir int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(dir, name, &how)
	if errors.Is(err, unix.ENOENT) {
		if err := unix.Mkdirat(dir, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, err
		}
		fd, err = unix.Openat2(dir, name, &how)
	}
	return fd, err
}

// checkHome lets $XDG_CACHE_HOME be root's or like /tmp, where others can add
// names but not touch ours. Other programs make it as well, with the umask they have.
func checkHome(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Uid != uint32(unix.Geteuid()) && st.Uid != 0 {
		return fmt.Errorf("%s belongs to user %d (nothing is kept there)", path, st.Uid)
	}
	if st.Mode&unix.S_ISVTX == 0 && OthersWrite(fd, &st) {
		return fmt.Errorf("others can write %s, mode %#o (chmod go-w %s)", path, st.Mode&0o7777, path)
	}
	return nil
}

func checkDir(fd int, path string, other uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Uid != uint32(unix.Geteuid()) {
		return fmt.Errorf("%s belongs to user %d (remove it)", path, st.Uid)
	}
	if st.Mode&other != 0 {
		return fmt.Errorf("%s has the mode %#o (chmod 700 %s)", path, st.Mode&0o7777, path)
	}
	return nil
}

// File opens a file of a folder for reading, -1 when it is not there. It must have
// the very mode, no second name, which may lie where somebody else can write, and
// belong to the caller; of what is in it the size alone is told.
func File(dir int, name string, mode uint32) (fd int, size int64, err error) {
	fd, err = unix.Openat2(dir, name, &unix.OpenHow{
		// Without O_NONBLOCK a FIFO would hold us up.
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return -1, 0, nil
	}
	if err != nil {
		return -1, 0, fmt.Errorf("open: %w", err)
	}
	if size, err = checkFile(fd, mode); err != nil {
		Close(fd)
		return -1, 0, err
	}
	return fd, size, nil
}

func checkFile(fd int, mode uint32) (size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return 0, errors.New("not a regular file")
	case st.Uid != uint32(unix.Geteuid()):
		return 0, fmt.Errorf("belongs to user %d", st.Uid)
	case st.Mode&0o7777 != mode:
		return 0, fmt.Errorf("mode %#o instead of %#o", st.Mode&0o7777, mode)
	case st.Nlink != 1:
		return 0, fmt.Errorf("has %d names", st.Nlink)
	}
	return st.Size, nil
}
