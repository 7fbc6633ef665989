package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// What a profile file may hold. A profile of a page has some hundred values
// nested five deep; the limits keep a hostile file (CVE-2019-11253) from costing
// more than a blink.
const (
	maxFileSize  = 1 << 20
	maxNodes     = 20000
	maxAliasUses = 1000
	maxDepth     = 32
)

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	sequenceNode
	mappingNode
)

// String names the kind as a user would.
func (k nodeKind) String() string {
	return [...]string{"a single value", "a list", "a mapping"}[k]
}

// node is a YAML value with its place. Compared with yaml.Node it has aliases
// expanded, keys checked, and no tags: in the profile language the key decides
// the type of a value, never the value's own look.
type node struct {
	kind      nodeKind
	quoted    bool // a scalar in quotes or a block: never null, true or a number
	line, col int32
	value     string
	children  []node // of a mapping: key, value, key, value, ...
}

func (n *node) isNull() bool {
	if n.kind != scalarNode || n.quoted {
		return false
	}
	switch n.value {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// parseYAML reads the one document of a profile file.
func parseYAML(text []byte, file string) (*node, Problems) {
	if p := checkText(text, file); p != nil {
		return nil, Problems{*p}
	}
	doc, err := decodeYAML(text)
	if errors.Is(err, io.EOF) {
		return nil, Problems{{File: file, Line: 1, Column: 1, Cause: "the file is empty", Fix: "a profile starts with 'version: 1'"}}
	}
	if err != nil {
		return nil, Problems{syntaxProblem(err, text, file)}
	}
	if doc.second != nil {
		return nil, Problems{{File: file, Line: doc.second.Line, Column: doc.second.Column,
			Cause: "a second document starts here", Fix: "a profile file holds one document; take out the '---' or make two files"}}
	}
	c := converter{file: file}
	var root node
	if len(doc.first.Content) != 1 {
		return nil, Problems{{File: file, Line: 1, Column: 1, Cause: "the file is empty", Fix: "a profile starts with 'version: 1'"}}
	}
	c.convert(doc.first.Content[0], &root, 0)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	if root.isNull() {
		return nil, Problems{{File: file, Line: 1, Column: 1, Cause: "the file is empty", Fix: "a profile starts with 'version: 1'"}}
	}
	return &root, nil
}

// checkText refuses what is not plain text before the YAML parser sees it, so
// that the place can be told exactly.
func checkText(text []byte, file string) *Problem {
	line, col := 1, 1
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '\n':
				line, col = line+1, 0
			case c == 0:
				return &Problem{File: file, Line: line, Column: col, Cause: "a NUL byte", Fix: "a profile is plain UTF-8 text"}
			case c < ' ' && c != '\t' && c != '\r', c == 0x7f:
				return &Problem{File: file, Line: line, Column: col,
					Cause: "control character " + strconv.QuoteRuneToASCII(rune(c)), Fix: "take it out; inside double quotes it can be written as \\x" + fmt.Sprintf("%02x", c)}
			}
			i, col = i+1, col+1
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return &Problem{File: file, Line: line, Column: col,
				Cause: fmt.Sprintf("byte 0x%02x is not UTF-8", c), Fix: "save the file as UTF-8"}
		}
		i, col = i+size, col+1
	}
	return nil
}

type yamlFile struct {
	first  *yaml.Node
	second *yaml.Node
}

// decodeYAML runs the YAML parser. yaml.v3 has panicked on broken input before;
// whatever it does, the answer is an error.
func decodeYAML(text []byte) (f yamlFile, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := dec.Decode(&first); err != nil {
		return f, err
	}
	f.first = &first
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return f, err
	default:
		f.second = &second
	}
	return f, nil
}

// syntaxProblem turns an error of yaml.v3 into a Problem. Its text has at most a
// line ("yaml: line 3: did not find expected key").
func syntaxProblem(err error, text []byte, file string) Problem {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if number, tail, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, msg = n, tail
				// yaml.v3 counts from 0 in errors of its parser and from 1 in
				// those of its scanner.
				if strings.HasPrefix(msg, "did not find expected") {
					line++
				}
			}
		}
	}
	// A tab in the indentation is the commonest cause and the parser's words for
	// it ("cannot start any token") help nobody.
	lines := strings.Split(string(text), "\n")
	for _, at := range []int{line, line + 1, line - 1} {
		if at < 1 || at > len(lines) {
			continue
		}
		l := lines[at-1]
		if i := strings.IndexByte(l, '\t'); i >= 0 && strings.Trim(l[:i], " -") == "" {
			return Problem{File: file, Line: at, Column: i + 1, Cause: "a tab in the indentation", Fix: "YAML is indented with spaces"}
		}
	}
	col := 1
	if line <= len(lines) {
		l := lines[line-1]
		col = len(l) - len(strings.TrimLeft(l, " ")) + 1
	}
	return Problem{File: file, Line: line, Column: col, Cause: "not valid YAML: " + msg}
}

// converter makes nodes of yaml.Nodes.
type converter struct {
	file     string
	problems Problems
	nodes    int
	aliases  int
	open     []*yaml.Node // anchors being expanded
}

func (c *converter) fail(n *yaml.Node, cause, fix string) {
	c.problems = append(c.problems, Problem{File: c.file, Line: n.Line, Column: n.Column, Cause: cause, Fix: fix})
}

// convert fills out from n. It gives false once a limit is passed, so that
// nothing more is spent on the file.
func (c *converter) convert(n *yaml.Node, out *node, depth int) bool {
	if depth > maxDepth {
		c.fail(n, "nested more than "+strconv.Itoa(maxDepth)+" levels deep", "no key of a profile needs more than ten")
		return false
	}
	if c.nodes++; c.nodes > maxNodes {
		cause := "more than " + strconv.Itoa(maxNodes) + " values"
		if c.aliases > 0 {
			cause = "aliases expand to more than " + strconv.Itoa(maxNodes) + " values"
		}
		c.fail(n, cause, "split the profile with 'extends'")
		return false
	}
	if n.Kind == yaml.AliasNode {
		return c.alias(n, out, depth)
	}
	if n.Style&yaml.TaggedStyle != 0 {
		c.fail(n, "tag "+n.Tag+" is not part of the profile language", "take the tag out")
		return true
	}
	out.line, out.col = int32(n.Line), int32(n.Column)
	switch n.Kind {
	case yaml.ScalarNode:
		out.kind, out.value = scalarNode, n.Value
		out.quoted = n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		return true
	case yaml.SequenceNode:
		out.kind = sequenceNode
	case yaml.MappingNode:
		out.kind = mappingNode
		c.checkKeys(n)
	}
	if len(n.Content) == 0 {
		return true
	}
	out.children = make([]node, len(n.Content))
	for i, child := range n.Content {
		if !c.convert(child, &out.children[i], depth+1) {
			return false
		}
	}
	return true
}

func (c *converter) alias(n *yaml.Node, out *node, depth int) bool {
	if c.aliases++; c.aliases > maxAliasUses {
		c.fail(n, "more than "+strconv.Itoa(maxAliasUses)+" aliases", "use 'extends' to share parts of a profile")
		return false
	}
	for _, o := range c.open {
		if o == n.Alias {
			c.fail(n, "alias *"+n.Value+" stands inside what it stands for", "take the alias out")
			return false
		}
	}
	c.open = append(c.open, n.Alias)
	ok := c.convert(n.Alias, out, depth)
	c.open = c.open[:len(c.open)-1]
	return ok
}

// checkKeys refuses keys that are no plain words, and the same key twice.
func (c *converter) checkKeys(n *yaml.Node) {
	var seen map[string]*yaml.Node
	if len(n.Content) > 32 {
		seen = make(map[string]*yaml.Node, len(n.Content)/2)
	}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			c.fail(n.Content[i], "a key that is not a single word", "write 'key: value'")
			continue
		case key.Tag == "!!merge":
			c.fail(key, "merge key <<", "profiles are merged with 'extends'")
			continue
		}
		var first *yaml.Node
		if seen != nil {
			first = seen[key.Value]
			if first == nil {
				seen[key.Value] = key
			}
		} else {
			for j := 0; j < i; j += 2 {
				if n.Content[j].Value == key.Value && n.Content[j].Kind == yaml.ScalarNode {
					first = n.Content[j]
					break
				}
			}
		}
		if first != nil {
			c.problems = append(c.problems, Problem{File: c.file, Line: key.Line, Column: key.Column, Key: key.Value,
				Cause: "the key stands here a second time, first in line " + strconv.Itoa(first.Line), Fix: "keep one of the two"})
		}
	}
}
