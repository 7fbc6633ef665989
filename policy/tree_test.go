package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestShippedTrees checks that the parsed form of the shipped profiles is that
// of the files in profiles/.
func TestShippedTrees(t *testing.T) {
	files, err := filepath.Glob("../profiles/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no shipped profiles: %v", err)
	}
	var want []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root, problems := parseYAML(text, file)
		if problems != nil {
			t.Fatal(problems)
		}
		want = appendTree(want, text, root)
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
	if *update {
		if err := os.WriteFile("shipped.trees", want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(want, []byte(shippedTrees)) {
		t.Error("shipped.trees is out of date; run 'go generate ./policy'")
	}
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
	whole := appendTree(nil, text, root)
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
