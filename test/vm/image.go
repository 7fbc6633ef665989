package main

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

//go:embed recipe
var recipe embed.FS

// image gives the folder with kernel, initrd, root.ext4 and the login key of a release, and makes it when the
// recipe has changed since, or it was never made.
func (h home) image(release string) (string, error) {
	name, err := recipeName(release)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(h.cache, name)
	if complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(h.cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(h.cache, release+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if complete(dir) {
		return dir, nil
	}
	fmt.Fprintf(os.Stderr, "test/vm: making the %s image, once (a few minutes)\n", release)
	begun := time.Now()
	unfinished := dir + ".new"
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o755)); err != nil {
		return "", err
	}
	if err := buildImage(release, unfinished); err != nil {
		return "", fmt.Errorf("image of %s: %w (hint: `make deps` installs mmdebstrap and its like)", release, err)
	}
	if err := os.Rename(unfinished, dir); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "test/vm: %s made in %.0f s\n", dir, time.Since(begun).Seconds())
	return dir, h.removeOld(release, name)
}

func buildImage(release, dir string) error {
	// mmdebstrap runs in a user namespace when it is not root, and has to be able to read the recipe there.
	files, err := os.MkdirTemp("", "jail-guest-recipe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	if err := os.Chmod(files, 0o755); err != nil {
		return err
	}
	sub, err := fs.Sub(recipe, "recipe")
	if err != nil {
		return err
	}
	if err := os.CopyFS(files, sub); err != nil {
		return err
	}
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "guest", "-f", key).CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	cmd := exec.Command("nice", "bash", filepath.Join(files, "build"), release, files, key+".pub", dir)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func complete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "root.ext4"))
	return err == nil
}

// recipeName names an image after everything that decides what is in it.
func recipeName(release string) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(recipe, "recipe", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := recipe.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
		return err
	})
	return release + "-" + hex.EncodeToString(sum.Sum(nil))[:12], err
}

// removeOld removes images of the same release made from another recipe, half a gigabyte each, unless a guest that
// stays still runs from one.
func (h home) removeOld(release, keep string) error {
	others, err := filepath.Glob(filepath.Join(h.cache, release+"-????????????"))
	if err != nil {
		return err
	}
	inUse := h.imagesInUse()
	for _, dir := range others {
		if filepath.Base(dir) != keep && !inUse[dir] {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}
