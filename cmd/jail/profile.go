package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
	"jail/profiles"
	"jail/sandbox/running"
)

// defaultProfile is taken for a program that has no profile of its own.
const defaultProfile = "default"

// host looks at the machine once.
func (a *app) host() (*policy.Host, error) { return policy.CurrentHost(profiles.Files) }

// compile goes from the command line to what the launcher runs. loaded, which may be nil, is called with the profile before it
// is resolved.
func (s *sandboxFlags) compile(a *app, flags []flag, words []string, loaded func(*policy.Profile)) (*policy.Compiled, *policy.Host, error) {
	if len(words) == 0 {
		return nil, nil, &hinted{errors.New("no program given"), "jail [--profile P] PROGRAM [ARGS...]"}
	}
	if words[0] == "" {
		return nil, nil, errors.New("the name of the program is empty")
	}
	lap := a.stopwatch()
	host, err := s.host(a)
	if err != nil {
		return nil, nil, err
	}
	lap("looked at the caller")
	ref := s.Profile
	if ref == "" {
		ref = profileFor(words[0], host)
	}
	profile, err := policy.Load(ref, host, overrides(flags)...)
	if err != nil {
		return nil, nil, err
	}
	lap("loaded profile %s", ref)
	if loaded != nil {
		loaded(profile)
	}
	resolved, err := profile.Resolve(host)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range resolved.Files {
		a.verbose("profile file %s", file)
	}
	lap("resolved it")
	compiled, err := resolved.Spec(words)
	if err != nil {
		return nil, nil, err
	}
	lap("compiled it: %d mounts", len(compiled.Spec.Mounts))
	return compiled, host, s.name(compiled.Spec)
}

// annotationName carries --name, so that an exported bundle keeps it.
const annotationName = "dev.jail.name"

func (s *sandboxFlags) name(spec *specs.Spec) error {
	if s.Name == "" {
		return nil
	}
	if !running.IsName(s.Name) {
		return &hinted{fmt.Errorf("--name: %q is no name of a sandbox", s.Name), "use " + running.NameRule}
	}
	if spec.Annotations == nil {
		spec.Annotations = map[string]string{}
	}
	spec.Annotations[annotationName] = s.Name
	return nil
}

// profileFor chooses a profile by the program's name.
func profileFor(program string, host *policy.Host) string {
	if name, ok := policy.ForProgram(host, filepath.Base(program)); ok {
		return name
	}
	return defaultProfile
}

// isName is strict because names end up in paths and unit names (CVE-2025-24965).
func isName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// overrides gives the flags that change the profile, in the order of the line.
func overrides(flags []flag) []policy.Override {
	var out []policy.Override
	for _, f := range flags {
		if slices.Contains(overrideFlags, f.name) {
			out = append(out, policy.Override{Flag: f.name, Value: f.value})
		}
	}
	return out
}

// stopwatch gives a function that reports, under --verbose, what was done and how long it took.
func (a *app) stopwatch() func(format string, args ...any) {
	if !a.Verbose {
		return func(string, ...any) {}
	}
	last := time.Now()
	return func(format string, args ...any) {
		now := time.Now()
		a.verbose("%s (%v)", fmt.Sprintf(format, args...), now.Sub(last).Round(time.Microsecond))
		last = now
	}
}

func (a *app) verbose(format string, args ...any) {
	if a.Verbose {
		a.err.note(format, args...)
	}
}

func (a *app) problem(p policy.Problem) { a.err.line(red, "jail:", withoutFix(p), p.Fix) }

func (a *app) warning(p policy.Problem) { a.err.line(yellow, "jail: warning:", withoutFix(p), p.Fix) }

func (a *app) warnings(ps []policy.Problem) {
	for _, p := range ps {
		a.warning(p)
	}
}

// withoutFix is the problem's line; the remedy goes on the next.
func withoutFix(p policy.Problem) string {
	p.Fix = ""
	return p.Error()
}
