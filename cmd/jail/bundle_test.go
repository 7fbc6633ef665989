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

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.0.2","process":{"args":["a"],"cwd":"/"},"root":{"path":"rootfs"}}`))
	f.Add([]byte(`{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"user"}],"resources":{"pids":{"limit":3}}}}`))
	f.Add([]byte("{\n\n\"process\": 3}"))
	f.Fuzz(func(t *testing.T, config []byte) {
		spec, err := parseConfig("config.json", config)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "config.json:") {
				t.Errorf("the message does not start with the place: %v", err)
			}
			return
		}
		_ = unenforced(spec)
		text, err := configText(spec)
		if err != nil || !json.Valid(text) {
			t.Fatalf("cannot be written again: %v\n%s", err, text)
		}
		again, err := parseConfig("config.json", text)
		if err != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, text)
		}
		if twice, err := configText(again); err != nil || !bytes.Equal(text, twice) {
			t.Errorf("changed by reading and writing: %v\n%s\n%s", err, text, twice)
		}
	})
}

// A bundle asks for what this jail does not enforce: it is refused, not run without.
func TestUnenforced(t *testing.T) {
	user := []specs.LinuxNamespace{{Type: specs.UserNamespace}}
	deny := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, tt := range []struct {
		name    string
		spec    specs.Spec
		refused bool
	}{
		{"nothing", specs.Spec{}, false},
		{"no resources", specs.Spec{Linux: &specs.Linux{Namespaces: user}}, false},
		{"empty resources", specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}, false},
		{"devices in a user namespace", specs.Spec{Linux: &specs.Linux{Namespaces: user, Resources: &specs.LinuxResources{Devices: deny}}}, false},
		{"devices without one", specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{Devices: deny}}}, true},
		{"limits, which the control group keeps", specs.Spec{Linux: &specs.Linux{Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 3}}}}, false},
		{"another annotation", specs.Spec{Annotations: map[string]string{"org.example.x": "y"}}, false},
	} {
		if err := unenforced(&tt.spec); (err != nil) != tt.refused {
			t.Errorf("%s: %v, want refused: %t", tt.name, err, tt.refused)
		}
	}
}
