package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jail/test/need"
)

// The Debian package holds what `make install` puts in place, and manual pages that man(1) reads without a complaint.
func TestPackage(t *testing.T) {
	need.OrdinaryUser(t)
	need.Program(t, "go")
	build := need.Program(t, "dpkg-deb")
	tree, out, man := t.TempDir(), t.TempDir(), t.TempDir()
	root := need.Tree(t)
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		cmd.Env = append(cmd.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8")
		var warnings strings.Builder
		cmd.Stderr = &warnings
		text, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Fatalf("%s %q: %v\n%s", name, args, err, warnings.String())
		}
		return string(text)
	}
	run("docs/man", man)
	for page, want := range map[string][]string{
		"jail.1":         {"jail run", "--profile", "EXIT STATUS", "jail --profile browser.yaml firefox"},
		"jail-profile.5": {"filesystem", "enforcement", "SEE ALSO", "jail-profile"},
	} {
		text := run(need.Program(t, "man"), "--warnings", "--local-file", filepath.Join(man, page))
		plain := strings.Join(strings.Fields(strings.NewReplacer("\b", "", "‐\n", "", "‐", "-").Replace(text)), " ")
		for _, w := range want {
			if !strings.Contains(plain, w) {
				t.Errorf("%s lacks %q:\n%s", page, w, text)
			}
		}
		run("install", "-D", "-m", "0644", filepath.Join(man, page), filepath.Join(tree, "usr/share/man", "man"+page[len(page)-1:], page))
	}
	run("install", "-D", "-m", "0755", "bin/jail", filepath.Join(tree, "usr/bin/jail"))
	run("cmd/jail/deb/build", tree, "v1.2-3-gabcdef-dirty", out)
	packages, err := filepath.Glob(out + "/jail_1.2+3+gabcdef+dirty_*.deb")
	if err != nil || len(packages) != 1 {
		entries, _ := os.ReadDir(out)
		t.Fatalf("packages %q, folder %v", packages, entries)
	}
	list := run(build, "--contents", packages[0])
	for _, want := range []string{"-rwxr-xr-x root/root", " ./usr/bin/jail\n", " ./usr/share/jail/apparmor\n"} {
		if !strings.Contains(list, want) {
			t.Errorf("the package lacks %q:\n%s", want, list)
		}
	}
	if strings.Contains(list, "rws") {
		t.Errorf("something in the package is set-uid:\n%s", list)
	}
	run(build, "--extract", packages[0], out+"/x")
	if text := run("cat", out+"/x/usr/share/jail/apparmor"); !strings.Contains(text, "profile jail /usr/bin/jail flags=(unconfined)") || !strings.Contains(text, "userns,") {
		t.Errorf("AppArmor profile:\n%s", text)
	}
}
