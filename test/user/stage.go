package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// copyTree makes dest the same as the module at tree, less its history and caches. Files that are the same
// already are left alone. Several test binaries start at a time, so a lock lets one copy and the others wait.
func copyTree(tree, dest string, uid, gid int) error {
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	if err := ownedByRoot(filepath.Dir(dest)); err != nil {
		return err
	}
	lock, err := os.OpenFile(dest+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's temporary file, gone again
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		if rel == ".git" || rel == ".cache" || strings.HasPrefix(rel, "bin/golangci-lint") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		seen[rel] = true
		return copyEntry(path, filepath.Join(dest, rel), entry, uid, gid)
	})
	if err != nil {
		return err
	}
	return removeOthers(dest, seen)
}

// ownedByRoot refuses a folder that somebody made in /var/tmp before us to have root write through it.
func ownedByRoot(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: not a folder that only root can write (uid %d, %v): remove it", dir, owner, info.Mode())
	}
	return nil
}

// copyEntry copies one file, folder or link. The copy is the user's, as a tree of one's own is.
func copyEntry(path, dest string, entry fs.DirEntry, uid, gid int) error {
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case entry.IsDir():
		if err := os.MkdirAll(dest, 0o755); err != nil {
			return err
		}
	case entry.Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if old, err := os.Readlink(dest); err == nil && old == target {
			return nil
		}
		_ = os.Remove(dest)
		if err := os.Symlink(target, dest); err != nil {
			return err
		}
	case entry.Type().IsRegular():
		old, err := os.Lstat(dest)
		if err == nil && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
			return nil
		}
		if err := copyFile(path, dest, info.Mode().Perm()|0o444); err != nil {
			return err
		}
		if err := os.Chtimes(dest, info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	default:
		return nil // a socket or a pipe is no source
	}
	return os.Lchown(dest, uid, gid)
}

// removeOthers removes what the tree no longer has: a stale golden file would hide a missing one.
func removeOthers(dest string, seen map[string]bool) error {
	return filepath.WalkDir(dest, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dest, path)
		if err != nil {
			return err
		}
		if rel == binaries {
			return filepath.SkipDir
		}
		if seen[rel] {
			return nil
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if entry.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
}

// binaries is the folder of the copy where the test binaries that run at the moment are.
const binaries = ".running"

// copyBinary copies a program that lies outside of the tree, in root's temporary folder, to where the user can
// run it. A program of the tree has its copy already and one of the system needs none.
func copyBinary(program, tree, stage string) (path string, remove func(), err error) {
	if !strings.HasSuffix(program, ".test") || strings.HasPrefix(program, tree+"/") {
		return program, func() {}, nil
	}
	dir := filepath.Join(stage, binaries)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(dir, ""); err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, filepath.Base(program))
	return path, func() { _ = os.RemoveAll(dir) }, copyFile(program, path, 0o755)
}

// copyFile replaces dest, never writes into it: a running program cannot be written (ETXTBSY), and a link
// that somebody put there is not followed.
func copyFile(source, dest string, mode fs.FileMode) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.Remove(dest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	to, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}
