package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
	"jail/sandbox"
)

// configLimit is far above any real config.json.
const configLimit = 16 << 20

// bundleOf hands what the compiler made to the launcher, which keeps its own types.
func bundleOf(c *policy.Compiled) *sandbox.Bundle {
	tree := make([]sandbox.TreeEntry, len(c.Tree))
	for i, e := range c.Tree {
		tree[i] = sandbox.TreeEntry(e)
	}
	return &sandbox.Bundle{Spec: c.Spec, Tree: tree, Resolved: true}
}

// readBundle reads an OCI bundle from a folder.
func readBundle(dir string) (*sandbox.Bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, specsConfig)
	text, err := policy.OSFS{}.ReadFile(name, configLimit) // waits for no FIFO
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &hinted{fmt.Errorf("%s: no such file: a bundle is a folder with a config.json", name), "jail compile --bundle DIR writes one"}
	}
	if errors.Is(err, policy.ErrTooLarge) {
		return nil, fmt.Errorf("%s: larger than %d MiB", name, configLimit>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	spec, err := parseConfig(name, text)
	if err != nil {
		return nil, err
	}
	return &sandbox.Bundle{Spec: spec, Dir: dir}, nil
}

// ownPaths lists what a bundle, which may be anybody's, must not have the program write: jail's own
// folders, and its own config.json, which decides over its next run.
func ownPaths(dir string, host *policy.Host) []sandbox.OwnPath {
	own := []sandbox.OwnPath{{Path: filepath.Join(dir, specsConfig), What: "the bundle's config.json"}}
	for _, p := range policy.OwnPaths(host) {
		if !p.File {
			// So that there is something to put a cover on. Where it cannot be made the program cannot make it
			// either, or the bundle is refused.
			_ = makeHostDirs([]policy.HostDir{{Path: resolved(p.Path), Mode: p.Mode}}, host.StateHome)
		}
		o := sandbox.OwnPath{Path: p.Path, Hidden: p.Hide, What: p.Reason}
		if home := host.PersistHome(); strings.HasPrefix(home, p.Path+"/") {
			o.Except = []string{resolved(home)} // a bundle that jail compiled names the home it keeps
		}
		own = append(own, o)
	}
	return own
}

// resolved follows the links of a path as far as it exists.
func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

func parseConfig(name string, text []byte) (*specs.Spec, error) {
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("%s: %w", place(name, text, err), err)
	}
	if !strings.HasPrefix(spec.Version, "1.") {
		return nil, fmt.Errorf("%s: ociVersion: %q is not a version 1 of the OCI runtime spec", name, spec.Version)
	}
	return &spec, nil
}

const specsConfig = "config.json"

// place gives file:line:column of a JSON error.
func place(name string, text []byte, err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var offset int64
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	default:
		return name
	}
	before := text[:min(int(offset), len(text))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return name + ":" + strconv.Itoa(line) + ":" + strconv.Itoa(max(column, 1))
}

// writeBundle writes a bundle to a folder that is new or empty: nothing is overwritten, and nothing
// planted there can lead a file elsewhere.
func writeBundle(dir string, c *policy.Compiled) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make bundle folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open bundle folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("read bundle folder: %w", err)
	}
	if len(entries) > 0 {
		return &hinted{fmt.Errorf("bundle folder %s is not empty (it has %s)", dir, entries[0].Name()), "name a new folder; nothing is overwritten"}
	}
	config, err := configText(c.Spec)
	if err != nil {
		return err
	}
	tree := append(slices.Clone(c.Tree), policy.TreeEntry{Path: specsConfig, Mode: 0o644, Content: config})
	for _, e := range tree {
		if err := writeEntry(root, e); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	// Folders get their own modes last: one may be closed to its owner, too.
	for _, e := range slices.Backward(tree) {
		if e.Mode.IsDir() {
			if err := root.Chmod(e.Path, e.Mode.Perm()|e.Mode&(fs.ModeSticky|fs.ModeSetgid)); err != nil {
				return fmt.Errorf("write bundle: %w", err)
			}
		}
	}
	return nil
}

func writeEntry(root *os.Root, e policy.TreeEntry) error {
	switch {
	case e.Mode.IsDir():
		return root.Mkdir(e.Path, 0o700)
	case e.Mode&fs.ModeSymlink != 0:
		return root.Symlink(e.Target, e.Path)
	}
	f, err := root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(e.Content)
	return errors.Join(err, f.Chmod(e.Mode.Perm()), f.Close())
}

// configText gives a config.json as people read it. Characters that are not printable are escaped
// the way JSON does it, so that printing it on a terminal is harmless and its meaning is the same.
func configText(spec *specs.Spec) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(spec); err != nil {
		return nil, fmt.Errorf("write config.json: %w", err)
	}
	return escapeJSON(b.Bytes()), nil
}

func escapeJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == '\n' || strconv.IsPrint(r):
			out = append(out, text[i:i+size]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += size
	}
	return out
}
