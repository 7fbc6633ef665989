package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoSystemCalls: the package looks at the machine through Host only, so
// host.go alone may call into os, syscall and unix; the other files may use
// their constants and errors.
func TestNoSystemCalls(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	harmless := map[string]bool{"unix.Errno": true, "syscall.Errno": true, "unix.ErrnoName": true}
	for _, file := range files {
		if file == "host.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok {
					name := pkg.Name + "." + s.Sel.Name
					switch pkg.Name {
					case "os", "syscall", "unix":
						if !harmless[name] {
							t.Errorf("%s calls %s", file, name)
						}
					}
				}
			}
			return true
		})
	}
}

// TestMatchWord has what patterns match.
func TestMatchWord(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"a", "a", true}, {"a", "b", false}, {"a", "", false}, {"", "a", false},
		{"*", "", true}, {"*", ".env", true}, {"*.env", ".env", true}, {"*.env", "x.env.bak", false},
		{"a*b*c", "aXbYc", true}, {"a*b*c", "aXcYb", false}, {"?", "x", true}, {"?", "", false}, {"a?c", "abc", true},
		{"[abc]", "b", true}, {"[abc]", "d", false}, {"[a-c]x", "bx", true}, {"[!a-c]", "d", true}, {"[!a-c]", "a", false},
		{"[^a]", "a", false}, {"[]a]", "]", true}, {"[", "[", true}, {"[a", "[a", true}, {"*[0-9]", "a1", true}, {"*[0-9]", "1a", false},
		{"[a-]", "-", true}, {"a[", "a[", true},
	} {
		if got := matchWord(c.pattern, c.s); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.s, got)
		}
	}
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"/a/**/b", "/a/b", true}, {"/a/**/b", "/a/x/y/b", true}, {"/a/**/b", "/a/x/c", false}, {"/a/**", "/a/b/c", true},
		{"/a/**", "/a", false}, {"/a/*/b", "/a/x/y/b", false}, {"/**/x/**/y", "/a/x/b/c/y", true}, {"/a/*", "/a/b", true},
	} {
		if got := matchPath(c.pattern, c.s); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.s, got)
		}
	}
}
