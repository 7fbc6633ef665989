package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// TestProfilesOfStrangers: a profile is taken by its name only from where nobody else can have put it.
func TestProfilesOfStrangers(t *testing.T) {
	for _, c := range []struct {
		name  string
		chmod map[string]os.FileMode // below the configuration folder
		link  bool                   // jail's folder there is a link
		said  string                 // the place that is named, with the remedy; "" when it is taken
	}{
		{name: "nobody else's"},
		{name: "a group's", chmod: map[string]os.FileMode{"jail/profiles": 0o775, "jail/profiles/mine.yaml": 0o664}},
		{name: "the file is everybody's", chmod: map[string]os.FileMode{"jail/profiles/mine.yaml": 0o666}, said: "jail/profiles/mine.yaml"},
		{name: "the folder is everybody's", chmod: map[string]os.FileMode{"jail/profiles": 0o777}, said: "jail/profiles"},
		{name: "the folder is everybody's, names its owners'", chmod: map[string]os.FileMode{"jail/profiles": os.ModeSticky | 0o777}, said: "jail/profiles"},
		{name: "a folder above is everybody's", chmod: map[string]os.FileMode{"jail": 0o777}, said: "jail"},
		{name: "a folder above is everybody's, names their owners'", chmod: map[string]os.FileMode{"jail": os.ModeSticky | 0o777}},
		{name: "what a link leads to is nobody else's", link: true},
		{name: "what a link leads to is everybody's", link: true, chmod: map[string]os.FileMode{"dotfiles/jail": 0o777}, said: "dotfiles/jail"},
		{name: "a link may be changed by everybody", link: true, chmod: map[string]os.FileMode{".": 0o777}, said: "."},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			h := &Host{
				Home: dir, Cwd: "/", UID: os.Getuid(), ConfigHome: filepath.Join(dir, "config"), FS: OSFS{},
				Shipped: fstest.MapFS{"default.yaml": {Data: []byte("version: 1\n")}},
			}
			real := filepath.Join(h.ConfigHome, "jail/profiles")
			if c.link {
				real = filepath.Join(h.ConfigHome, "dotfiles/jail/profiles")
			}
			if err := os.MkdirAll(real, 0o755); err != nil {
				t.Fatal(err)
			}
			if c.link {
				if err := os.Symlink("dotfiles/jail", filepath.Join(h.ConfigHome, "jail")); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(real, "mine.yaml"), []byte("version: 1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			for name, mode := range c.chmod {
				if err := os.Chmod(filepath.Join(h.ConfigHome, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			_, err = Load("mine", h)
			if c.said == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if want := filepath.Join(h.ConfigHome, c.said) + ": every user may write here"; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("said %v, want %s", err, want)
			}
			// A shipped name could be taken in such a folder, but not one in a file by its path.
			_, err = Load("default", h)
			if folder := !strings.HasSuffix(c.said, ".yaml"); (err != nil) != folder {
				t.Errorf("a shipped profile: %v", err)
			}
		})
	}
	for path, uid := range map[string]uint32{"/home/user/.config/jail/profiles": 1234, "/home/user/.config/jail/profiles/mine.yaml": 1234} {
		h := fakeHost(t, map[string]string{"/home/user/.config/jail/profiles/mine.yaml": "version: 1\n"})
		if _, err := Load("mine", h); err != nil {
			t.Fatal(err)
		}
		file := h.FS.(fakeFS)[path]
		file.uid = uid
		h.FS.(fakeFS)[path] = file
		if _, err := Load("mine", h); err == nil || !strings.Contains(err.Error(), path+": belongs to user 1234") {
			t.Errorf("%s of user 1234: %v", path, err)
		}
	}
}
