package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a home and a system with a program that has two names and three entries.
func machine(t *testing.T) (Places, string) {
	t.Helper()
	top := t.TempDir()
	home, system := filepath.Join(top, "home"), filepath.Join(top, "usr")
	p := Places{
		Bin: home + "/.local/bin", DataHome: home + "/.local/share", Records: home + "/.local/state/jail/installed",
		DataDirs: []string{system + "/local/share", system + "/share"},
		Path:     []string{home + "/.local/bin", "relative", system + "/bin"}, Jail: "/usr/bin/jail",
	}
	write(t, system+"/lib/web/web-esr", "#!/bin/sh\n", 0o755)
	write(t, system+"/bin/note", "#!/bin/sh\n", 0o755)
	link(t, "../lib/web/web-esr", system+"/bin/web")
	write(t, system+"/share/applications/web-esr.desktop", "[Desktop Entry]\nExec="+system+"/lib/web/web-esr %u\nDBusActivatable=true\n", 0o644)
	write(t, system+"/share/applications/other.desktop", "[Desktop Entry]\nExec=other %u\n", 0o644)
	write(t, system+"/share/applications/private.desktop", "[Desktop Entry]\nExec=other\n", 0o644)
	write(t, system+"/local/share/applications/private.desktop", "[Desktop Entry]\nExec=web --private\n", 0o644)
	write(t, system+"/share/applications/beta.desktop", "[Desktop Entry]\nExec=web-beta\n", 0o644)
	write(t, home+"/.bashrc", "own\n", 0o600)
	return p, home
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// tree is all of a folder: names, modes, contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := []byte{}
		if e.Type().IsRegular() {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%s %v %q\n", path, info.Mode(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInstallAndUninstallLeaveTheHomeAsItWas(t *testing.T) {
	p, home := machine(t)
	before := tree(t, home)
	for _, names := range [][]string{{"web"}, {"web", "note"}, {"web", "web", "note"}} {
		for _, name := range names {
			if _, err := p.Install(name, "strict", []string{"web-beta"}); err != nil {
				t.Fatal(err)
			}
		}
		wrapper, err := os.ReadFile(p.Bin + "/web")
		if err != nil || !strings.HasSuffix(string(wrapper), "\nexec /usr/bin/jail run --profile strict -- "+p.Path[2]+"/web \"$@\"\n") {
			t.Errorf("wrapper %q %v", wrapper, err)
		}
		for id, want := range map[string]string{
			"web-esr.desktop": "Exec=/usr/bin/jail run --profile strict -- " + filepath.Dir(p.Path[2]) + "/lib/web/web-esr %u\nDBusActivatable=false\n",
			"beta.desktop":    "Exec=/usr/bin/jail run --profile strict -- web-beta\n",
			"private.desktop": "Exec=/usr/bin/jail run --profile strict -- web --private\n",
		} {
			if text, err := os.ReadFile(p.DataHome + "/applications/" + id); err != nil || !strings.HasSuffix(string(text), want) {
				t.Errorf("%s: %q %v", id, text, err)
			}
		}
		if _, err := os.Lstat(p.DataHome + "/applications/other.desktop"); !errors.Is(err, fs.ErrNotExist) {
			t.Error("an entry of another program was changed")
		}
		records, err := p.Installed()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if _, err := p.Uninstall(r.Name, false); err != nil {
				t.Fatal(err)
			}
		}
		if after := tree(t, home); after != before {
			t.Fatalf("%q: before\n%s\nafter\n%s", names, before, after)
		}
	}
}

func TestNothingForeignIsTouched(t *testing.T) {
	for _, where := range []string{"/.local/bin/web", "/.local/share/applications/web-esr.desktop", "/.local/share/applications/private.desktop"} {
		for _, kind := range []string{"file", "link", "dangling link", "folder"} {
			p, home := machine(t)
			switch path := home + where; kind {
			case "file":
				write(t, path, "mine\n", 0o644)
			case "link":
				link(t, home+"/.bashrc", path)
			case "dangling link":
				link(t, home+"/nowhere", path)
			case "folder":
				if err := os.MkdirAll(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, home)
			_, err := p.Install("web", "strict", nil)
			if err == nil || !strings.Contains(err.Error(), where+" is there already, and jail did not make it") {
				t.Errorf("%s a %s: %v", where, kind, err)
			}
			if after := tree(t, home); after != before {
				t.Errorf("%s a %s: before\n%s\nafter\n%s", where, kind, before, after)
			}
		}
	}
}

func TestAChangedFileStays(t *testing.T) {
	p, home := machine(t)
	before := tree(t, home)
	if _, err := p.Install("web", "strict", nil); err != nil {
		t.Fatal(err)
	}
	write(t, p.Bin+"/web", "mine now\n", 0o755)
	changed := tree(t, home)
	if _, err := p.Uninstall("web", false); err == nil || !strings.Contains(err.Error(), "/bin/web was changed since jail made it") {
		t.Errorf("%v", err)
	}
	if _, err := p.Install("web", "strict", nil); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("%v", err)
	}
	if after := tree(t, home); after != changed {
		t.Errorf("before\n%s\nafter\n%s", changed, after)
	}
	if _, err := p.Uninstall("web", true); err != nil {
		t.Error(err)
	}
	if after := tree(t, home); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestRefusals(t *testing.T) {
	p, _ := machine(t)
	if _, err := p.Install("nosuch", "strict", nil); err == nil || err.Error() != "nosuch: no such program on the PATH" {
		t.Errorf("%v", err)
	}
	if _, err := p.Uninstall("web", false); err == nil || err.Error() != "web: not installed by jail" {
		t.Errorf("%v", err)
	}
	// A record that names a file elsewhere is not believed.
	write(t, p.Records+"/web.json", `{"name": "web", "files": [{"path": "/etc/passwd", "sha256": "x"}]}`, 0o600)
	if _, err := p.Uninstall("web", true); err == nil || !strings.Contains(err.Error(), "/etc/passwd is not where jail puts files") {
		t.Errorf("%v", err)
	}
}
