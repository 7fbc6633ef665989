package policy

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// variable is one entry of a `vars:` mapping that counts.
type variable struct {
	text Text
	key  string // vars.NAME, for problems
	rank int
}

// envPart is a part of an expanded text that came from the environment, where
// whoever started jail chose it and not the profile.
type envPart struct {
	name       string
	start, end int
}

// expansion is a text with its variables filled in.
type expansion struct {
	text   string
	pieces []envPart
}

type varError struct{ cause, fix string }

func (e *varError) Error() string { return e.cause }

const maxExpansion = 64 << 10

// expander fills in variables.
type expander struct {
	host     *Host
	vars     map[string]variable
	userDirs map[string]string // of user-dirs.dirs, read when first asked for
	open     []string          // variables being expanded
}

// expand fills in ${NAME} and ${NAME:-default}; $${ stands for a plain ${.
func (x *expander) expand(s string) (expansion, *varError) {
	if !strings.Contains(s, "${") {
		return expansion{text: s}, nil
	}
	var out expansion
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			break
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		end := closing(s[i+2:])
		if end < 0 {
			return out, &varError{"${ without its }", "close it, or write $${ for a plain ${"}
		}
		inner := s[i+2 : i+2+end]
		s = s[i+2+end+1:]
		v, err := x.reference(inner)
		if err != nil {
			return out, err
		}
		for _, p := range v.pieces {
			out.pieces = append(out.pieces, envPart{p.name, b.Len() + p.start, b.Len() + p.end})
		}
		b.WriteString(v.text)
		if b.Len() > maxExpansion {
			return out, &varError{"variables expand to more than " + strconv.Itoa(maxExpansion>>10) + " KiB", ""}
		}
	}
	out.text = b.String()
	return out, nil
}

// closing finds the } that ends a reference, over those of references inside.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch {
		case s[i] == '{' && i > 0 && s[i-1] == '$':
			depth++
		case s[i] == '}' && depth == 0:
			return i
		case s[i] == '}':
			depth--
		}
	}
	return -1
}

func (x *expander) reference(inner string) (expansion, *varError) {
	name, fallback, hasDefault := strings.Cut(inner, ":-")
	if !validVariable(name) {
		return expansion{}, &varError{strconv.Quote("${"+inner+"}") + " is not a variable", "write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"}
	}
	v, ok, err := x.variable(name)
	if err != nil {
		return v, err
	}
	// As in the shell, :- takes the default for an empty value too.
	if ok && (v.text != "" || !hasDefault) {
		return v, nil
	}
	if hasDefault {
		return x.tilde(fallback)
	}
	return v, &varError{"variable " + name + " is not defined", "define it under vars, or write ${" + name + ":-default}"}
}

func validVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

// tilde expands a text of the profile whose ~ at the start is the home directory.
func (x *expander) tilde(s string) (expansion, *varError) {
	if s == "~" || strings.HasPrefix(s, "~/") {
		v, err := x.expand(s[1:])
		n := len(x.host.Home)
		for i := range v.pieces {
			v.pieces[i].start += n
			v.pieces[i].end += n
		}
		v.text = x.host.Home + v.text
		return v, err
	}
	return x.expand(s)
}

// variable gives a variable's value: the profile's own, those jail knows, the
// session's directories, the environment, in that order.
func (x *expander) variable(name string) (expansion, bool, *varError) {
	if v, ok := x.vars[name]; ok {
		if slices.Contains(x.open, name) {
			return expansion{}, true, &varError{"variable " + name + " is defined by itself", "take it out of its own value"}
		}
		x.open = append(x.open, name)
		e, err := x.tilde(v.text.V)
		x.open = x.open[:len(x.open)-1]
		if err != nil {
			err = &varError{err.cause + " (in the value of " + name + ", " + v.text.Origin.String() + ")", err.fix}
		}
		return e, true, err
	}
	switch name {
	case "HOME":
		return expansion{text: x.host.Home}, true, nil
	case "CWD", "PWD":
		// Where jail was started is the caller's choice as much as a variable is.
		return fromEnv(name, x.host.Cwd), true, nil
	case "UID":
		return expansion{text: strconv.Itoa(x.host.UID)}, true, nil
	case "GID":
		return expansion{text: strconv.Itoa(x.host.GID)}, true, nil
	case "USER":
		return fromEnv(name, x.host.User), true, nil
	}
	if v, ok := x.host.Env[name]; ok && (v != "" || !strings.HasPrefix(name, "XDG_")) {
		return fromEnv(name, v), true, nil
	}
	if v, ok := x.xdg(name); ok {
		return v, true, nil
	}
	return expansion{}, false, nil
}

func fromEnv(name, value string) expansion {
	return expansion{value, []envPart{{name, 0, len(value)}}}
}

// xdg gives the directories of the XDG base directory specification and of
// xdg-user-dirs where the environment does not.
func (x *expander) xdg(name string) (expansion, bool) {
	own := func(s string) (expansion, bool) { return expansion{text: s}, s != "" }
	h := x.host
	switch name {
	case "XDG_CONFIG_HOME":
		return own(h.ConfigHome)
	case "XDG_STATE_HOME":
		return own(h.StateHome)
	case "XDG_CACHE_HOME":
		return own(h.CacheHome)
	case "XDG_DATA_HOME":
		return own(h.DataHome)
	case "XDG_RUNTIME_DIR":
		return own(h.RuntimeDir)
	}
	fallback := ""
	for _, d := range [...][2]string{
		{"XDG_DESKTOP_DIR", "Desktop"}, {"XDG_DOCUMENTS_DIR", "Documents"}, {"XDG_DOWNLOAD_DIR", "Downloads"},
		{"XDG_MUSIC_DIR", "Music"}, {"XDG_PICTURES_DIR", "Pictures"}, {"XDG_PUBLICSHARE_DIR", "Public"},
		{"XDG_TEMPLATES_DIR", "Templates"}, {"XDG_VIDEOS_DIR", "Videos"},
	} {
		if d[0] == name {
			fallback = d[1]
		}
	}
	if fallback == "" {
		return expansion{}, false
	}
	if x.userDirs == nil {
		x.userDirs = readUserDirs(h)
	}
	if v, ok := x.userDirs[name]; ok {
		return fromEnv(name, v), true
	}
	return own(h.Home + "/" + fallback)
}

// readUserDirs reads user-dirs.dirs(5): lines NAME="$HOME/dir" or NAME="/dir".
func readUserDirs(h *Host) map[string]string {
	dirs := map[string]string{}
	text, err := h.FS.ReadFile(h.ConfigHome+"/user-dirs.dirs", 64<<10)
	if err != nil {
		return dirs
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || !strings.HasPrefix(name, "XDG_") || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			continue
		}
		value = value[1 : len(value)-1]
		if rest, ok := strings.CutPrefix(value, "$HOME"); ok && (rest == "" || rest[0] == '/') {
			value = h.Home + rest
		}
		dirs[name] = path.Clean(value)
	}
	return dirs
}

// checkPieces refuses environment values that could make a path lead elsewhere
// than the profile's author can have meant.
func (x *expander) checkPieces(e expansion, use pathUse) *varError {
	for _, p := range e.pieces {
		v := e.text[p.start:p.end]
		bad := ""
		switch {
		case v == "":
			bad = "is empty"
		case strings.ContainsAny(v, "*?[") && use == usePattern:
			bad = "holds a pattern"
		case p.start == 0 && v[0] != '/':
			bad = "is not an absolute path"
		default:
			bad = badComponents(v, p.start == 0)
		}
		if bad != "" {
			return &varError{"the value of " + p.name + ", " + strconv.Quote(v) + ", " + bad, "set " + p.name + " to a plain path, or define it under vars"}
		}
	}
	if len(e.pieces) == 0 || use == useName {
		return nil
	}
	// A directory that is the whole home, because xdg-user-dirs was told so or
	// jail was started there, would grant everything without a line that says so.
	full := path.Clean(e.text)
	if under(x.host.Home, full) {
		what := "the home directory itself"
		if full != x.host.Home {
			what = "a directory above the home directory"
		}
		name := e.pieces[len(e.pieces)-1].name
		if name == "CWD" || name == "PWD" {
			return &varError{"the working directory is " + what, `start jail in a folder below it, or grant "~" by its name`}
		}
		return &varError{name + " is " + what, `set it to a folder below it, or grant "~" by its name`}
	}
	return nil
}

// badComponents says what is wrong with a value as a part of a path.
func badComponents(v string, first bool) string {
	body := strings.TrimSuffix(v, "/")
	if first {
		body = strings.TrimPrefix(body, "/")
	}
	for c := range strings.SplitSeq(body, "/") {
		switch {
		case c == ".." || c == ".":
			return "holds " + strconv.Quote(c)
		case c == "" && (body != "" || !first):
			return "holds an empty path component"
		}
	}
	for _, r := range v {
		if !isPrintable(r) {
			return "holds a control character"
		}
	}
	return ""
}

// pathUse says what a path is for.
type pathUse int

const (
	useGrant   pathUse = iota // it gives the program something
	usePattern                // it hides something: * ? [] are the profile's own to use, not the environment's
	useName                   // it only names a place
)

// path expands a text into an absolute clean path.
func (x *expander) path(s string, use pathUse) (string, *varError) {
	e, err := x.tilde(s)
	if err != nil {
		return "", err
	}
	if err := x.checkPieces(e, use); err != nil {
		return "", err
	}
	p := e.text
	shown := strconv.Quote(p)
	switch {
	case p == "":
		return "", &varError{"an empty path", "start it with / or ~/"}
	case p[0] == '~':
		return "", &varError{"the home directory of another user is not known: " + shown, "write the path out"}
	case strings.HasPrefix(p, "$"):
		return "", &varError{shown + " is not an absolute path", "variables are written ${NAME}"}
	case p[0] != '/':
		return "", &varError{shown + " is not an absolute path", "start it with / or ~/"}
	case strings.IndexByte(p, 0) >= 0:
		return "", &varError{shown + " holds a NUL byte", "no path can"}
	case len(p) >= 4096:
		return "", &varError{"a path of " + strconv.Itoa(len(p)) + " bytes", "the kernel takes 4095"}
	}
	for c := range strings.SplitSeq(p, "/") {
		if c == ".." {
			return "", &varError{shown + " holds ..", "write the path it leads to"}
		}
		if len(c) > 255 {
			return "", &varError{"a path component of " + strconv.Itoa(len(c)) + " bytes", "the kernel takes 255"}
		}
	}
	return path.Clean(p), nil
}
