package policy

import (
	"bytes"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	// fragmentDir holds the shipped profiles that are only parts of others.
	fragmentDir = "fragments/"
	// programIndex is the file beside the shipped profiles that says which
	// profile is for which program, a line "PROGRAM PROFILE" each, sorted. It
	// saves reading all of them at each start.
	programIndex = "programs"
)

// validProgram tells whether s can be the name of a program in `programs`. The
// characters are those of names and the + of g++.
func validProgram(s string) bool {
	return validName(strings.ReplaceAll(s, "+", "_"))
}

// ForProgram finds the profile that is for a program, a file name without a
// slash. In each folder of the search path that is the profile of the program's
// own name, or the one whose `programs` has it; the first folder that has one
// decides. A profile that cannot be read and may be the one is returned as well:
// loading it tells what is wrong, and no other profile is taken in its place.
func ForProgram(h *Host, program string) (profile string, found bool) {
	if !validProgram(program) {
		return "", false
	}
	// refused has the names whose first file says what it is for, and it is not
	// this program: the files it stands before do not count.
	refused := map[string]bool{}
	for _, dir := range SearchPath(h) {
		if name, ok := inFolder(h, dir, program, refused); ok {
			return name, true
		}
	}
	if name := shippedFor(h, program); name != "" && !refused[name] {
		return name, true
	}
	return "", false
}

// inFolder looks through one folder. Only files that hold the program's name, or
// bear it, are parsed.
func inFolder(h *Host, dir, program string, refused map[string]bool) (string, bool) {
	files, err := h.FS.ReadDir(dir)
	if err != nil {
		if missing(err) {
			return "", false
		}
		// A folder that cannot be listed may still be searched.
		_, err := h.FS.Lstat(dir + "/" + program + profileSuffix)
		return program, err == nil || !missing(err)
	}
	other := ""
	for _, file := range files {
		name, ok := strings.CutSuffix(file, profileSuffix)
		if !ok || !validName(name) || refused[name] {
			continue
		}
		switch profileServes(h, dir+"/"+file, name, program) {
		case serves:
			if name == program {
				return name, true
			}
			if other == "" {
				other = name
			}
		case servesNot:
			refused[name] = true
		}
	}
	return other, other != ""
}

type service int

const (
	servesNot service = iota // it says what it is for
	serves
	servesSilent // it does not say, and its name is another
)

// profileServes tells whether the profile in a file is for a program.
func profileServes(h *Host, file, name, program string) service {
	s, err := readProfile(h, file, file)
	if err != nil {
		if name == program {
			return serves
		}
		return servesSilent
	}
	if name != program && !bytes.Contains(s.text, []byte("programs")) {
		return servesSilent
	}
	doc, problems := decodeSource(s)
	if len(problems) > 0 {
		if name == program || bytes.Contains(s.text, []byte(program)) {
			return serves
		}
		return servesSilent
	}
	switch {
	case doc.servesProgram(program) || !doc.Programs.Set && name == program:
		return serves
	case doc.Programs.Set:
		return servesNot
	}
	return servesSilent
}

func (d *Document) servesProgram(program string) bool {
	return slices.ContainsFunc(d.Programs.Items, func(t Text) bool { return t.V == program })
}

// shippedFor looks a program up in the index of the shipped profiles.
func shippedFor(h *Host, program string) string {
	if h.Shipped == nil {
		return ""
	}
	index, err := fs.ReadFile(h.Shipped, programIndex)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(index) {
		if rest, ok := bytes.CutPrefix(line, []byte(program)); ok && len(rest) > 0 && rest[0] == ' ' {
			return string(bytes.TrimSpace(rest))
		}
	}
	return ""
}

// programs gives what a profile is for: what it says, else the program of its name.
func (d *Document) programs(name string) []string {
	if !d.Programs.Set {
		return []string{name}
	}
	all := []string{}
	for _, t := range d.Programs.Items {
		if t.Set {
			all = append(all, t.V)
		}
	}
	return all
}

// checkPrograms looks at the names in `programs`.
func checkPrograms(d *Document) Problems {
	var problems Problems
	for i, t := range d.Programs.Items {
		key := "programs[" + strconv.Itoa(i) + "]"
		switch {
		case !t.Set: // told already
		case strings.Contains(t.V, "/"):
			problems = append(problems, problemAt(t.Origin, key, quote(t.V)+" is a path", "write the program's name, "+quote(path.Base(t.V))))
		case !validProgram(t.V):
			problems = append(problems, problemAt(t.Origin, key, quote(t.V)+" is not a program's name", nameRule+" +"))
		case slices.ContainsFunc(d.Programs.Items[:i], func(o Text) bool { return o.V == t.V }):
			problems = append(problems, problemAt(t.Origin, key, quote(t.V)+" stands twice", "take one out"))
		}
	}
	return problems
}

// shippedFile gives the name of a shipped profile's file, "" where there is none.
func shippedFile(h *Host, name string) (file string, text []byte) {
	if h.Shipped == nil {
		return "", nil
	}
	for _, dir := range [...]string{"", fragmentDir} {
		if text, err := fs.ReadFile(h.Shipped, dir+name+profileSuffix); err == nil {
			return dir + name + profileSuffix, text
		}
	}
	return "", nil
}

// embeddedFiles gives the files of the shipped profiles, sorted by name.
func embeddedFiles(h *Host) []string {
	var files []string
	if h.Shipped == nil {
		return nil
	}
	for _, dir := range [...]string{".", strings.TrimSuffix(fragmentDir, "/")} {
		entries, err := fs.ReadDir(h.Shipped, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), profileSuffix) {
				files = append(files, path.Join(dir, e.Name()))
			}
		}
	}
	return files
}

// SimilarProgram suggests the program that may have been meant, among those that
// shipped profiles are for: "did you mean `firefox`?", or "" where none is close.
func SimilarProgram(h *Host, program string) string {
	names := programNames(h)
	if !validProgram(program) || slices.Contains(names, program) {
		return ""
	}
	return didYouMean(program, names)
}

// programNames gives the programs that shipped profiles are for.
func programNames(h *Host) []string {
	if h.Shipped == nil {
		return nil
	}
	index, err := fs.ReadFile(h.Shipped, programIndex)
	if err != nil {
		return nil
	}
	var names []string
	for line := range bytes.Lines(index) {
		name, _, _ := bytes.Cut(line, []byte(" "))
		names = append(names, string(name))
	}
	return names
}
