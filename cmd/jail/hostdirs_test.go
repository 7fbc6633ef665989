package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jail/policy"
)

func TestMakeHostDirs(t *testing.T) {
	state := filepath.Join(t.TempDir(), "home", ".local", "state")
	dir := filepath.Join(state, "jail", "homes", "browser")
	for range 2 { // the second time it is there
		if err := makeHostDirs([]policy.HostDir{{Path: dir, Mode: 0o700}}, state); err != nil {
			t.Fatal(err)
		}
	}
	for at := dir; at != filepath.Dir(state); at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != os.ModeDir|0o700 {
			t.Errorf("%s has mode %v, want 0700", at, info.Mode())
		}
	}
}

// A program that could write to one of jail's folders in an earlier run plants something there; the
// folder that jail makes next must not end up where that leads.
func TestMakeHostDirsFollowsNothingPlanted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(t *testing.T, homes, outside string)
		want  string
	}{
		{"link to a folder", func(t *testing.T, homes, outside string) {
			must(t, os.Symlink(outside, filepath.Join(homes, "browser")))
		}, "symbolic link"},
		{"dangling link", func(t *testing.T, homes, outside string) {
			must(t, os.Symlink(filepath.Join(outside, "new"), filepath.Join(homes, "browser")))
		}, "symbolic link"},
		{"link further up", func(t *testing.T, homes, outside string) {
			must(t, os.Remove(homes))
			must(t, os.Symlink(outside, homes))
		}, "symbolic link"},
		{"a file", func(t *testing.T, homes, outside string) {
			must(t, os.WriteFile(filepath.Join(homes, "browser"), nil, 0o600))
		}, "not a folder"},
		{"a folder that others may write", func(t *testing.T, homes, outside string) {
			must(t, os.Mkdir(filepath.Join(homes, "browser"), 0o700))
			must(t, os.Chmod(filepath.Join(homes, "browser"), 0o777))
		}, "writable by nobody else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, outside := t.TempDir(), t.TempDir()
			homes := filepath.Join(state, "jail", "homes")
			must(t, os.MkdirAll(homes, 0o700))
			tt.plant(t, homes, outside)
			err := makeHostDirs([]policy.HostDir{{Path: filepath.Join(homes, "browser", "deeper"), Mode: 0o700}}, state)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
			if entries, _ := os.ReadDir(outside); len(entries) != 0 {
				t.Errorf("made %s outside", entries[0].Name())
			}
		})
	}
}

// A folder that the user names may lie behind links: homes and data folders often do.
func TestMakeHostDirsThroughTheUsersOwnLinks(t *testing.T) {
	home, disk := t.TempDir(), t.TempDir()
	must(t, os.Symlink(disk, filepath.Join(home, "data")))
	if err := makeHostDirs([]policy.HostDir{{Path: filepath.Join(home, "data", "layers", "upper"), Mode: 0o700}}, filepath.Join(home, "state")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(disk, "layers", "upper")); err != nil || !info.IsDir() {
		t.Errorf("folder behind the link: %v, %v", info, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
