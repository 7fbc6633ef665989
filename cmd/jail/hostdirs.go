package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"jail/policy"
)

// makeHostDirs makes the folders that a sandbox needs on the host: persistent homes and the layers
// of overlays. A sandboxed program may have written into a neighbouring folder in an earlier run, so
// below the user's state folder no symbolic link is followed, not even one of the user's own: each
// component is made or opened relative to the one before it, and must belong to the user and be
// closed to others.
func makeHostDirs(dirs []policy.HostDir, stateHome string) error {
	for _, dir := range dirs {
		if err := makeHostDir(dir, stateHome); err != nil {
			return err
		}
	}
	return nil
}

func makeHostDir(dir policy.HostDir, stateHome string) error {
	base, rest, private := stateHome, "", true
	if below, ok := strings.CutPrefix(dir.Path, stateHome+"/"); ok {
		rest = below
		if err := os.MkdirAll(stateHome, 0o700); err != nil {
			return fmt.Errorf("%s: make the state folder: %w", dir.Origin, err)
		}
	} else {
		// A folder that the user named elsewhere may lie behind links of the user's; what is
		// missing of it is still made without following any.
		base, rest = existingPart(dir.Path)
		private = false
	}
	fd, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: open %s: %w", dir.Origin, base, err)
	}
	path := base
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		path += "/" + name
		next, err := makeDirAt(fd, name, path, uint32(dir.Mode.Perm()), private)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("%s: %w", dir.Origin, err)
		}
		fd = next
	}
	return unix.Close(fd)
}

// existingPart splits a path into the longest part that is there and the rest.
func existingPart(path string) (base, rest string) {
	for base = path; base != "/"; base = filepath.Dir(base) {
		if _, err := os.Stat(base); err == nil {
			break
		}
		rest = filepath.Join(filepath.Base(base), rest)
	}
	return base, rest
}

// makeDirAt makes name in the folder fd unless it is there, and opens it without following a link.
func makeDirAt(fd int, name, path string, mode uint32, private bool) (int, error) {
	if err := unix.Mkdirat(fd, name, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("make folder %s: %w", path, err)
	}
	next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	// With O_PATH, O_NOFOLLOW opens a link itself and O_DIRECTORY then refuses it: open(2).
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return -1, &hinted{
			err:  fmt.Errorf("%s is not a folder, or a symbolic link, which jail does not follow here", path),
			hint: "move it away, or bind what it leads to with a filesystem entry that has a source",
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open folder %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(next, &st); err != nil {
		unix.Close(next)
		return -1, fmt.Errorf("look at folder %s: %w", path, err)
	}
	if private && (int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0) {
		unix.Close(next)
		return -1, &hinted{
			err:  fmt.Errorf("%s must belong to you and be writable by nobody else (owner %d, mode %04o)", path, st.Uid, st.Mode&0o7777),
			hint: "chmod go-w " + path,
		}
	}
	return next, nil
}
