package policy

import (
	"cmp"
	"path"
	"slices"
	"strconv"
)

// Resolve decides everything a profile leaves open on this host. It looks at
// the host through h only and changes nothing. The error is a Problems with
// everything found wrong.
func (p *Profile) Resolve(h *Host) (*Resolved, error) {
	r := &resolver{
		profile: p, host: h, look: newLookup(h),
		vars: expander{host: h, vars: map[string]variable{}},
		out:  &Resolved{host: h, Warnings: slices.Clone(p.notes)},
	}
	r.collectParts()
	r.describe()
	r.enforcement()
	r.network()
	r.namespaces()
	r.process()
	r.projectTimeout()
	r.filesystem()
	r.workingDirectory()
	r.environment()
	r.limits()
	r.projectLimits()
	r.rlimits()
	r.projectRlimits()
	r.capabilities()
	r.deadCapabilities()
	r.syscalls()
	if u := r.look.unseen; u != nil {
		r.fail(Origin{}, "", printable(u.path)+" cannot be looked at: "+reason(u.err), "what jail cannot see it can neither hide nor protect")
	}
	if len(r.problems) > 0 {
		r.sortProblems()
		return nil, r.problems
	}
	return r.out, nil
}

// resolver is the state of one Resolve.
type resolver struct {
	profile  *Profile
	host     *Host
	look     *lookup
	vars     expander
	parts    []part
	project  []part // of a project file that nobody approved, see setAside
	dormant  []part // `when:` blocks whose condition does not hold here
	out      *Resolved
	problems Problems

	desktopEnv []rankedVar // of the display and sound sockets
	cwd        Text
	view       *view
}

// rankDefault is the rank of what is built in; the first file has rank 2.
const rankDefault = 0

var defaultOrigin = Origin{File: FileDefault}

func (r *resolver) fail(o Origin, key, cause, fix string) {
	r.problems = append(r.problems, problemAt(o, key, cause, fix))
}

func (r *resolver) warn(o Origin, key, cause, fix string) {
	r.out.Warnings = append(r.out.Warnings, problemAt(o, key, cause, fix))
}

// sortProblems puts them in the order of the files, and each once: two parts of
// Resolve may stumble over the same value.
func (r *resolver) sortProblems() {
	place := map[string]int{}
	for i, l := range r.profile.Layers {
		place[l.File] = i + 1
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(place[a.File], place[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	r.problems = slices.Compact(r.problems)
}

func (r *resolver) describe() {
	for _, l := range r.profile.Layers {
		r.out.Files = append(r.out.Files, l.File)
		if l.File == FileCommandLine || l.project {
			continue
		}
		r.out.Name = Text{V: r.profile.Name, Set: true, Origin: Origin{File: l.File, Line: 1, Column: 1}}
		if l.Doc.Name.Set {
			r.out.Name.Origin = l.Doc.Name.Origin
		}
		r.out.Description = l.Doc.Description
	}
}

// path expands a path of the profile.
func (r *resolver) path(t Text, key string, use pathUse) (string, bool) {
	if !t.Set {
		return "", false
	}
	p, err := r.vars.path(t.V, use)
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
		return "", false
	}
	return p, true
}

// text expands a text that is no path.
func (r *resolver) text(t Text, key string) (string, bool) {
	if !t.Set {
		return "", false
	}
	e, err := r.vars.expand(t.V)
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
		return "", false
	}
	return e.text, true
}

func quote(s string) string { return strconv.Quote(s) }

func cleanJoin(dir, name string) string { return path.Join(dir, name) }
