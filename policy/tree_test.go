package policy

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"jail/profiles"
)

// TestShippedTrees checks that the parsed form of the shipped profiles, and the
// index of the programs they are for, are those of the files in profiles/.
func TestShippedTrees(t *testing.T) {
	var texts [][]byte
	var roots []*node
	owner := map[string]string{}
	helpers, err := fs.Glob(profiles.Helpers, "helpers/*.yaml")
	if err != nil || len(helpers) == 0 {
		t.Fatalf("no helpers' profiles: %v", err)
	}
	for _, file := range append(profileFiles(t), helpers...) {
		text, err := os.ReadFile("../profiles/" + file)
		if err != nil {
			t.Fatal(err)
		}
		root, problems := parseYAML(text, file)
		if problems != nil {
			t.Fatal(problems)
		}
		texts, roots = append(texts, text), append(roots, root)
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		doc, problems := decodeSource(&source{file: file, name: name, text: text})
		if problems != nil {
			t.Fatal(problems)
		}
		for _, program := range doc.programs(name) {
			if slices.Contains(helpers, file) {
				break // nobody runs one by a name
			}
			if other := owner[program]; other != "" {
				t.Errorf("%s: the program %s is that of %s as well", file, program, other)
			}
			owner[program] = name
		}
		if *update {
			continue
		}
		got := shippedTree(text)
		if got == nil {
			t.Errorf("%s: its parsed form is out of date; run 'go generate ./policy'", file)
		} else if !reflect.DeepEqual(got, root) {
			t.Errorf("%s: the parsed form differs from what the parser makes of it", file)
		}
	}
	var index strings.Builder
	for _, program := range slices.Sorted(maps.Keys(owner)) {
		fmt.Fprintf(&index, "%s %s\n", program, owner[program])
	}
	upToDate(t, "shipped.trees", treesOf(texts, roots))
	upToDate(t, "../profiles/programs", []byte(index.String()))
}

// upToDate compares a generated file, or writes it with -update.
func upToDate(t *testing.T, file string, want []byte) {
	t.Helper()
	have, err := os.ReadFile(file)
	switch {
	case err == nil && bytes.Equal(have, want):
	case *update:
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is out of date; run 'go generate ./policy'", file)
	}
}

// profileFiles gives the files of the shipped profiles in the tree.
func profileFiles(t *testing.T) []string {
	t.Helper()
	files := embeddedFiles(&Host{Shipped: os.DirFS("../profiles")})
	if len(files) == 0 {
		t.Fatal("no shipped profiles")
	}
	return files
}

// A broken tree must fall back to the parser, not give half a profile.
func TestShippedTreeBroken(t *testing.T) {
	text := []byte("version: 1\nfilesystem: [{path: /usr, mode: ro}]\n")
	root, problems := parseYAML(text, "x.yaml")
	if problems != nil {
		t.Fatal(problems)
	}
	saved := shippedTrees
	defer func() { shippedTrees = saved }()
	whole := treesOf([][]byte{text}, []*node{root})
	shippedTrees = string(whole)
	if !reflect.DeepEqual(shippedTree(text), root) {
		t.Fatal("a whole tree does not read back")
	}
	for i := range whole {
		shippedTrees = string(whole[:i])
		if got := shippedTree(text); got != nil {
			t.Errorf("cut at %d: got a tree", i)
		}
		changed := bytes.Clone(whole)
		changed[i] ^= 0x81
		shippedTrees = string(changed)
		shippedTree(text) // must not panic
	}
}
