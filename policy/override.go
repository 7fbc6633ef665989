package policy

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Override is one flag of the command line that adds to a profile or changes it.
type Override struct {
	Flag  string // bind, ro, tmpfs, hide, env, set, cwd
	Value string
}

// commandLine makes one layer of the overrides. They are written as the YAML
// they stand for and decoded like a file, so nothing can be said on the command
// line that the language does not check.
func (l *loader) commandLine(overrides []Override) {
	if len(overrides) == 0 {
		return
	}
	root := &node{kind: mappingNode}
	for _, o := range overrides {
		if cause, fix := l.override(root, o); cause != "" {
			l.problems = append(l.problems, Problem{File: FileCommandLine, Key: "--" + o.Flag, Cause: cause, Fix: fix})
		}
	}
	d := decoder{file: FileCommandLine}
	doc := d.document(root)
	for _, key := range fileKeys {
		if root.has(key) {
			d.problems = append(d.problems, Problem{File: FileCommandLine, Key: key, Cause: "cannot be set on the command line", Fix: "write a profile that extends the other"})
		}
	}
	l.problems = append(l.problems, d.problems...)
	l.profile.Layers = append(l.profile.Layers, &Layer{File: FileCommandLine, Doc: doc})
}

func (l *loader) override(root *node, o Override) (cause, fix string) {
	switch o.Flag {
	case "bind", "ro":
		mode := "rw"
		if o.Flag == "ro" {
			mode = "ro"
		}
		src, dest := splitPair(o.Value)
		if src == "" {
			return "needs a path", "--" + o.Flag + " SRC[:DEST]"
		}
		src = l.abs(src)
		if dest == "" {
			dest = src
		}
		root.list("filesystem").place(mapping("path", literal(dest), "source", literal(src), "mode", mode))
	case "tmpfs":
		if o.Value == "" {
			return "needs a path", "--tmpfs DEST"
		}
		e := mapping("path", literal(l.abs(o.Value)))
		e.children = append(e.children, word("tmpfs"), node{value: "true"})
		root.list("filesystem").place(e)
	case "hide":
		if o.Value == "" {
			return "needs a path", "--hide PATH"
		}
		e := mapping("path", literal(l.abs(o.Value)))
		e.children = append(e.children, word("hide"), node{value: "true"})
		root.list("filesystem").add(e)
	case "env":
		name, value, set := strings.Cut(o.Value, "=")
		if set {
			root.section("environment").section("set").put(name, word(literal(value)))
		} else {
			root.section("environment").list("keep").add(word(name))
		}
	case "cwd":
		if o.Value == "" {
			return "needs a path", "--cwd DIR"
		}
		root.section("process").put("cwd", word(literal(l.abs(o.Value))))
	case "set":
		return l.set(root, o.Value)
	default:
		return "unknown override", ""
	}
	return "", ""
}

// fileKeys speak of a file and not of a run.
var fileKeys = [...]string{"version", "name", "description", "extends"}

// freeKeys are the mappings whose keys are the user's, which may hold dots.
var freeKeys = [...]string{"vars", "environment.set", "rlimits", "enforcement", "network.dns.hosts", "limits.hugepages"}

// set does --set KEY=VALUE: KEY is dotted, VALUE is YAML.
func (l *loader) set(root *node, text string) (cause, fix string) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return strconv.Quote(text) + " is not KEY=VALUE", "as in --set network.mode=none"
	}
	path := strings.Split(key, ".")
	for _, free := range freeKeys {
		if name, ok := strings.CutPrefix(key, free+"."); ok {
			path = append(strings.Split(free, "."), name)
		}
	}
	n := &node{quoted: true}
	if value != "" {
		parsed, problems := parseYAML([]byte(value), FileCommandLine)
		if len(problems) > 0 {
			return strconv.Quote(text) + ": " + problems[0].Cause, "the value is YAML; put it in quotes inside the shell's quotes"
		}
		n = parsed
		n.forgetPlace()
	}
	at := root
	for _, k := range path[:len(path)-1] {
		at = at.section(k)
		if at.kind != mappingNode {
			return "--set " + key + " after another value for " + k, "set one of the two"
		}
	}
	last := path[len(path)-1]
	if old := at.get(last); old != nil && old.kind == sequenceNode && n.kind == sequenceNode {
		old.children = append(old.children, n.children...)
		return "", ""
	}
	at.put(last, *n)
	return "", ""
}

// abs makes a path of the command line absolute, as a shell user means it.
func (l *loader) abs(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.host.Cwd, path)
}

// splitPair splits SRC:DEST; a backslash before a colon keeps it in a path.
func splitPair(s string) (src, dest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		case s[i] == ':':
			return b.String(), strings.ReplaceAll(strings.ReplaceAll(s[i+1:], `\:`, ":"), `\\`, `\`)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// literal keeps ${ in a text of the command line from being a variable: the
// shell has already had its turn.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func word(s string) node { return node{value: s, quoted: true} }

func mapping(kv ...string) node {
	n := node{kind: mappingNode}
	for _, s := range kv {
		n.children = append(n.children, word(s))
	}
	return n
}

func (n *node) forgetPlace() {
	n.line, n.col = 0, 0
	for i := range n.children {
		n.children[i].forgetPlace()
	}
}

func (n *node) get(key string) *node {
	for i := 0; i+1 < len(n.children); i += 2 {
		if n.children[i].value == key {
			return &n.children[i+1]
		}
	}
	return nil
}

// put sets a key, in place of an earlier value.
func (n *node) put(key string, value node) {
	if old := n.get(key); old != nil {
		*old = value
		return
	}
	n.children = append(n.children, word(key), value)
}

// place adds an entry to a list of filesystem entries, instead of an earlier one
// for the same path: an alias may have brought that, so of two flags the later
// one wins, while two entries of one file contradict each other. A path stays
// hidden.
func (n *node) place(entry node) {
	n.children = slices.DeleteFunc(n.children, func(old node) bool {
		return old.get("hide") == nil && old.get("path") != nil && old.get("path").value == entry.get("path").value
	})
	n.add(entry)
}

func (n *node) add(child node) { n.children = append(n.children, child) }

func (n *node) section(key string) *node { return n.child(key, mappingNode) }
func (n *node) list(key string) *node    { return n.child(key, sequenceNode) }

func (n *node) child(key string, kind nodeKind) *node {
	if c := n.get(key); c != nil {
		return c
	}
	n.put(key, node{kind: kind})
	return n.get(key)
}
