package policy

import (
	"strings"
)

// A Difference is a key of two resolved profiles that is not the same in both. A value is a line of `jail show`, with the
// place it was written at; it is empty where that profile has none.
type Difference struct {
	Key     string `json:"key"` // as in the profile, "filesystem /tmp"
	A       string `json:"a,omitempty"`
	AOrigin string `json:"aOrigin,omitempty"`
	B       string `json:"b,omitempty"`
	BOrigin string `json:"bOrigin,omitempty"`
}

// shownLine is one line of Show, taken apart.
type shownLine struct {
	indent       int
	text, origin string
}

// Diff compares what two profiles come to, key by key, in the order of Show. Name, description and the list of
// files, in which any two differ, are left out, and so is where a value comes from while it is the same.
func Diff(a, b *Resolved) []Difference {
	left, order := a.shown()
	right, more := b.shown()
	for _, k := range more {
		if _, known := left[k]; !known {
			order = insertBesideKin(order, k)
		}
	}
	var out []Difference
	for _, k := range order {
		x, y := left[k], right[k]
		if x.text != y.text {
			out = append(out, Difference{Key: k, A: strings.TrimPrefix(x.text, "- "), AOrigin: x.origin, B: strings.TrimPrefix(y.text, "- "), BOrigin: y.origin})
		}
	}
	return out
}

// insertBesideKin puts a key behind the last one of the same section.
func insertBesideKin(order []string, key string) []string {
	section, _, _ := strings.Cut(key, " ")
	at := len(order)
	for i, k := range order {
		if s, _, _ := strings.Cut(k, " "); s == section {
			at = i + 1
		}
	}
	return append(order[:at:at], append([]string{key}, order[at:]...)...)
}

// shown gives the lines of Show by key.
func (r *Resolved) shown() (map[string]shownLine, []string) {
	s := &shower{}
	s.all(r)
	lines := map[string]shownLine{}
	var order, path []string
	for i, l := range s.lines {
		path = path[:min(l.indent, len(path))]
		if l.indent == 0 && (strings.HasPrefix(l.text, "version:") || strings.HasPrefix(l.text, "name:") || strings.HasPrefix(l.text, "description:")) {
			continue
		}
		key := itemKey(l.text)
		if i+1 < len(s.lines) && s.lines[i+1].indent > l.indent {
			path = append(path, key)
			continue
		}
		if len(path) > 0 && path[0] == "files" {
			continue
		}
		full := strings.Join(append(append([]string{}, path...), key), " ")
		for twice := true; twice; { // a list may say a thing again
			if _, twice = lines[full]; twice {
				full += " again"
			}
		}
		lines[full] = l
		order = append(order, full)
	}
	return lines, order
}

// itemKey is what two lines must share to speak of the same thing: the path of a file system entry, the key of a
// mapping, all of any other item of a list.
func itemKey(text string) string {
	item, isItem := strings.CutPrefix(text, "- ")
	if rest, ok := strings.CutPrefix(item, "{path: "); ok && isItem {
		if strings.HasPrefix(rest, `"`) {
			if end := strings.Index(rest[1:], `"`); end >= 0 {
				return rest[:end+2]
			}
		}
		path, _, _ := strings.Cut(rest, ",")
		return strings.TrimSuffix(path, "}")
	}
	if isItem {
		return item
	}
	key, _, _ := strings.Cut(text, ":")
	return key
}
