package policy

import (
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Show prints the resolved profile as YAML, each value with the place it was
// written at as a comment. What the profile holds is escaped: no control
// character reaches the terminal (CVE-2023-28101).
func (r *Resolved) Show(w io.Writer) error {
	s := &shower{}
	s.all(r)
	_, err := io.WriteString(w, s.b.String())
	return err
}

func (s *shower) all(r *Resolved) {
	s.head(r)
	s.namespaces(r)
	s.filesystem(r)
	s.environment(r)
	s.limits(&r.Limits)
	s.rlimits(r)
	s.named("capabilities", r.Capabilities)
	if r.level("seccomp") != "off" {
		s.syscalls(&r.Syscalls)
	}
	s.network(&r.Network)
	s.desktop(&r.Desktop)
	s.process(&r.Process)
	if len(r.Enforcement) > 0 {
		s.open("enforcement")
		for _, e := range r.Enforcement {
			s.value(e.Layer, e.Level, e.Origin)
		}
		s.close()
	}
}

// shower writes YAML with a comment behind each line.
type shower struct {
	b      strings.Builder
	indent int
	lines  []shownLine // the same again, for Diff
}

// commentColumn is where comments start, on lines that are not longer.
const commentColumn = 60

func (s *shower) line(text string, o Origin, note string) {
	shown := shownLine{indent: s.indent, text: text}
	text = strings.Repeat("  ", s.indent) + text
	s.b.WriteString(text)
	comment := printable(o.String())
	if note != "" {
		comment += ", " + printable(note)
	}
	if o.File != "" {
		s.b.WriteString(strings.Repeat(" ", max(2, commentColumn-utf8.RuneCountInString(text))))
		s.b.WriteString("# " + comment)
		shown.origin = comment
	}
	s.lines = append(s.lines, shown)
	s.b.WriteByte('\n')
}

func (s *shower) open(key string) { s.openAt(key, Origin{}) }
func (s *shower) openAt(key string, o Origin) {
	s.line(key+":", o, "")
	s.indent++
}
func (s *shower) close() { s.indent-- }

func (s *shower) value(key, value string, o Origin) { s.line(scalar(key)+": "+scalar(value), o, "") }
func (s *shower) raw(key, value string, o Origin)   { s.line(scalar(key)+": "+value, o, "") }

func (s *shower) text(key string, t Text) {
	if t.Set {
		s.value(key, t.V, t.Origin)
	}
}

func (s *shower) flag(key string, f Flag) {
	if f.Set {
		s.raw(key, strconv.FormatBool(f.V), f.Origin)
	}
}

func (s *shower) number(key string, n Number, format func(int64) string) {
	if n.Set {
		s.raw(key, format(n.V), n.Origin)
	}
}

func (s *shower) named(key string, all []Named) {
	if len(all) == 0 {
		s.line(key+": []", Origin{}, "")
		return
	}
	s.open(key)
	for _, n := range all {
		s.line("- "+scalar(n.Name), n.Origin, "")
	}
	s.close()
}

func (s *shower) namedIfAny(key string, all []Named) {
	if len(all) > 0 {
		s.named(key, all)
	}
}

// scalar writes a text so that YAML reads it back as that text. Plain words stay
// plain; everything else goes into double quotes, whose escapes are JSON's for
// what is not printable.
func scalar(s string) string {
	if plainWord(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError && s[i] != "\uFFFD"[0]:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case isPrintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func plainWord(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '/', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c == '%'):
		case i > 0 && c == ':' && i+1 < len(s):
		default:
			return false
		}
	}
	return true
}

func (s *shower) head(r *Resolved) {
	s.raw("version", "1", Origin{})
	s.text("name", r.Name)
	s.text("description", r.Description)
	s.open("files")
	for _, f := range r.Files {
		s.line("- "+scalar(f), Origin{}, "")
	}
	s.close()
}

func (s *shower) namespaces(r *Resolved) {
	s.open("namespaces")
	for _, n := range r.Namespaces {
		text := "- " + n.Kind
		if n.Monotonic != 0 || n.Boottime != 0 {
			text = "- {value: " + n.Kind + ", monotonic: " + n.Monotonic.String() + ", boottime: " + n.Boottime.String() + "}"
		}
		s.line(text, n.Origin, "")
	}
	s.close()
}

func (s *shower) filesystem(r *Resolved) {
	s.open("filesystem")
	s.entry(&r.Root)
	for i := range r.Filesystem {
		s.entry(&r.Filesystem[i])
	}
	for _, h := range r.Hidden {
		note := ""
		if h.Pattern != h.Path {
			note = "from " + h.Pattern
		}
		s.line("- {path: "+scalar(h.Path)+", hide: true}", h.Origin, note)
	}
	s.close()
}

func (s *shower) entry(e *Entry) {
	var f []string
	add := func(key, value string) { f = append(f, key+": "+value) }
	add("path", scalar(e.Path))
	switch e.Kind {
	case KindRO, KindRW, KindDevice:
		if e.Kind == KindDevice {
			add("device", "true")
		} else {
			add("mode", string(e.Kind))
		}
		if e.Source != e.Path {
			add("source", scalar(e.Source))
		}
	case KindPersist:
		add("persist", scalar(e.Source[strings.LastIndexByte(e.Source, '/')+1:]))
	case KindTmpfs:
		var t []string
		if e.Size > 0 {
			t = append(t, "size: "+sizeText(e.Size))
		}
		if e.Mode != 0 {
			t = append(t, "mode: "+modeText(e.Mode))
		}
		add("tmpfs", map[bool]string{true: "true", false: "{" + strings.Join(t, ", ") + "}"}[len(t) == 0])
	case KindDir:
		add("dir", "{mode: "+modeText(e.Mode)+"}")
	case KindContent:
		text := string(e.Content)
		if len(text) > 200 {
			text = text[:200] + "..."
		}
		add("content", scalar(text))
		if e.Mode != 0 && e.Mode != 0o644 {
			f[len(f)-1] = "content: {text: " + scalar(text) + ", mode: " + modeText(e.Mode) + "}"
		}
	case KindSymlink:
		add("symlink", scalar(e.Target))
	case KindOverlay:
		add("overlay", overlayText(e.Overlay))
	default:
		add("new", string(e.Kind))
	}
	options := e.Options
	if !e.Recursive && e.HostBacked() {
		options = append(options[:len(options):len(options)], "norecursive")
	}
	if len(options) > 0 {
		add("options", "["+strings.Join(options, ", ")+"]")
	}
	s.line("- {"+strings.Join(f, ", ")+"}", e.Origin, e.Reason)
}

func overlayText(o *Overlay) string {
	layers := make([]string, len(o.Lower))
	for i, l := range o.Lower {
		layers[len(layers)-1-i] = scalar(l)
	}
	text := "{layers: [" + strings.Join(layers, ", ") + "]"
	if o.Discard {
		text += ", discard: true"
	}
	if o.Keep != "" {
		text += ", keep: " + scalar(o.Keep)
	}
	return text + "}"
}

func modeText(m fs.FileMode) string { return `"` + fmt.Sprintf("%04o", uint32(m)) + `"` }

// sizeText gives bytes in the largest unit that divides them.
func sizeText(n int64) string {
	if n == Unlimited {
		return "max"
	}
	for i := 4; i > 0; i-- {
		if unit := int64(1) << (10 * i); n >= unit && n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + "BKMGT"[i:i+1]
		}
	}
	return strconv.FormatInt(n, 10)
}

func countText(n int64) string {
	if n == Unlimited {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func (s *shower) environment(r *Resolved) {
	s.open("environment")
	s.open("set")
	for _, v := range r.Environment {
		note := ""
		if v.Kept {
			note = "kept from the caller"
		}
		s.line(scalar(v.Name)+": "+scalar(v.Value), v.Origin, note)
	}
	s.close()
	s.close()
}
