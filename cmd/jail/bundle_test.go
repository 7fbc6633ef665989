package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
)

func compiled() *policy.Compiled {
	return &policy.Compiled{
		Spec: &specs.Spec{Version: "1.0.2", Root: &specs.Root{Path: "rootfs"}, Process: &specs.Process{Args: []string{"a\u202eb<>&"}, Cwd: "/"}},
		Tree: []policy.TreeEntry{
			{Path: "rootfs", Mode: fs.ModeDir | 0o555},
			{Path: "rootfs/etc", Mode: fs.ModeDir | 0o755},
			{Path: "rootfs/etc/hosts", Mode: 0o444, Content: []byte("x\n")},
			{Path: "rootfs/bin", Mode: fs.ModeSymlink | 0o777, Target: "usr/bin"},
			{Path: "rootfs/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
	}
}

func TestWriteBundle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	c := compiled()
	must(t, writeBundle(dir, c))
	for _, e := range c.Tree {
		info, err := os.Lstat(filepath.Join(dir, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != e.Mode {
			t.Errorf("%s has mode %v, want %v", e.Path, info.Mode(), e.Mode)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	if !bytes.Contains(text, []byte(`"a\u202eb<>&"`)) {
		t.Errorf("config.json: %s", text)
	}
	b, err := readBundle(dir)
	must(t, err)
	if !reflect.DeepEqual(b.Spec, c.Spec) || b.Dir != dir {
		t.Errorf("read back %+v, want %+v", b.Spec, c.Spec)
	}
	// A read-only root must not keep the test's folder from being removed.
	must(t, os.Chmod(filepath.Join(dir, "rootfs"), 0o755))
}

func TestWriteBundleOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("mine"), 0o600))
	if err := writeBundle(dir, compiled()); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a folder that is not empty: %v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "config.json")); string(text) != "mine" {
		t.Errorf("config.json was overwritten: %s", text)
	}
}

// A tree entry that leads out of the bundle, by its own path or through a link before it, is refused.
func TestWriteBundleStaysInside(t *testing.T) {
	for _, tree := range [][]policy.TreeEntry{
		{{Path: "../evil", Mode: 0o644}},
		{{Path: "/tmp/evil", Mode: 0o644}},
		{{Path: "out", Mode: fs.ModeSymlink | 0o777, Target: ".."}, {Path: "out/evil", Mode: 0o644}},
	} {
		parent := t.TempDir()
		c := compiled()
		c.Tree = tree
		if err := writeBundle(filepath.Join(parent, "b"), c); err == nil {
			t.Errorf("%v was written", tree)
		}
		if _, err := os.Lstat(filepath.Join(parent, "evil")); err == nil {
			t.Errorf("%v came out of the bundle", tree)
		}
	}
}

func TestReadBundleRefuses(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"no file", "", "no such file"},
		{"no JSON", "{\n  \"ociVersion\": }", "config.json:2:17: invalid character"},
		{"a wrong type", "{\n \"process\": {\"args\": 3}\n}", "config.json:2:22: json: cannot unmarshal number"},
		{"half a file", `{"ociVersion": "1.0.2"`, "config.json:1:22: unexpected end"},
		{"no version", `{}`, `ociVersion: "" is not`},
		{"another version", `{"ociVersion": "2.0.0"}`, `ociVersion: "2.0.0" is not`},
		{"too large", `{"ociVersion": "` + strings.Repeat("1", configLimit) + `"}`, "larger than 16 MiB"},
	} {
		dir := t.TempDir()
		if tt.config != "" {
			must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(tt.config), 0o600))
		}
		if _, err := readBundle(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzReadBundle(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.0.2","process":{"args":["a"],"cwd":"/"},"root":{"path":"rootfs"}}`))
	f.Add([]byte(`{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"user"}]}}`))
	f.Add([]byte("{\n\n\"process\": 3}"))
	f.Fuzz(func(t *testing.T, config []byte) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600))
		b, err := readBundle(dir)
		if err != nil {
			if !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("the message does not start with the place: %v", err)
			}
			return
		}
		if text, err := configText(b.Spec); err != nil || !json.Valid(text) {
			t.Errorf("cannot be written again: %v\n%s", err, text)
		}
	})
}
