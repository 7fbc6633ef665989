package escape

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The cases here are decided before there is a plan: by what jail makes of words, of profiles and of what lies on the
// host. Each has a control run in which the same thing is done in a way that is allowed, or without jail.

// attacker is the profile line that shows the attacker inside.
func (v *victim) attacker() string { return "{path: /attack, source: " + v.self + ", mode: ro}" }

// wants runs the attacker under jail.
func (v *victim) wants(won bool, what string, args ...string) {
	v.t.Helper()
	out, code := v.jail(args...)
	if strings.Contains(out, "won: ") != won || !won && !strings.Contains(out, "held: ") && code == 0 {
		v.t.Errorf("%s: won %t, want %t; exit code %d\n%s", what, !won, won, code, out)
	}
}

// CVE-2020-17367, CVE-2024-32462: a word of the program's is taken for an option.
func TestArgumentsAreNotOptions(t *testing.T) {
	v := newVictim(t)
	v.profile("words", "filesystem: ["+v.attacker()+"]\n")
	bait, grant := v.home+"/secrets/bait", v.home+"/secrets"
	v.wants(false, "behind the program", "-p", "words", "/attack", "attack", "find", bait, "--ro", grant)
	v.wants(false, "behind --", "-p", "words", "--", "/attack", "attack", "find", bait, "--ro="+grant)
	v.wants(true, "control: before the program", "-p", "words", "--ro", grant, "--", "/attack", "attack", "find", bait)
	if out, code := v.jail("-p", "words", "--", "--ro", grant, "/attack", "attack", "find", bait); code != 127 {
		t.Errorf("a program called --ro: exit code %d\n%s", code, out)
	}
}

// CVE-2019-11253: a small file that unfolds without end.
func TestAliasBomb(t *testing.T) {
	v := newVictim(t)
	bomb := func(levels int) string {
		text := "vars:\n  A0: &a0 x\n"
		for i := 1; i <= levels; i++ {
			before := "*a" + string(rune('0'+i-1))
			text += "  A" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat(before+", ", 9) + before + "]\n"
		}
		return text
	}
	v.profile("bomb", bomb(9))
	began := time.Now()
	if out, code := v.jail("-p", "bomb", "true"); code != 125 || !strings.Contains(out, "alias") || time.Since(began) > 20*time.Second {
		t.Errorf("after %s: exit code %d\n%s", time.Since(began), code, out)
	}
	v.profile("alias", "vars: {A: &a x, B: *a}\n")
	if out, code := v.jail("-p", "alias", "true"); code != 0 {
		t.Errorf("control: an alias: exit code %d\n%s", code, out)
	}
}

// An empty list means nothing is allowed, and is not an absent one.
func TestEmptyListAllowsNothing(t *testing.T) {
	v := newVictim(t)
	v.profile("none", "syscalls: {allow: []}\nfilesystem: ["+v.attacker()+"]\nwithout: {syscalls: [\"@default\"]}\n")
	v.profile("absent", "filesystem: ["+v.attacker()+"]\n")
	if out, code := v.jail("-p", "none", "--", "/attack", "attack", "find", "/nothing"); code == 0 || strings.Contains(out, "held: ") {
		t.Errorf("with no call allowed a program ran: exit code %d\n%s", code, out)
	}
	if out, _ := v.jail("-p", "absent", "--", "/attack", "attack", "find", "/nothing"); !strings.Contains(out, "held: ") {
		t.Errorf("control: %s", out)
	}
}

// CVE-2022-21682: what is denied is granted again by the order of merging.
func TestDenyWinsTheMerge(t *testing.T) {
	v := newVictim(t)
	v.profile("first", "filesystem: ["+v.attacker()+", {path: \"~/work/project/.env\", hide: true}]\n")
	v.write(".config/jail/profiles/later.yaml", "version: 1\nname: later\nextends: [first]\nfilesystem: [{path: \"~/work\", mode: rw}]\n")
	v.write(".config/jail/profiles/names-it.yaml", "version: 1\nname: names-it\nextends: [first]\nfilesystem: [{path: \"~/work\", mode: rw}, {path: \"~/work/project/.env\", mode: ro}]\n")
	attack := []string{"--", "/attack", "attack", "find", v.home + "/work/project/.env"}
	v.wants(false, "a later grant of the folder", append([]string{"-p", "later"}, attack...)...)
	v.wants(false, "a flag that grants the folder", append([]string{"-p", "first", "--bind", v.home + "/work"}, attack...)...)
	v.wants(true, "control: a later file that names the very path", append([]string{"-p", "names-it"}, attack...)...)
}

// CVE-2023-28101: control characters hide what a profile grants.
func TestNothingIsPrintedRaw(t *testing.T) {
	v := newVictim(t)
	odd := "\\e[2K\\e[1A\\x07\\u202e"
	v.profile("odd", "description: \"nothing"+odd+"\"\nfilesystem: [{path: \"~/work"+odd+"\", mode: rw, optional: true}, {path: /etc/x, content: \""+odd+"\"}]\nenvironment: {set: {A: \""+odd+"\"}}\n")
	for _, words := range [][]string{{"show", "odd"}, {"explain", "odd"}, {"check", "odd"}, {"profiles"}, {"plan", "-p", "odd", "true"}, {"compile", "-p", "odd", "true"}, {"show", "odd" + "\x1b[2J"}} {
		out, _ := v.jail(words...)
		for _, raw := range []string{"\x1b", "\x07", "\u202e"} {
			if strings.Contains(out, raw) {
				t.Errorf("jail %q prints %q raw:\n%q", words, raw, out)
			}
		}
	}
	if out, _, _ := v.run(false, "/bin/sh", "-c", "printf '\\033[2K'"); !strings.Contains(out, "\x1b") {
		t.Errorf("control: a terminal sequence does not arrive: %q", out)
	}
}

// CVE-2025-24965, CVE-2026-30892: names and ids that are read loosely.
func TestNamesAndIDsAreReadStrictly(t *testing.T) {
	v := newVictim(t)
	for _, name := range []string{"", "../x", "a/b", "a b", "a\nb", ".hidden", strings.Repeat("x", 65), "ä"} {
		if out, code := v.jail("--name="+name, "--", "true"); code != 125 {
			t.Errorf("--name %q: exit code %d\n%s", name, code, out)
		}
	}
	for _, process := range []string{"uid: -1", "uid: 0x0", "uid: 4294967296", "uid: \"0 1\"", "uid: 1e3", "gid: -1"} {
		v.profile("ids", "process: {"+process+"}\n")
		if out, code := v.jail("-p", "ids", "true"); code != 125 {
			t.Errorf("%s: exit code %d\n%s", process, code, out)
		}
	}
	v.profile("ids", "process: {uid: 0, gid: 0}\n")
	if out, code := v.jail("--name=fine.name-1_A", "-p", "ids", "true"); code != 0 {
		t.Errorf("control: exit code %d\n%s", code, out)
	}
}

// CVE-2024-45310, CVE-2024-42472: mount points and persistent folders are made through links, on the host.
func TestNothingIsMadeThroughLinks(t *testing.T) {
	v := newVictim(t)
	if err := os.Mkdir(v.home+"/outside", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"work/cache", ".local/state/jail/home/planted"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(v.home, link)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(v.home+"/outside", filepath.Join(v.home, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, files := range map[string]string{
		"directory": `{path: "~/work", mode: rw}, {path: "~/work/cache/new", tmpfs: {}}`,
		"file":      `{path: "~/work", mode: rw}, {path: "~/work/cache/new/file", content: "x"}`,
		"bind":      `{path: "~/work", mode: rw}, {path: "~/work/cache/new/dir", source: "~/secrets", mode: ro}`,
		"persist":   `{path: "~", persist: planted}`,
		"kept":      `{path: "~/work", mode: rw}, {path: "~/secrets", overlay: {keep: "~/work/cache/kept"}}`,
	} {
		v.profile(name, "filesystem: ["+files+"]\n")
		out, code := v.jail("-p", name, "true")
		if made, _ := os.ReadDir(v.home + "/outside"); len(made) > 0 {
			t.Errorf("%s: made through the link: %v; exit code %d\n%s", name, made, code, out)
			_ = os.RemoveAll(v.home + "/outside/" + made[0].Name())
		}
	}
	if err := os.MkdirAll(v.home+"/work/cache/new", 0o755); err != nil {
		t.Fatal(err)
	}
	if made, _ := os.ReadDir(v.home + "/outside"); len(made) != 1 {
		t.Error("control: a path that is walked does not lead outside")
	}
}

// What a program closed in an earlier run it opens again in this one: what jail cannot look at is not taken for absent.
func TestWhatTheProgramClosed(t *testing.T) {
	v := newVictim(t)
	v.profile("hides", "filesystem: ["+v.attacker()+", {path: \"~/work\", mode: rw}, {path: \"~/work/**/.env\", hide: true}]\n")
	v.profile("shows", "filesystem: ["+v.attacker()+", {path: \"~/work\", mode: rw}]\n")
	for _, mode := range []os.FileMode{0, 0o100, 0o400, 0o600} {
		for _, run := range []struct {
			profile string
			won     bool
		}{{"hides", false}, {"shows", true}} {
			if err := os.Chmod(v.home+"/work/closed", mode); err != nil {
				t.Fatal(err)
			}
			v.wants(run.won, run.profile+", with "+mode.String(), "-p", run.profile, "--", "/attack", "attack", "open-and-find", v.home+"/work/closed/.env")
		}
	}
	all := v.write("all.yaml", "version: 1\nname: all\nextends: [default]\nfilesystem: ["+v.attacker()+", {path: \"~\", mode: rw}]\n")
	for _, closed := range []bool{true, false} {
		mode := os.FileMode(0o700)
		if closed {
			mode = 0
		}
		if err := os.Chmod(v.home+"/.config", mode); err != nil {
			t.Fatal(err)
		}
		// It would write the profile that the next run is started with.
		out, code := v.jail("-p", all, "--", "/attack", "attack", "open-and-create", v.home+"/.config/jail/profiles/mine.yaml")
		if strings.Contains(out, "won: ") || closed != (code == 125) {
			t.Errorf("profiles closed %t: exit code %d\n%s", closed, code, out)
		}
	}
}

// CVE-2022-24769, CVE-2022-29162: inheritable capabilities of the caller's stay.
func TestInheritableCapabilities(t *testing.T) {
	v := newVictim(t)
	v.profile("caps", "filesystem: ["+v.attacker()+"]\n")
	v.privileged = true
	if out, code, _ := v.run(false, v.self, "attack", "capabilities"); !strings.Contains(out, "won: ") {
		t.Fatalf("control: the caller has none: exit code %d\n%s", code, out)
	}
	v.wants(false, "inside", "-p", "caps", "--", "/attack", "attack", "capabilities")
}

// CVE-2019-19921 and its sequels, CVE-2025-31133, CVE-2025-52565: the root of a bundle has something else where /proc and
// the devices are expected, and masks go to it or come from it.
func TestFakesInTheRoot(t *testing.T) {
	v := newVictim(t)
	v.profile("root", "filesystem: ["+v.attacker()+"]\n")
	for _, c := range []struct {
		name, attack string
		plant        func(root string)
		change       map[string]string // of config.json
	}{
		{"/proc is a link", "unmasked-proc", func(root string) { plantLink(root+"/fake", root+"/proc") }, nil},
		{"/proc is a link out", "unmasked-proc", func(root string) { plantLink("", root+"/proc") }, nil},
		{"/dev/null is a link", "find /proc/keys", func(root string) {
			_ = os.MkdirAll(root+"/dev", 0o755)
			_ = os.WriteFile(root+"/bait", []byte("bait\n"), 0o644)
			_ = os.Symlink("/bait", root+"/dev/null")
		}, map[string]string{`"destination": "/dev"`: `"destination": "/nodev"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(v.home, "bundle-"+strings.Map(keepLetters, c.name))
			if out, code := v.jail(append([]string{"compile", "--bundle", dir, "-p", "root", "--", "/attack", "attack"}, strings.Fields(c.attack)...)...); code != 0 {
				t.Fatalf("compile: %s", out)
			}
			config, err := os.ReadFile(dir + "/config.json")
			if err != nil {
				t.Fatal(err)
			}
			text := string(config)
			for from, to := range c.change {
				if !strings.Contains(text, from) {
					t.Fatalf("config.json has no %s", from)
				}
				text = strings.ReplaceAll(text, from, to)
			}
			if err := os.WriteFile(dir+"/config.json", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			c.plant(dir + "/rootfs")
			v.wants(false, c.name, "run", "--bundle", dir)
		})
	}
}

func keepLetters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}

// plantLink puts a link in the place of a directory: to another in the root, or out of it.
func plantLink(target, at string) {
	_ = os.RemoveAll(at)
	if target == "" {
		target = "/var/tmp"
	} else {
		_ = os.MkdirAll(target, 0o755)
		target = "/" + filepath.Base(target)
	}
	_ = os.Symlink(target, at)
}

// privilegedCaller gives a command a user namespace of its own, and in it a capability that it inherits and hands on.
func privilegedCaller() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_RAW},
	}
}
