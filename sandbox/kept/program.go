package kept

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// programMode is that of kept programs.
const programMode = 0o500

// maxPrograms is how many programs a folder keeps: one of each version of jail that
// is in use.
const maxPrograms = 4

// Program gives the program called name of a folder, open for reading and fit to be
// executed. Where it is not there it is written, from content, which has size bytes;
// while another start does that, and has the folder locked, there is none.
// The name must be another for every other content: what is in a kept file nobody
// looks at, owner, mode and size have to do.
func Program(dir int, name string, size int64, content io.Reader) (*os.File, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("statfs: %w", err)
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return nil, errors.New("nothing may be executed there (noexec)")
	}
	if f := findProgram(dir, name, size); f != nil {
		return f, nil
	}
	// One start writes, and of a hundred at once the others do not wait for it.
	if err := unix.Flock(dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("keep %s: lock the folder: %w", name, err)
	}
	if f := findProgram(dir, name, size); f != nil {
		return f, nil
	}
	f, err := UnnamedProgram(dir, size, content)
	if err != nil {
		return nil, fmt.Errorf("keep %s: %w", name, err)
	}
	if err := errors.Join(Name(f, dir, name), prunePrograms(dir)); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep %s: %w", name, err)
	}
	return f, nil
}

// findProgram gives nil for a program that is not there, and for a doubtful file,
// which is to be replaced.
func findProgram(dir int, name string, size int64) *os.File {
	fd, kept, err := File(dir, name, programMode)
	if err != nil || fd < 0 {
		return nil
	}
	if kept != size {
		Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// UnnamedProgram writes a program into a file without a name, and gives it open for
// reading. The kernel executes nothing that is open for writing (ETXTBSY), so no
// process is made meanwhile that would have the descriptor until its own exec.
func UnnamedProgram(dir int, size int64, content io.Reader) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	w, err := Unnamed(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := w.Chmod(programMode); err != nil {
		return nil, err
	}
	if n, err := io.Copy(w, content); err != nil {
		return nil, err
	} else if n != size {
		return nil, fmt.Errorf("%d bytes instead of %d", n, size)
	}
	// A machine that fails now must not come back with a name for a file of holes.
	if err := w.Sync(); err != nil {
		return nil, err
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(w.Fd())))
}

// prunePrograms removes the oldest programs.
func prunePrograms(dir int) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "kept programs")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil || len(names) <= maxPrograms {
		return err
	}
	written := map[string]int64{}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			written[name] = st.Mtim.Nano()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(written[b], written[a]) })
	for _, name := range names[maxPrograms:] {
		if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
