package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"jail/policy"
	"jail/sandbox"
	"jail/sandbox/kept"
)

// makeHostDirs makes the folders that a sandbox needs on the host: persistent homes, the layers of
// overlays, and mount points in folders that a program may write to. A sandboxed program may have
// planted a symbolic link on the way in an earlier run, or plant one right now. The compiler has
// resolved the paths, so none of their components is a link unless somebody put it there: each one
// is made or opened relative to the one before it, and no link is followed (CVE-2024-42472). What
// lies below jail's state folder must also belong to the user and be closed to others; a persistent home's
// folders are made by programs too, and may be open to the user's own group.
func makeHostDirs(dirs []policy.HostDir, stateHome string) error {
	if len(dirs) == 0 {
		return nil
	}
	state, err := filepath.EvalSymlinks(stateHome)
	if errors.Is(err, fs.ErrNotExist) {
		state, err = stateHome, nil // it is made as a part of the first folder
	}
	if err != nil {
		return fmt.Errorf("look at the state folder: %w", err)
	}
	for _, dir := range dirs {
		if err := makeHostDir(dir, state+"/jail"); err != nil {
			return fmt.Errorf("%s: %w", dir.Origin, err)
		}
	}
	return nil
}

func makeHostDir(dir policy.HostDir, own string) error {
	if !filepath.IsAbs(dir.Path) || filepath.Clean(dir.Path) != dir.Path {
		return fmt.Errorf("make folder %s: not a clean absolute path", dir.Path)
	}
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	path, rest := "", strings.TrimPrefix(dir.Path, "/")
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		path += "/" + name
		next, err := makeDirAt(fd, name, path, uint32(dir.Mode.Perm()), path == own || strings.HasPrefix(path, own+"/"))
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
		fd = next
	}
	return unix.Close(fd)
}

// makeDirAt makes name in the folder fd unless it is there, and opens it without following a link.
func makeDirAt(fd int, name, path string, mode uint32, private bool) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	next, err := unix.Openat(fd, name, flags, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := unix.Mkdirat(fd, name, mode); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("make folder %s: %w", path, err)
		}
		next, err = unix.Openat(fd, name, flags, 0)
	}
	// With O_PATH, O_NOFOLLOW opens a link itself and O_DIRECTORY then refuses it: open(2).
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return -1, &hinted{
			err:  fmt.Errorf("%s is not a folder, or a symbolic link, which jail does not follow here", path),
			hint: "move it away, or name the folder it leads to",
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open folder %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(next, &st); err != nil {
		_ = unix.Close(next)
		return -1, fmt.Errorf("look at folder %s: %w", path, err)
	}
	if private && (int(st.Uid) != os.Getuid() || kept.OthersWrite(next, &st)) {
		_ = unix.Close(next)
		return -1, &hinted{
			err:  fmt.Errorf("%s must belong to you and be writable by nobody else (owner %d, mode %04o)", path, st.Uid, st.Mode&0o7777),
			hint: "chmod go-w " + path,
		}
	}
	return next, nil
}

// plannedFiles is the host's files as they will be once some folders are made.
type plannedFiles struct {
	sandbox.Files
	dirs map[string]fs.FileMode
}

// withDirs adds folders, and those that they lie in, where nothing is yet.
func withDirs(files sandbox.Files, dirs []policy.HostDir) sandbox.Files {
	f := plannedFiles{files, map[string]fs.FileMode{}}
	for _, dir := range dirs {
		for at := dir.Path; at != "/"; at = filepath.Dir(at) {
			f.dirs[at] = fs.ModeDir | dir.Mode.Perm()
		}
	}
	return f
}

// ReadDir leaves the planned folders out: nothing is in them.
func (f plannedFiles) ReadDir(path string) ([]string, error) {
	names, err := f.Files.ReadDir(path)
	if _, ok := f.dirs[path]; ok && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// Lstat tells of the planned folders too.
func (f plannedFiles) Lstat(path string) (fs.FileMode, error) {
	mode, err := f.Files.Lstat(path)
	if planned, ok := f.dirs[path]; ok && errors.Is(err, fs.ErrNotExist) {
		return planned, nil
	}
	return mode, err
}
