package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is one file that was made.
type File struct {
	Path   string      `json:"path"`
	Digest string      `json:"sha256"`
	Mode   fs.FileMode `json:"mode"`

	text []byte // what it shall hold; of a record that was read, nil
}

// State says what became of a file.
type State string

// What may have become of a file since it was made.
const (
	Unchanged State = "unchanged"
	Changed   State = "changed"
	Missing   State = "missing"
)

func newFile(path string, text []byte, mode fs.FileMode) File {
	return File{Path: path, Digest: digest(text), Mode: mode, text: text}
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// State looks at the file. A link in its place is a change.
func (f File) State() (State, error) {
	info, err := os.Lstat(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Missing, nil
	}
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return Changed, nil
	}
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return "", err
	}
	if digest(text) != f.Digest {
		return Changed, nil
	}
	return Unchanged, nil
}

// put makes the file. Only one that is this package's own, with the digest given, is replaced: whatever else stands at
// the path stays, also when it appears at this very moment.
func (f File) put(own string) error {
	tmp, err := os.CreateTemp(filepath.Dir(f.Path), ".jail-install-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(f.text)
	if err = errors.Join(err, tmp.Chmod(f.Mode), tmp.Close()); err != nil {
		return err
	}
	if own != "" {
		if state, err := (File{Path: f.Path, Digest: own}).State(); err != nil {
			return err
		} else if state == Unchanged {
			return os.Rename(tmp.Name(), f.Path)
		}
	}
	if err := os.Link(tmp.Name(), f.Path); errors.Is(err, fs.ErrExist) {
		return foreign(f.Path)
	} else if err != nil {
		return err
	}
	return nil
}

func foreign(path string) error {
	return &Error{fmt.Sprintf("%s is there already, and jail did not make it", path), "move it away, or remove it"}
}

// makeDirs makes a folder with its parents and tells which of them were not there.
func makeDirs(dir string) (made []string, err error) {
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is not a folder", at)
		}
		if err == nil || at == filepath.Dir(at) {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, at)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := os.Mkdir(missing[i], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return made, err
		} else if err == nil {
			made = append(made, missing[i])
		}
	}
	return made, nil
}

// Error is a refusal whose remedy is known.
type Error struct{ text, hint string }

func (e *Error) Error() string { return e.text }

// Hint gives the remedy.
func (e *Error) Hint() string { return e.hint }
