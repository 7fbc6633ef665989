package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"jail/policy"
	"jail/test/need"
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

// Mount points are made in folders of the user's that programs may write to, too.
func TestMakeHostDirsFollowsNoLinkElsewhere(t *testing.T) {
	work, outside := t.TempDir(), t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(work, "planted")))
	err := makeHostDirs([]policy.HostDir{{Path: filepath.Join(work, "planted", "mount"), Mode: 0o755}}, filepath.Join(t.TempDir(), "state"))
	if err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("error %v, want one about the link", err)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("made %s outside", entries[0].Name())
	}
	must(t, makeHostDirs([]policy.HostDir{{Path: filepath.Join(work, "a", "b"), Mode: 0o755}}, filepath.Join(t.TempDir(), "state")))
	if info, err := os.Stat(filepath.Join(work, "a", "b")); err != nil || !info.IsDir() {
		t.Errorf("folder elsewhere: %v", err)
	}
}

// A file manager makes folders in a persistent home, with a umask of 0002 where users have groups of their own.
func TestMakeHostDirsInAFolderOfTheUsersGroup(t *testing.T) {
	need.OrdinaryUser(t)
	me, err := user.Current()
	must(t, err)
	group, err := user.LookupGroupId(me.Gid)
	if err != nil || group.Name != me.Username {
		t.Skipf("%s has no group of their own: %v", me.Username, err)
	}
	state := t.TempDir()
	made := filepath.Join(state, "jail", "homes", "browser", "made")
	must(t, os.MkdirAll(made, 0o700))
	must(t, os.Chmod(made, 0o775))
	below := filepath.Join(made, "below")
	must(t, makeHostDirs([]policy.HostDir{{Path: below, Mode: 0o700}}, state))
	if info, err := os.Lstat(below); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("made %v, %v", info, err)
	}
}

// Homes are often links, such as /home -> /var/home; the compiler names what they lead to, and the
// rules of the state folder hold there.
func TestMakeHostDirsInALinkedHome(t *testing.T) {
	disk, links := t.TempDir(), t.TempDir()
	home := filepath.Join(links, "home")
	must(t, os.Symlink(disk, home))
	dirs := []policy.HostDir{{Path: filepath.Join(disk, "state", "jail", "home", "x"), Mode: 0o700}}
	must(t, makeHostDirs(dirs, filepath.Join(home, "state")))
	must(t, os.Chmod(filepath.Join(disk, "state", "jail"), 0o777))
	if err := makeHostDirs(dirs, filepath.Join(home, "state")); err == nil || !strings.Contains(err.Error(), "writable by nobody else") {
		t.Errorf("a state folder open to others: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
