package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Places are the folders of a user.
type Places struct {
	// Bin is where wrappers go, usually ~/.local/bin.
	Bin string
	// DataHome is $XDG_DATA_HOME, with the user's own desktop entries in applications/.
	DataHome string
	// DataDirs are $XDG_DATA_DIRS: the system's desktop entries, the most important first.
	DataDirs []string
	// Records is where it is written down what was made. No sandbox may write there.
	Records string
	// Path are the folders of $PATH.
	Path []string
	// Jail is the absolute path of the jail program.
	Jail string
}

func (p Places) applications() string { return filepath.Join(p.DataHome, "applications") }

// Install makes a wrapper for a program, and desktop entries that start it through jail with a profile. An entry is the
// program's when it starts it, by whatever path, or one of the aliases: names of the same program. What an earlier
// Install made for the program is replaced. Should anything fail, nothing is left of this one.
func (p Places) Install(name, profile string, aliases []string) (*Record, error) {
	program, err := p.find(name)
	if err != nil {
		return nil, err
	}
	old, err := p.record(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r := &Record{Name: name, Program: program, Profile: profile}
	if err := p.files(r, append([]string{name}, aliases...)); err != nil {
		return nil, err
	}
	own := map[string]string{}
	if old != nil {
		r.Dirs = old.Dirs
		for _, f := range old.Files {
			own[f.Path] = f.Digest
		}
	}
	for _, f := range r.Files {
		if state, err := (File{Path: f.Path, Digest: own[f.Path]}).State(); err != nil {
			return nil, err
		} else if state == Changed {
			return nil, foreign(f.Path)
		}
	}
	return r, p.write(r, old, own)
}

// write makes the files of a record, the record first: should jail be killed in the middle, Uninstall knows of them all.
func (p Places) write(r, old *Record, own map[string]string) error {
	for _, dir := range []string{p.Records, p.Bin, p.applications()} {
		if dir == p.applications() && len(r.Files) < 2 {
			continue // no entry to put there
		}
		made, err := makeDirs(dir)
		r.Dirs = append(r.Dirs, made...)
		if err != nil {
			return errors.Join(err, p.undo(r, nil, own))
		}
	}
	ownRecord := ""
	if old != nil {
		text, err := os.ReadFile(p.recordPath(r.Name))
		if err != nil {
			return err
		}
		ownRecord = digest(text)
	}
	if err := p.save(r, ownRecord); err != nil {
		return errors.Join(err, p.undo(r, nil, own))
	}
	for i, f := range r.Files {
		if err := f.put(own[f.Path]); err != nil {
			return errors.Join(err, p.undo(r, r.Files[:i], own), os.Remove(p.recordPath(r.Name)))
		}
	}
	if old == nil {
		return nil
	}
	for _, f := range old.Files { // an entry that the system no longer has
		if !slices.ContainsFunc(r.Files, func(n File) bool { return n.Path == f.Path }) {
			if err := f.remove(); err != nil {
				return err
			}
		}
	}
	return nil
}

// undo removes what a failed Install has made.
func (p Places) undo(r *Record, files []File, own map[string]string) error {
	var failed error
	for _, f := range files {
		if own[f.Path] == "" {
			failed = errors.Join(failed, f.remove())
		}
	}
	for _, dir := range slices.Backward(r.Dirs) {
		_ = unix.Rmdir(dir)
	}
	return failed
}

// remove removes the file if it is still what was made.
func (f File) remove() error {
	state, err := f.State()
	if err != nil || state != Unchanged {
		return err
	}
	return os.Remove(f.Path)
}

// find looks the program up as a shell would, past the wrappers.
func (p Places) find(name string) (string, error) {
	for _, dir := range p.Path {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) == p.Bin {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", &Error{fmt.Sprintf("%s: no such program on the PATH", name), "install the program first"}
}

// files says what there shall be for a program: the wrapper, then the entries.
func (p Places) files(r *Record, names []string) error {
	prefix := []string{p.Jail, "run", "--profile", r.Profile}
	wrapper := fmt.Sprintf("#!/bin/sh\n# Starts %s in its sandbox. `jail uninstall %s` removes this file.\nexec", r.Name, r.Name)
	for _, word := range append(slices.Clone(prefix), "--", r.Program) {
		wrapper += " " + quoteShell(word)
	}
	r.Files = []File{newFile(filepath.Join(p.Bin, r.Name), []byte(wrapper+" \"$@\"\n"), 0o755)}
	entries, err := p.entries(r, names)
	if err != nil {
		return err
	}
	taken, err := p.takenBy(r.Name)
	if err != nil {
		return err
	}
	for id, e := range entries {
		if taken[filepath.Join(p.applications(), id)] {
			continue // installed under another of its names
		}
		text, err := e.through(prefix)
		if err != nil {
			return fmt.Errorf("desktop entry %s: %w", id, err)
		}
		r.Files = append(r.Files, newFile(filepath.Join(p.applications(), id), text, 0o644))
	}
	slices.SortFunc(r.Files[1:], func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// takenBy lists the files that were made for other programs.
func (p Places) takenBy(name string) (map[string]bool, error) {
	records, err := p.Installed()
	taken := map[string]bool{}
	for _, r := range records {
		for _, f := range r.Files {
			taken[f.Path] = taken[f.Path] || r.Name != name
		}
	}
	return taken, err
}

// entries finds the system's desktop entries that start the program, under whatever name. Of two with the same file
// name the first folder's counts, as for menus.
func (p Places) entries(r *Record, names []string) (map[string]entry, error) {
	target, err := filepath.EvalSymlinks(r.Program)
	if err != nil {
		return nil, err
	}
	seen, found := map[string]bool{}, map[string]entry{}
	for _, dir := range p.DataDirs {
		files, err := filepath.Glob(filepath.Join(escapeGlob(dir), "applications", "*.desktop"))
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			id := filepath.Base(path)
			if seen[id] {
				continue
			}
			seen[id] = true
			text, err := os.ReadFile(path)
			if err != nil {
				continue // a dangling link: menus do not show it either
			}
			if e := parseEntry(text); p.starts(e, names, target) {
				found[id] = e
			}
		}
	}
	return found, nil
}

// starts tells whether an entry starts the program: by one of its names, or through any link to it.
func (p Places) starts(e entry, names []string, target string) bool {
	program := e.program()
	if program == "" {
		return false
	}
	if slices.Contains(names, filepath.Base(program)) {
		return true
	}
	if !filepath.IsAbs(program) {
		path, err := p.find(program)
		if err != nil {
			return false
		}
		program = path
	}
	real, err := filepath.EvalSymlinks(program)
	return err == nil && real == target
}

// Uninstall removes what Install made for a program. A file that was changed since stays, and all else with it, unless
// force is set.
func (p Places) Uninstall(name string, force bool) (*Record, error) {
	r, err := p.record(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{fmt.Sprintf("%s: not installed by jail", name), "jail installed"}
	}
	if err != nil {
		return nil, err
	}
	for _, f := range r.Files {
		state, err := f.State()
		if err != nil {
			return nil, err
		}
		if state == Changed && !force {
			return nil, &Error{fmt.Sprintf("%s was changed since jail made it", f.Path), fmt.Sprintf("jail uninstall --force %s removes it all the same", name)}
		}
	}
	for _, f := range r.Files {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := os.Remove(p.recordPath(name)); err != nil {
		return nil, err
	}
	return r, p.leave(r.Dirs)
}

// leave removes the folders that were made, but for those with something in them. What another program's record needs
// is from then on that record's to remove.
func (p Places) leave(dirs []string) error {
	var stay []string
	for _, dir := range slices.Backward(dirs) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			stay = append([]string{dir}, stay...)
		}
	}
	others, err := p.Installed()
	if err != nil || len(others) == 0 || len(stay) == 0 {
		return err
	}
	heir := &others[0]
	text, err := os.ReadFile(p.recordPath(heir.Name))
	if err != nil {
		return err
	}
	heir.Dirs = append(stay, heir.Dirs...)
	return p.save(heir, digest(text))
}

func quoteShell(s string) string {
	if s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-+:@%=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
