package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// contender is a way to start /bin/true.
type contender struct {
	name string
	argv []string
}

// The names that the targets speak of.
const (
	jailSame    = "jail, same mounts"
	jailBrowser = "jail, browser profile"
	jailScope   = "jail, same mounts, scope"
	jailSubtree = "jail, same mounts, subtree"
	jailLimits  = "jail, same mounts, limits" // where it cannot be started and says why
	minimalC    = "minimal C program"
	bubblewrap  = "bubblewrap"
	firejail    = "firejail, default"
)

// contenders lists the ways that this machine has, and names those that it has not.
func contenders(tree, work, only string) (found []contender, missing []string, err error) {
	jail := filepath.Join(tree, "bin", "jail")
	same := filepath.Join(tree, "test", "bench", "same.yaml")
	limits := []string{jail, "--profile", filepath.Join(tree, "test", "bench", "limits.yaml"), "/bin/true"}
	bundle := filepath.Join(work, "bundle")
	// An ordinary user's runc starts only bundles whose program is the container's root.
	compile := exec.Command(jail, "compile", "--bundle", bundle, "--profile", same,
		"--set", "process.uid=0", "--set", "process.gid=0", "--", "/bin/true")
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("jail compile: %w: %s", err, out)
	}
	state := filepath.Join(work, "state")
	all := []contender{
		{"no sandbox", []string{"/bin/true"}},
		{minimalC, []string{filepath.Join(tree, "bin", "minimal"), "/bin/true"}},
		{jailSame, []string{jail, "--profile", same, "/bin/true"}},
		{wayOf(limits), limits},
		{jailBrowser, []string{jail, "--profile", "browser", "/bin/true"}},
		{"jail, browser, no network", []string{jail, "--profile", filepath.Join(tree, "test", "bench", "browser-none.yaml"), "/bin/true"}},
		{bubblewrap, strings.Fields("bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp /bin/true")},
		{"nsjail", strings.Fields("nsjail --mode o --really_quiet --bindmount_ro / --tmpfsmount /tmp -- /bin/true")},
		{"crun, jail's bundle", []string{"crun", "--cgroup-manager", "disabled", "--root", state + "-crun", "run", "--bundle", bundle, "jail-bench-crun"}},
		{"runc, jail's bundle", []string{"runc", "--root", state + "-runc", "run", "--bundle", bundle, "jail-bench-runc"}},
		{firejail, []string{"firejail", "--quiet", "/bin/true"}},
	}
	for _, c := range all {
		if !strings.Contains(c.name, only) {
			continue
		}
		path, err := program(c.argv[0])
		if err != nil {
			missing = append(missing, c.argv[0])
			continue
		}
		c.argv[0] = path
		found = append(found, c)
	}
	return found, missing, nil
}

// wayOf names the start with limits after the way to a control group that jail takes here.
func wayOf(argv []string) string {
	out, err := exec.Command(argv[0], append([]string{"--verbose"}, argv[1:]...)...).CombinedOutput()
	switch {
	case err != nil:
	case strings.Contains(string(out), "kept by a scope"):
		return jailScope
	case strings.Contains(string(out), "subtree"):
		return jailSubtree
	}
	return jailLimits
}

// program finds a program where an ordinary user's PATH may not lead: Debian has runc in /usr/sbin.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if _, there := os.Stat("/usr/sbin/" + name); there == nil {
		return "/usr/sbin/" + name, nil
	}
	return "", err
}
