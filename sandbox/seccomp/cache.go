package seccomp

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/bpf"
)

// A cached filter is this mark, a hash of the key and the code, and the code.
// The hash finds files that were cut short or damaged; against somebody who
// can write the directory it is no defence, owner and mode are.
const cacheMark = "jailbpf1"

const (
	cacheHeader  = len(cacheMark) + sha256.Size
	cacheMaxFile = cacheHeader + bpf.MaxInstructions*bpf.InstructionSize
)

// openCache opens the directory of the filters, and makes it where it lacks.
// The caller's own $XDG_CACHE_HOME may be reached through links; below it every
// step is a real directory, checked through the descriptor that is then used,
// so that nothing can be put in its place in between.
func openCache(home string) (int, error) {
	if !filepath.IsAbs(home) {
		return -1, fmt.Errorf("cache of filters: %q is not an absolute path (set XDG_CACHE_HOME)", home)
	}
	fd, err := unix.Open(home, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err = unix.Mkdir(home, 0o700); err == nil || errors.Is(err, unix.EEXIST) {
			fd, err = unix.Open(home, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("cache of filters: open %s: %w", home, err)
	}
	path := home
	if err := checkHome(fd, path); err != nil {
		closeFD(fd)
		return -1, err
	}
	for _, step := range []struct {
		name  string
		other uint32 // permissions that nobody but the owner may have
	}{{"jail", 0o022}, {"seccomp", 0o077}} {
		path = filepath.Join(path, step.name)
		below, err := openBelow(fd, step.name)
		closeFD(fd)
		if err != nil {
			return -1, fmt.Errorf("cache of filters: open %s: %w", path, err)
		}
		fd = below
		if err := checkDir(fd, path, step.other); err != nil {
			closeFD(fd)
			return -1, err
		}
	}
	return fd, nil
}

// closeFD closes what was only looked at or read: there is nothing to lose.
func closeFD(fd int) { _ = unix.Close(fd) }

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
// names but not touch ours.
func checkHome(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cache of filters: stat %s: %w", path, err)
	}
	if st.Uid != uint32(unix.Geteuid()) && st.Uid != 0 {
		return fmt.Errorf("cache of filters: %s belongs to user %d (filters are not kept there)", path, st.Uid)
	}
	if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("cache of filters: others can write %s, mode %#o (chmod go-w %s)", path, st.Mode&0o7777, path)
	}
	return nil
}

func checkDir(fd int, path string, other uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cache of filters: stat %s: %w", path, err)
	}
	if st.Uid != uint32(unix.Geteuid()) {
		return fmt.Errorf("cache of filters: %s belongs to user %d (remove it)", path, st.Uid)
	}
	if st.Mode&other != 0 {
		return fmt.Errorf("cache of filters: %s has the mode %#o (chmod 700 %s)", path, st.Mode&0o7777, path)
	}
	return nil
}

// load gives the code of a filter, or nil when it is not there. An error says
// that a file was there and was not fit to be used.
func load(dir int, key cacheKey) ([]byte, error) {
	name := key.String()
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		// Without O_NONBLOCK a FIFO would hold us up.
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cached filter %s: open: %w (compiled anew)", name, err)
	}
	defer closeFD(fd)
	code, err := readFilter(fd, key)
	if err != nil {
		return nil, fmt.Errorf("cached filter %s: %w (compiled anew)", name, err)
	}
	return code, nil
}

func readFilter(fd int, key cacheKey) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.New("not a regular file")
	case st.Uid != uint32(unix.Geteuid()):
		return nil, fmt.Errorf("belongs to user %d", st.Uid)
	case st.Mode&0o177 != 0:
		return nil, fmt.Errorf("mode %#o instead of 0600", st.Mode&0o7777)
	case st.Nlink != 1:
		// A second name may lie where somebody else can write.
		return nil, fmt.Errorf("has %d names", st.Nlink)
	case st.Size <= int64(cacheHeader) || st.Size > int64(cacheMaxFile):
		return nil, fmt.Errorf("has %d bytes", st.Size)
	}
	text := make([]byte, st.Size)
	for n := 0; n < len(text); {
		got, err := unix.Read(fd, text[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read: %w", err)
		case got == 0:
			return nil, errors.New("cut short")
		}
		n += got
	}
	code := text[cacheHeader:]
	if sum := checksum(key, code); string(text[:len(cacheMark)]) != cacheMark || !bytes.Equal(text[len(cacheMark):cacheHeader], sum[:]) {
		return nil, errors.New("damaged")
	}
	if err := bpf.Check(code); err != nil {
		return nil, err
	}
	return code, nil
}

// checksum binds the code to its key, so that one filter never passes for
// another under its name.
func checksum(key cacheKey, code []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(key[:])
	h.Write(code)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}
