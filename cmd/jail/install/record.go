package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Record tells what was made for one program.
type Record struct {
	// Name is the program's, and that of its wrapper.
	Name string `json:"name"`
	// Program is the path of the program itself.
	Program string `json:"program"`
	// Profile is the profile it runs with.
	Profile string `json:"profile"`
	// Files are the wrapper and the desktop entries.
	Files []File `json:"files"`
	// Dirs are the folders that were not there before, each after the one it lies in.
	Dirs []string `json:"dirs,omitempty"`
}

const recordSuffix = ".json"

func (p Places) recordPath(name string) string { return filepath.Join(p.Records, name+recordSuffix) }

// Installed lists the records, by name.
func (p Places) Installed() ([]Record, error) {
	entries, err := os.ReadDir(p.Records)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Record
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), recordSuffix)
		if !ok {
			continue
		}
		r, err := p.record(name)
		if err != nil {
			return nil, err
		}
		all = append(all, *r)
	}
	return all, nil
}

// record reads the record of a program; fs.ErrNotExist when there is none.
func (p Places) record(name string) (*Record, error) {
	path := p.recordPath(name)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// What is removed later comes from here, so nothing but what Install writes is believed.
	if r.Name != name {
		return nil, fmt.Errorf("%s: tells of another program, %q", path, r.Name)
	}
	for _, f := range r.Files {
		if !slices.Contains([]string{p.Bin, p.applications()}, filepath.Dir(f.Path)) {
			return nil, fmt.Errorf("%s: %s is not where jail puts files", path, f.Path)
		}
	}
	return &r, nil
}

func (p Places) save(r *Record, own string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return newFile(p.recordPath(r.Name), append(text, '\n'), 0o600).put(own)
}
