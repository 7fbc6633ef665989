package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// seed adds the shipped profiles and every bad profile as a start.
func seed(f *testing.F) {
	files, err := filepath.Glob("../profiles/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no shipped profiles: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	text, err := os.ReadFile("testdata/bad_input.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range strings.Split(string(text), "\n=== ")[1:] {
		var given strings.Builder
		_, body, _ := strings.Cut(c, "\n")
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "+++ ") {
				break
			}
			if !strings.HasPrefix(line, "--- ") {
				given.WriteString(line)
			}
		}
		f.Add(given.String())
	}
}

// checkProblems: each names a place, and none carries what could move a cursor.
func checkProblems(t *testing.T, err error) {
	t.Helper()
	problems := AsProblems(err)
	if len(problems) == 0 {
		t.Fatal("an error without a problem")
	}
	for _, p := range problems {
		if p.File == "" || p.Cause == "" {
			t.Errorf("a problem without a place or a cause: %+v", p)
		}
		for _, r := range p.Error() {
			if !isPrintable(r) {
				t.Errorf("control character in %q", p.Error())
			}
		}
	}
}

// FuzzLoad: whatever the file holds, Load gives a profile or problems.
func FuzzLoad(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		h := fakeHost(t, map[string]string{"p.yaml": text})
		p, err := Load("p.yaml", h)
		if err != nil {
			checkProblems(t, err)
			return
		}
		if len(p.Layers) == 0 || p.Layers[len(p.Layers)-1].Doc.Version.V != 1 {
			t.Errorf("a profile without its version: %+v", p)
		}
		// The parsed form that is kept in the binary must say the same.
		root, problems := parseYAML([]byte(text), "p.yaml")
		if problems != nil {
			t.Fatal(problems)
		}
		saved := shippedTrees
		defer func() { shippedTrees = saved }()
		shippedTrees = string(treesOf([][]byte{[]byte(text)}, []*node{root}))
		if shippedTree([]byte(text)) == nil {
			t.Error("the kept form does not read back")
		}
	})
}

// FuzzResolve: what Resolve gives keeps its promises, whatever the profile.
func FuzzResolve(f *testing.F) {
	seed(f)
	f.Fuzz(checkResolve)
}

// checkResolve: the profile is refused with the place of each problem, or what
// it comes to is whole and can be shown.
func checkResolve(t *testing.T, text string) {
	h := fakeHost(t, map[string]string{"p.yaml": text})
	p, err := Load("p.yaml", h)
	if err != nil {
		checkProblems(t, err)
		return
	}
	r, err := p.Resolve(h)
	if err != nil {
		checkProblems(t, err)
		return
	}
	checkResolved(t, r)
	var out bytes.Buffer
	if err := r.Show(&out); err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(out.Bytes(), &node); err != nil {
		t.Errorf("what is shown is not YAML: %v\n%s", err, out.String())
	}
}

// TestEveryValueReplaced puts what does not belong there in the place of each
// value and each key of a profile that has nearly all of them, then under each
// key there is.
func TestEveryValueReplaced(t *testing.T) {
	text, err := os.ReadFile("testdata/show.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	others := []string{
		"", "~", "-1", "0", "1", "4294967295", "99999999999", "9223372036854775808", "1.5", "true", "none", "auto", "x", "-", "2M", "1%",
		"/", "/..", "a/b", "\"\\e[2J\"", "\"\\u202e\"", "[]", "{}", "[x]", "[-1]", "{x: y}", "\"*:0\"", "\"::1\"", "0.0.0.0/0", "1-0",
	}
	tried := 0
	var replace func(n *yaml.Node)
	replace = func(n *yaml.Node) {
		if n.Kind != yaml.DocumentNode {
			saved := *n
			for _, other := range others {
				var value yaml.Node
				if err := yaml.Unmarshal([]byte(other), &value); err != nil {
					t.Fatalf("%s: %v", other, err)
				}
				*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
				if len(value.Content) == 1 {
					*n = *value.Content[0]
				}
				changed, err := yaml.Marshal(&root)
				if err != nil {
					continue // a key that is no scalar
				}
				tried++
				if !t.Run("", func(t *testing.T) { checkResolve(t, string(changed)) }) {
					t.Logf("line %d, column %d: %q in the place of %q", saved.Line, saved.Column, other, saved.Value)
				}
			}
			*n = saved
		}
		for _, c := range n.Content {
			replace(c)
		}
	}
	replace(&root)
	for _, k := range Keys() {
		before, after := "", ""
		for part := range strings.SplitSeq(k.Name, ".") {
			before, after = before+"{"+part+": ", "}"+after
		}
		for _, other := range append(others, "[{x: y}]", "{x: -1}", "{x: [-1]}") {
			tried++
			// The braces of the document itself are the first and the last.
			text := "{version: 1, " + before[1:] + other + after
			if !t.Run("", func(t *testing.T) { checkResolve(t, text) }) {
				t.Log(text)
			}
		}
	}
	if tried < 10000 {
		t.Errorf("only %d profiles were tried", tried)
	}
}

// checkResolved checks what holds for every profile.
func checkResolved(t *testing.T, r *Resolved) {
	t.Helper()
	seen := map[string]bool{}
	for i := range r.Filesystem {
		e := &r.Filesystem[i]
		if !strings.HasPrefix(e.Path, "/") || e.Path != filepath.Clean(e.Path) || e.Path == "/" {
			t.Errorf("path %q is not absolute and clean", e.Path)
		}
		if seen[e.Path] {
			t.Errorf("%s stands there twice", e.Path)
		}
		seen[e.Path] = true
		for j := range i {
			if under(r.Filesystem[j].Path, e.Path) {
				t.Errorf("%s comes before its parent %s", r.Filesystem[j].Path, e.Path)
			}
		}
		if e.Origin.File == "" {
			t.Errorf("%s has no origin", e.Path)
		}
		if e.HostBacked() && (!strings.HasPrefix(e.Source, "/") || e.Source != filepath.Clean(e.Source)) {
			t.Errorf("%s: source %q is not absolute and clean", e.Path, e.Source)
		}
		if e.Kind != KindRW {
			continue
		}
		for _, own := range []string{"/home/user/.config/jail", "/home/user/.cache/jail"} {
			if under(own, e.Source) && e.Source != own && !covered(r, join(e.Path, below(own, e.Source))) {
				t.Errorf("%s lets the program write %s", e.Path, own)
			}
			if under(e.Source, own) {
				t.Errorf("%s is jail's own and writable", e.Path)
			}
		}
	}
	for _, h := range r.Hidden {
		if !strings.HasPrefix(h.Path, "/") || h.Path != filepath.Clean(h.Path) {
			t.Errorf("hidden path %q is not absolute and clean", h.Path)
		}
	}
}

// covered tells whether the deepest entry at or above a path is not writable.
func covered(r *Resolved, path string) bool {
	for _, h := range r.Hidden {
		if under(path, h.Path) {
			return true
		}
	}
	deepest := &r.Root
	for i := range r.Filesystem {
		if e := &r.Filesystem[i]; under(path, e.Path) {
			deepest = e
		}
	}
	return deepest.Kind != KindRW
}

// FuzzCompile: a profile that resolves compiles, or is refused with a reason.
func FuzzCompile(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		h := fakeHost(t, map[string]string{"p.yaml": text})
		p, err := Load("p.yaml", h)
		if err != nil {
			return
		}
		r, err := p.Resolve(h)
		if err != nil {
			return
		}
		c, err := r.Spec([]string{"/bin/true"})
		if err != nil {
			checkProblems(t, err)
			return
		}
		if c.Spec == nil || c.Spec.Process == nil || len(c.Spec.Mounts) == 0 && len(r.Filesystem) > 0 {
			t.Errorf("half a spec: %+v", c.Spec)
		}
		if !c.Spec.Process.NoNewPrivileges {
			t.Error("new privileges, as an ordinary user")
		}
	})
}

// FuzzPattern: matching ends soon and agrees with itself.
func FuzzPattern(f *testing.F) {
	for _, p := range [][2]string{{"*.env", ".env"}, {"/a/**/b", "/a/x/y/b"}, {"[a-z]*[!x]", "abc"}, {"***a***b", "aab"}, {"[]", "]"}} {
		f.Add(p[0], p[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 64 || len(s) > 64 || strings.Count(pattern, "**") > 2 {
			return
		}
		matchPath(pattern, s)
		if !isPattern(pattern) && matchWord(pattern, s) != (pattern == s) {
			t.Errorf("%q and %q", pattern, s)
		}
		if matchWord(pattern, s) && !matchWord(pattern+"*", s+"x") {
			t.Errorf("%q matches %q, but with * behind it not %q", pattern, s, s+"x")
		}
	})
}
