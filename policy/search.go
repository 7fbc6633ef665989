package policy

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

const (
	systemProfiles = "/etc/jail/profiles"
	shippedPrefix  = "shipped:"
	profileSuffix  = ".yaml"
	maxNameLen     = 64
)

// validName tells whether s is a name: it matches [A-Za-z0-9_.-]{1,64} and is not
// "." or "..". Loose parsing of names has led out of directories elsewhere.
func validName(s string) bool {
	if s == "" || len(s) > maxNameLen || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

const nameRule = "a name is 1 to 64 of the characters A-Z a-z 0-9 _ . -"

// SearchPath gives the directories of the host that profile names are looked up
// in, in order. The shipped profiles come after them.
func SearchPath(h *Host) []string {
	return []string{h.ConfigHome + "/jail/profiles", systemProfiles}
}

// source is a profile file that was found.
type source struct {
	file string // for people: the path, or shipped:NAME.yaml
	path string // on the host, absolute; "" when shipped
	name string
	text []byte
	// project files may be changed by whoever can write their folder.
	project bool
	found   bool // by its name, in a folder of the search path
}

// id tells two files apart.
func (s *source) id() string {
	if s.path != "" {
		return s.path
	}
	return s.file
}

// readProfile reads one file. A missing one is fs.ErrNotExist; any other error
// is told in words.
func readProfile(h *Host, path, shown string) (*source, error) {
	text, err := h.FS.ReadFile(path, maxFileSize)
	if err != nil {
		return nil, err
	}
	return &source{file: shown, path: path, name: strings.TrimSuffix(filepath.Base(path), profileSuffix), text: text}, nil
}

// byName looks a name up on the search path. after is the id of a file: the
// search goes on behind it, so that a user's own browser.yaml can extend the
// shipped `browser`.
func byName(h *Host, name, after string) (*source, error) {
	skipping := after != ""
	for _, dir := range SearchPath(h) {
		path := dir + "/" + name + profileSuffix
		if skipping {
			skipping = path != after
			continue
		}
		s, err := readProfile(h, path, path)
		if err == nil {
			s.found = true
			return s, nil
		}
		if !missing(err) {
			return nil, &pathError{path, err}
		}
	}
	if file, text := shippedFile(h, name); file != "" && after != shippedPrefix+file {
		return &source{file: shippedPrefix + file, name: name, text: text}, nil
	}
	return nil, fs.ErrNotExist
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + reason(e.err) }
func (e *pathError) Unwrap() error { return e.err }

// reason gives the cause of a file error without the path and the call.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrTooLarge):
		return "larger than " + strconv.Itoa(maxFileSize>>10) + " KiB"
	case errors.Is(err, ErrNotRegular):
		return "not a regular file"
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

// findRef finds the profile that the command line asks for. A name never comes
// from the working directory, where a stranger may have put it; only something
// with a slash or .yaml names a file there.
func findRef(h *Host, ref string) (*source, *Problem) {
	fail := func(cause, fix string) (*source, *Problem) {
		return nil, &Problem{File: ref, Cause: cause, Fix: fix}
	}
	if ref == "" {
		return nil, &Problem{File: FileCommandLine, Key: "--profile", Cause: "an empty profile name", Fix: "'jail profiles' lists them"}
	}
	isPath := strings.Contains(ref, "/")
	if isPath || strings.HasSuffix(ref, profileSuffix) {
		s, err := readProfile(h, absolute(h, ref), ref)
		if err == nil {
			return s, nil
		}
		if isPath || !missing(err) {
			return fail(reason(err), "name a readable YAML file, or a profile that 'jail profiles' lists")
		}
	}
	name := strings.TrimSuffix(ref, profileSuffix)
	if !validName(name) {
		return fail("not a profile name", nameRule+"; a file is named with a / in it")
	}
	s, err := byName(h, name, "")
	if err == nil {
		return s, nil
	}
	if !missing(err) {
		return fail(err.Error(), "make the file readable")
	}
	// A program's name stands for the profile that is for it.
	if profile, ok := ForProgram(h, name); ok {
		if s, err := byName(h, profile, ""); err == nil {
			return s, nil
		}
	}
	fix := didYouMean(name, append(profileNames(h), programNames(h)...))
	if fix == "" {
		fix = "'jail profiles' lists what there is"
		if name == ref {
			if _, err := h.FS.Lstat(absolute(h, ref+profileSuffix)); err == nil {
				fix = "a name is not looked up in the working directory; for the file there write ./" + ref + profileSuffix
			}
		}
	}
	return fail("no profile of that name on the search path", fix)
}

func absolute(h *Host, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(h.Cwd, path)
}

// Listed is one profile that can be named.
type Listed struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	File        string `json:"file"`
	// Kind is what the profile is: for a "program", "general" for any program
	// that --profile is put before, or a "fragment" that others are built from.
	Kind string `json:"kind"`
	// Programs are those that are run with it when no profile is named.
	Programs []string `json:"programs"`
	// Hides says which file of the same name, later on the search path, this one
	// stands before.
	Hides string `json:"hides,omitempty"`
	// Problem is set where the file cannot be read as a profile.
	Problem string `json:"problem,omitempty"`
}

// Profiles gives the profiles on the search path, by name.
func Profiles(h *Host) []Listed {
	var all []Listed
	at := map[string]int{}
	add := func(s *source, err error, name, file string) {
		if i, ok := at[name]; ok {
			if all[i].Hides == "" {
				all[i].Hides = file
			}
			return
		}
		l := Listed{Name: name, File: file}
		if err != nil {
			l.Problem = reason(err)
		} else if doc, problems := decodeSource(s); len(problems) > 0 {
			l.Problem = problems[0].Error()
		} else {
			l.Description = doc.Description.V
			l.Programs = doc.programs(name)
			l.Kind = kindOf(file, l.Programs)
		}
		at[name] = len(all)
		all = append(all, l)
	}
	for _, dir := range SearchPath(h) {
		names, err := h.FS.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, n := range names {
			if name, ok := strings.CutSuffix(n, profileSuffix); ok && validName(name) {
				path := dir + "/" + n
				s, err := readProfile(h, path, path)
				add(s, err, name, path)
			}
		}
	}
	for _, f := range embeddedFiles(h) {
		text, err := fs.ReadFile(h.Shipped, f)
		name := strings.TrimSuffix(path.Base(f), profileSuffix)
		add(&source{file: shippedPrefix + f, name: name, text: text}, err, name, shippedPrefix+f)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

func kindOf(file string, programs []string) string {
	switch {
	case len(programs) > 0:
		return "program"
	case strings.HasPrefix(file, shippedPrefix+fragmentDir):
		return "fragment"
	}
	return "general"
}

func profileNames(h *Host) []string {
	var names []string
	for _, f := range embeddedFiles(h) {
		names = append(names, strings.TrimSuffix(path.Base(f), profileSuffix))
	}
	for _, dir := range SearchPath(h) {
		files, err := h.FS.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, n := range files {
			if name, ok := strings.CutSuffix(n, profileSuffix); ok {
				names = append(names, name)
			}
		}
	}
	return names
}
