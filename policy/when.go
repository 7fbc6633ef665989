package policy

import (
	"runtime"
	"slices"
	"strings"
)

// holds decides a condition. A condition that cannot be decided is a Problem
// and does not hold.
func (r *resolver) holds(w *When, key string) bool {
	if w == nil {
		return true
	}
	if !w.Exists.Set && !w.Env.Set && !w.Command.Set && !w.Session.Set && !w.User.Set && !w.Arch.Set && !w.Cwd.Set && w.Not == nil {
		r.fail(w.Origin, key, "an empty condition", "its keys are exists, env, command, session, user, arch, cwd, not")
		return false
	}
	ok := true
	for _, t := range w.Exists.Items {
		p, good := r.path(t, key+".exists", useName)
		if !good {
			return false
		}
		if f := r.look.walk(p); f.err != nil {
			ok = false
		}
	}
	for _, t := range w.Env.Items {
		name, want, exact := strings.Cut(t.V, "=")
		if !validVariable(name) {
			r.fail(t.Origin, key+".env", quote(t.V)+" is not a variable's name", "write NAME or NAME=VALUE")
			return false
		}
		have := r.host.Env[name]
		if have == "" || (exact && have != want) {
			ok = false
		}
	}
	for _, t := range w.Command.Items {
		if t.V == "" || strings.Contains(t.V, "/") {
			r.fail(t.Origin, key+".command", quote(t.V)+" is not a program's name", "for a path use exists")
			return false
		}
		if !r.onPath(t.V) {
			ok = false
		}
	}
	if w.Session.Set && !slices.ContainsFunc(w.Session.Items, func(t Text) bool { return t.V == session(r.host) }) {
		ok = false
	}
	if w.User.Set && (w.User.V == "root") != (r.host.UID == 0) {
		ok = false
	}
	if w.Arch.Set && !slices.ContainsFunc(w.Arch.Items, func(t Text) bool { return t.V == runtime.GOARCH }) {
		ok = false
	}
	if w.Cwd.Set && !r.ownFolder() {
		ok = false
	}
	if w.Not != nil && r.holds(w.Not, key+".not") {
		ok = false
	}
	return ok
}

// onPath looks for a program in the absolute directories of the caller's PATH.
func (r *resolver) onPath(name string) bool {
	for dir := range strings.SplitSeq(r.host.Env["PATH"], ":") {
		if !strings.HasPrefix(dir, "/") {
			continue
		}
		if f := r.look.walk(cleanJoin(dir, name)); f.err == nil && f.stat.Mode.IsRegular() && f.stat.Mode&0o111 != 0 {
			return true
		}
	}
	return false
}

// session says what display the caller's session has.
func session(h *Host) string {
	switch {
	case h.Env["WAYLAND_DISPLAY"] != "":
		return "wayland"
	case h.Env["DISPLAY"] != "":
		return "x11"
	}
	return "none"
}

// ownFolder tells whether the working directory is a folder of the caller's own
// that a tool may be given whole. The home, what lies above it, its dot folders
// (settings, keys) and the runtime directory (sockets that steer the session)
// are not; nor is a folder of somebody else, as /tmp with other programs' sockets.
func (r *resolver) ownFolder() bool {
	f := r.look.walk(r.host.Cwd)
	if f.err != nil || !f.stat.Mode.IsDir() || int64(f.stat.UID) != int64(r.host.UID) || f.path == "/" {
		return false
	}
	if run := r.host.RuntimeDir; run != "" {
		if w := r.look.walk(run); w.err == nil && (under(f.path, w.path) || under(w.path, f.path)) {
			return false
		}
	}
	home := r.host.Home
	if w := r.look.walk(home); w.err == nil {
		home = w.path
	}
	if under(home, f.path) {
		return false
	}
	return !under(f.path, home) || !strings.HasPrefix(below(f.path, home), ".")
}
