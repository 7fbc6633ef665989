package seccomp

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/kept"
)

// Filters beyond maxKept are removed, the oldest first, down to keptAfter. Each
// change of a profile leaves one behind, of 4 to 10 KB.
const (
	maxKept   = 256
	keptAfter = 192
)

// store writes a filter so that it is there whole or not at all: into a file
// without a name, which gets one in the end. A jail that is killed meanwhile
// leaves nothing behind.
func store(dir int, key cacheKey, code []byte) error {
	sum := checksum(key, code)
	text := slices.Concat([]byte(cacheMark), sum[:], code)
	name := key.String()
	f, err := kept.Unnamed(dir)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		err = storeNamed(dir, name, text)
	} else if err == nil {
		err = writePrivate(f, text)
		if err == nil {
			err = kept.Name(f, dir, name)
		}
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("keep filter %s: %w", name, err)
	}
	return prune(dir)
}

// writePrivate sets the mode too, which the umask or a default ACL may have changed.
func writePrivate(f *os.File, text []byte) error {
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	_, err := f.Write(text)
	return err
}

// storeNamed is for file systems that have no files without names (NFS, some
// overlays). What a killed jail leaves there, prune removes in time.
func storeNamed(dir int, name string, text []byte) error {
	temporary := ".new-" + name[:16] + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	fd, err := unix.Openat(dir, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), temporary)
	defer f.Close()
	if err = writePrivate(f, text); err == nil {
		err = unix.Renameat(dir, temporary, dir, name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(dir, temporary, 0))
	}
	return nil
}

func prune(dir int) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("list kept filters: %w", err)
	}
	f := os.NewFile(uintptr(fd), "kept filters")
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("list kept filters: %w", err)
	}
	if len(entries) <= maxKept {
		return nil
	}
	type aged struct {
		name string
		at   time.Time
	}
	var files []aged
	for _, e := range entries {
		var st unix.Stat_t
		switch err := unix.Fstatat(dir, e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW); {
		case errors.Is(err, fs.ErrNotExist): // another jail is at it
		case err != nil:
			return fmt.Errorf("stat kept filter %s: %w", e.Name(), err)
		default:
			files = append(files, aged{e.Name(), time.Unix(st.Mtim.Unix())})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) })
	for _, old := range files[:max(0, len(files)-keptAfter)] {
		if err := unix.Unlinkat(dir, old.name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove kept filter %s: %w", old.name, err)
		}
	}
	return nil
}
