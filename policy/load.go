package policy

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxFiles       = 64
	maxExtendDepth = 16
)

// Load reads the profile that ref names and all it extends. ref is a file (with
// a slash, or ending in .yaml) or a name on the search path. The overrides of the
// command line become one more layer on top. The error is a Problems with
// everything found wrong in any of the files.
func Load(ref string, h *Host, overrides ...Override) (*Profile, error) {
	look := newLookup(h)
	for _, dir := range SearchPath(h) {
		if p := look.strangersMay(h, dir); p != nil {
			return nil, Problems{*p}
		}
	}
	src, p := findRef(h, ref)
	if p != nil {
		return nil, Problems{*p}
	}
	l := &loader{host: h, look: look, profile: &Profile{Ref: ref, Name: src.name}, seen: map[string]bool{}}
	l.file(src, Origin{}, 0)
	if n := len(l.profile.Layers); n > 0 {
		if name := l.profile.Layers[n-1].Doc.Name; name.Set {
			l.profile.Name = name.V
		}
	}
	tightens := l.project()
	l.commandLine(overrides)
	if tightens != nil {
		l.profile.Layers = append(l.profile.Layers, tightens)
	}
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return l.profile, nil
}

// LoadHelper reads the profile of a program that jail itself starts beside a
// sandbox. It comes from inside jail and extends nothing, so no file on the search
// path has a say in it.
func LoadHelper(name string, text []byte, h *Host, overrides ...Override) (*Profile, error) {
	l := &loader{host: h, profile: &Profile{Ref: name, Name: name}, seen: map[string]bool{}}
	l.file(&source{file: "helper:" + name + profileSuffix, name: name, text: text}, Origin{}, 0)
	l.commandLine(overrides)
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return l.profile, nil
}

type loader struct {
	host     *Host
	look     *lookup // at whose the files are; nil where they come from jail itself
	profile  *Profile
	problems Problems
	seen     map[string]bool // by source.id
	open     []*source       // the way from the first file to the current one
}

func decodeSource(s *source) (*Document, Problems) {
	var root *node
	if s.path == "" {
		root = shippedTree(s.text)
	}
	if root == nil {
		var problems Problems
		if root, problems = parseYAML(s.text, s.file); len(problems) > 0 {
			return nil, problems
		}
	}
	d := decoder{file: s.file}
	doc := d.document(root)
	if v := doc.Version; v.Set && v.V != 1 {
		d.problems = append(d.problems, problemAt(v.Origin, "version",
			"version "+strconv.FormatInt(v.V, 10)+" of the profile language is not known to this jail", "write version: 1, or use a newer jail"))
	} else if !v.Set && len(d.problems) == 0 && !root.has("version") {
		d.problems = append(d.problems, problemAt(d.origin(root), "version", "the key 'version' is missing", "add 'version: 1'"))
	}
	if n := doc.Name; n.Set && !validName(n.V) {
		d.problems = append(d.problems, problemAt(n.Origin, "name", strconv.Quote(n.V)+" is not a name", nameRule))
	}
	d.problems = append(d.problems, checkPrograms(doc)...)
	if s.project {
		besideProject(doc)
		if doc.Name.Set {
			d.problems = append(d.problems, problemAt(doc.Name.Origin, "name", "a project file has no name: it belongs to its folder", "take the key out"))
		}
		if doc.Programs.Set {
			d.problems = append(d.problems, problemAt(doc.Programs.Origin, "programs", "a project file counts for every program", "take the key out"))
		}
	}
	return doc, d.problems
}

// file reads one file after those it extends. Each file counts once, at the
// first place it is reached from.
func (l *loader) file(s *source, asked Origin, depth int) {
	if l.seen[s.id()] {
		return
	}
	l.seen[s.id()] = true
	if len(l.seen) > maxFiles || depth > maxExtendDepth {
		l.problems = append(l.problems, problemAt(asked, "extends", "too many files: at most "+strconv.Itoa(maxFiles)+
			", nested "+strconv.Itoa(maxExtendDepth)+" deep", "extend fewer profiles"))
		return
	}
	if s.found {
		if p := l.look.strangersMay(l.host, s.path); p != nil {
			l.problems = append(l.problems, *p)
			return
		}
	}
	doc, problems := decodeSource(s)
	l.problems = append(l.problems, problems...)
	if doc == nil {
		return
	}
	l.open = append(l.open, s)
	for i, ref := range doc.Extends.Items {
		if ref.Set {
			l.extend(s, ref, "extends["+strconv.Itoa(i)+"]", depth)
		}
	}
	l.open = l.open[:len(l.open)-1]
	l.profile.Layers = append(l.profile.Layers, &Layer{File: s.file, Path: s.path, Doc: doc, project: s.project})
}

func (l *loader) extend(from *source, ref Text, key string, depth int) {
	fail := func(cause, fix string) {
		l.problems = append(l.problems, problemAt(ref.Origin, key, cause, fix))
	}
	quoted := strconv.Quote(ref.V)
	var next *source
	var err error
	if strings.HasSuffix(ref.V, profileSuffix) {
		if from.project {
			fail("a project file cannot extend a file, which could change without your approval", "extend a profile by its name, or write it into this file")
			return
		}
		if from.path == "" {
			fail("a shipped profile cannot extend a file", "name a profile")
			return
		}
		path, shown := ref.V, ref.V
		if !filepath.IsAbs(path) {
			path, shown = filepath.Join(filepath.Dir(from.path), ref.V), filepath.Join(filepath.Dir(from.file), ref.V)
		}
		next, err = readProfile(l.host, filepath.Clean(path), shown)
		if err != nil {
			fail(quoted+": "+reason(err), "the file is looked for beside this one: "+filepath.Clean(path))
			return
		}
	} else {
		if !validName(ref.V) {
			fail(quoted+" is neither a profile name nor a .yaml file", nameRule+"; a file ends in .yaml")
			return
		}
		after := ""
		if ref.V == from.name {
			after = from.id()
		}
		next, err = byName(l.host, ref.V, after)
		if err != nil && !missing(err) {
			fail(err.Error(), "make the file readable")
			return
		}
		if err != nil {
			fix := didYouMean(ref.V, profileNames(l.host))
			if after != "" {
				fix = "a profile that extends its own name gets the next one on the search path"
			} else if fix == "" {
				fix = "'jail profiles' lists what there is; a file beside this one is written " + ref.V + profileSuffix
			}
			fail("no profile "+quoted+" on the search path", fix)
			return
		}
	}
	if i := slices.IndexFunc(l.open, func(o *source) bool { return o.id() == next.id() }); i >= 0 {
		var way []string
		for _, o := range l.open[i:] {
			way = append(way, o.file)
		}
		fail("a cycle: "+strings.Join(append(way, next.file), " -> "), "take one of the 'extends' out")
		return
	}
	l.file(next, ref.Origin, depth+1)
}
