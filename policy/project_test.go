package policy

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// projectHost is fakeHost with a profile p.yaml and a project file beside it, in
// the working directory.
func projectHost(t testing.TB, profile, project string) *Host {
	h := fakeHost(t, map[string]string{"p.yaml": "version: 1\n" + profile + "\n", ProjectFile: "version: 1\n" + project + "\n"})
	h.Project = ProjectAt(h.Cwd)
	return h
}

func approve(h *Host, text string) {
	a := NewApproval(h, h.Project, []byte(text))
	h.FS.(fakeFS).put(a.File, fakeFile{mode: 0o600, content: a.Text})
}

func loadProblems(h *Host, overrides ...Override) string {
	p, err := Load("p.yaml", h, overrides...)
	if err == nil {
		_, err = p.Resolve(h)
	}
	var all []string
	for _, p := range AsProblems(err) {
		all = append(all, p.Error())
	}
	return strings.Join(all, "\n")
}

// TestProjectGrantsNothing: what a project file without approval may not say,
// each with the place.
func TestProjectGrantsNothing(t *testing.T) {
	for _, c := range []struct{ project, key string }{
		{"extends: [base]", "extends"},
		{"vars: {DOWNLOADS: /}", "vars"},
		{"namespaces: [net]", "namespaces"},
		{"filesystem: [{path: /usr, mode: rw}]", "filesystem[0]"},
		{"filesystem: [{path: /usr, hide: true}, {path: /srv, source: /etc, mode: ro}]", "filesystem[1]"},
		{"filesystem: [{path: /usr, mode: ro, options: [norecursive]}]", "filesystem[0]"},
		{"filesystem: [{path: /usr, mode: ro, optional: true}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x, persist: x}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x, tmpfs: true}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x, overlay: discard}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x, content: a}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x, symlink: a}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x, dir: true}]", "filesystem[0]"},
		{"filesystem: [{path: ~/x}]", "filesystem[0]"},
		{"devices: [gpu]", "devices"},
		{"desktop: {wayland: false}", "desktop.wayland"},
		{"desktop: {dbus: {talk: [a.b]}}", "desktop.dbus"},
		{"environment: {keep: [SECRET]}", "environment.keep"},
		{"environment: {set: {LD_PRELOAD: x}}", "environment.set"},
		{"capabilities: [NET_RAW]", "capabilities"},
		{"syscalls: {default: ENOSYS}", "syscalls.default"},
		{"syscalls: {allow: []}", "syscalls.allow"},
		{"syscalls: {rules: [{names: [kill], action: EPERM}]}", "syscalls.rules"},
		{"syscalls: {architectures: [x86]}", "syscalls.architectures"},
		{"network: {mode: host}", "network.mode"},
		{"network: {egress: [{allow: any}]}", "network.egress[0]"},
		{"network: {publish: [\"80:80\"]}", "network.publish"},
		{"network: {dns: {servers: [9.9.9.9]}}", "network.dns"},
		{"network: {bandwidth: {up: 1MB/s}}", "network.bandwidth"},
		{"network: {uplink: builtin}", "network.uplink"},
		{"limits: {memory-low: 1G}", "limits.memory-low"},
		{"limits: {cpus: 0-1}", "limits.cpus"},
		{"limits: {io: []}", "limits.io"},
		{"limits: {oom-group: false}", "limits.oom-group"},
		{"process: {uid: 0}", "process.uid"},
		{"process: {cwd: /}", "process.cwd"},
		{"process: {terminal: never}", "process.terminal"},
		{"process: {die-with-parent: false}", "process.die-with-parent"},
		{"process: {no-new-privileges: false}", "process.no-new-privileges"},
		{"enforcement: {seccomp: off}", "enforcement.seccomp"},
		{"without: {filesystem: [/tmp]}", "without.filesystem"},
		{"without: {namespaces: [net]}", "without.namespaces"},
		{"without: {environment: [PATH]}", "without.environment"},
		{"without: {limits: [memory]}", "without.limits"},
		{"without: {rlimits: [core]}", "without.rlimits"},
		{"without: {syscalls: [kill]}", "without.syscalls"},
		{"without: {egress: [all]}", "without.egress"},
		{"without: {process: [timeout]}", "without.process"},
		{"without: {desktop: [wayland]}", "without.desktop[0]"},
		{"when: [{if: {user: ordinary}, then: {devices: [gpu]}}]", "when[0].then.devices"},
		{"when: [{if: {user: root}, then: {network: {mode: host}}}]", "when[0].then.network.mode"},
	} {
		got := loadProblems(projectHost(t, "", c.project))
		want := ": " + c.key + ": a project file that you have not approved may only take away: "
		if first, _, _ := strings.Cut(got, "\n"); !strings.HasPrefix(first, ".jail.yaml:2:") || !strings.Contains(first, want) || !strings.Contains(first, "'jail approve'") {
			t.Errorf("%s: got\n%s", c.project, got)
		}
	}
}

// TestProjectKeys: a key of the language that nobody thought of here is refused.
func TestProjectKeys(t *testing.T) {
	for _, key := range slices.Concat(takesAway, slices.Collect(func(yield func(string) bool) {
		for key := range tightening {
			if !yield(key) {
				return
			}
		}
	})) {
		v := documentKeys(t)
		if !slices.Contains(v, key) {
			t.Errorf("%s is not a key of the language", key)
		}
	}
}

func documentKeys(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/profile-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	section := ""
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "<!-- table: "); ok {
			section, _, _ = strings.Cut(name, " ")
		}
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ := strings.Cut(rest, "`")
			if section != "profile" {
				key = section + "." + key
			}
			keys = append(keys, key)
		}
	}
	return keys
}

// TestProjectTightens: what a project file without approval does to a profile.
// Each case is seen without the file first, as the control.
func TestProjectTightens(t *testing.T) {
	entry := func(r *Resolved, p string) string {
		for _, e := range r.Filesystem {
			if e.Path == p {
				return string(e.Kind) + " " + e.Source
			}
		}
		return ""
	}
	for _, c := range []struct {
		name, profile, project string
		see                    func(r *Resolved) string
		before, after          string
	}{
		{"hide", `filesystem: [{path: "~/work", mode: rw}]`, `filesystem: [{path: ./app/.env, hide: true}]`,
			hiddenPaths, "", "/home/user/work/app/.env"},
		{"hide, by a pattern", `filesystem: [{path: "~/work", mode: rw}]`, `filesystem: [{path: "./**/.env", hide: true}]`,
			hiddenPaths, "", "/home/user/work/app/.env /home/user/work/lib/.env"},
		{"a hidden entry keeps covering the host", `filesystem: [{path: "~/work", mode: rw}, {path: ~/work/app/new, tmpfs: true}]`, `filesystem: [{path: ./app/new, hide: true}]`,
			func(r *Resolved) string { return entry(r, "/home/user/work/app/new") + hiddenPaths(r) }, "tmpfs ", "tmpfs /home/user/work/app/new"},
		{"and below a hidden directory", `filesystem: [{path: "~/work", mode: rw}, {path: ~/work/app/new, tmpfs: true}]`, `filesystem: [{path: ./app, hide: true}]`,
			func(r *Resolved) string { return entry(r, "/home/user/work/app/new") + hiddenPaths(r) }, "tmpfs ", "tmpfs /home/user/work/app"},
		{"read-only below", `filesystem: [{path: "~/work", mode: rw}]`, `filesystem: [{path: ./app/src, mode: ro}]`,
			func(r *Resolved) string {
				return entry(r, "/home/user/work/app/src") + "|" + entry(r, "/home/user/work/app")
			}, "|", "ro /home/user/work/app/src|rw /home/user/work/app"},
		{"read-only itself", `filesystem: [{path: "~/work", mode: rw}]`, `filesystem: [{path: ., mode: ro}]`,
			func(r *Resolved) string { return entry(r, "/home/user/work") }, "rw /home/user/work", "ro /home/user/work"},
		{"read-only above", `filesystem: [{path: "~/work/app", mode: rw}]`, `filesystem: [{path: "~", mode: ro}]`,
			func(r *Resolved) string { return entry(r, "/home/user/work/app") }, "rw /home/user/work/app", "ro /home/user/work/app"},
		{"read-only by another name", `filesystem: [{path: /w, source: "~/work", mode: rw}]`, `filesystem: [{path: ./app, mode: ro}]`,
			func(r *Resolved) string { return entry(r, "/w/app") }, "", "ro /home/user/work/app"},
		{"read-only of a home of its own", `filesystem: [{path: "~", persist: own}]`, `filesystem: [{path: "~", mode: ro}]`,
			func(r *Resolved) string { return entry(r, "/home/user") }, "persist /home/user/.local/state/jail/home/own", "ro /home/user/.local/state/jail/home/own"},
		{"read-only shows nothing new", `filesystem: [{path: /usr, mode: ro}]`, `filesystem: [{path: ./app, mode: ro}, {path: ~/.ssh, mode: ro}]`,
			func(r *Resolved) string { return entry(r, "/home/user/work/app") + entry(r, "/home/user/.ssh") }, "", ""},
		{"read-only brings nothing hidden back", `filesystem: [{path: "~", mode: rw}, {path: ~/.ssh, hide: true}]`, `filesystem: [{path: ~/.ssh, mode: ro}]`,
			hiddenPaths, "/home/user/.local/state/jail /home/user/.ssh", "/home/user/.local/state/jail /home/user/.ssh"},
		{"read-only uncovers nothing", `filesystem: [{path: "~/work", mode: rw}, {path: ~/work/app, tmpfs: true}]`, `filesystem: [{path: ./app, mode: ro}]`,
			func(r *Resolved) string { return entry(r, "/home/user/work/app") }, "tmpfs ", "tmpfs "},
		{"no network", `network: {mode: host}`, `network: {mode: none}`,
			func(r *Resolved) string {
				return r.Network.Mode.V + " " + string(rune('0'+slices.IndexFunc(r.Namespaces, func(n Namespace) bool { return n.Kind == "net" })+1))
			}, "host 0", "none 7"},
		{"no network after rules for one", `network: {mode: veth, egress: [{allow: any}], publish: ["8080:80"]}`, `network: {mode: none}`,
			func(r *Resolved) string { return r.Network.Mode.V }, "veth", "none"},
		{"no network where the profile lists its namespaces", "network: {mode: host}\nnamespaces: [user, mount, pid]", `network: {mode: none}`,
			func(r *Resolved) string { return r.Network.Mode.V }, "host", "none"},
		{"egress denied", `network: {mode: veth, egress: [{allow: "a.example:443"}]}`, `network: {egress: [{deny: a.example}]}`,
			func(r *Resolved) string { return r.Network.Egress[0].Text }, "a.example:443", "a.example"},
		{"egress of a program without network", ``, `network: {egress: [{deny: a.example}]}`,
			func(r *Resolved) string { return r.Network.Mode.V }, "none", "none"},
		{"less memory", `limits: {memory: 4G, memory-high: 3G, memory-low: 2G}`, `limits: {memory: 1G}`,
			func(r *Resolved) string {
				return byteText(r.Limits.Memory.V) + " " + byteText(r.Limits.MemoryHigh.V) + " " + byteText(r.Limits.MemoryLow.V)
			}, "4G 3G 2G", "1G 1G 1G"},
		{"more memory", `limits: {memory: 1G}`, `limits: {memory: 4G}`,
			func(r *Resolved) string { return byteText(r.Limits.Memory.V) }, "1G", "1G"},
		{"max", `limits: {memory: 1G}`, `limits: {memory: max}`,
			func(r *Resolved) string { return byteText(r.Limits.Memory.V) }, "1G", "1G"},
		{"a limit where there was none", ``, `limits: {pids: 10}`,
			func(r *Resolved) string { return limitText(r.Limits.Pids.V) }, "0", "10"},
		{"fewer files", `rlimits: {nofile: {soft: 100, hard: 200}}`, `rlimits: {nofile: 150, core: 0}`,
			func(r *Resolved) string {
				var s []string
				for _, l := range r.Rlimits {
					s = append(s, l.Type, rlimitText(l.Soft), rlimitText(l.Hard))
				}
				return strings.Join(s, " ")
			}, "RLIMIT_NOFILE 100 200", "RLIMIT_NOFILE 100 150 RLIMIT_CORE 0 0"},
		{"more files", `rlimits: {nofile: 100}`, `rlimits: {nofile: unlimited}`,
			func(r *Resolved) string { return rlimitText(r.Rlimits[0].Hard) }, "100", "100"},
		{"a capability less", `capabilities: [NET_RAW, CHOWN]`, `without: {capabilities: [NET_RAW, SYS_ADMIN]}`,
			func(r *Resolved) string {
				var s []string
				for _, c := range r.Capabilities {
					s = append(s, c.Name)
				}
				return strings.Join(s, " ")
			}, "CAP_CHOWN CAP_NET_RAW", "CAP_CHOWN"},
		{"a call less, whoever allowed it", `syscalls: {allow: ["@default", ptrace]}`, `syscalls: {deny: [ptrace]}`,
			func(r *Resolved) string {
				c, err := r.Spec([]string{"true"})
				if err != nil {
					return err.Error()
				}
				for _, s := range c.Spec.Linux.Seccomp.Syscalls {
					if slices.Contains(s.Names, "ptrace") {
						return string(s.Action)
					}
				}
				return "none"
			}, "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"},
		{"a variable less", `environment: {keep: [SECRET]}`, `environment: {unset: [SECRET]}`,
			func(r *Resolved) string {
				i := slices.IndexFunc(r.Environment, func(v EnvVar) bool { return v.Name == "SECRET" })
				return string("-+"[min(i+1, 1)])
			}, "+", "-"},
		{"less time", `process: {timeout: 1h}`, `process: {timeout: 1m}`,
			func(r *Resolved) string { return r.Process.Timeout.V.String() }, "1h0m0s", time.Minute.String()},
		{"more time", `process: {timeout: 1m}`, `process: {timeout: 1h}`,
			func(r *Resolved) string { return r.Process.Timeout.V.String() }, "1m0s", "1m0s"},
		{"a layer required", `enforcement: {seccomp: off}`, `enforcement: {seccomp: require}`,
			func(r *Resolved) string { return string(rune('0' + len(r.Enforcement))) }, "1", "0"},
		{"the profile's name stays", "name: mine\ndescription: words", `description: others`,
			func(r *Resolved) string { return r.Name.V + " " + r.Description.V }, "mine words", "mine words"},
		{"under a condition", `filesystem: [{path: "~/work", mode: rw}]`, `when: [{if: {user: ordinary}, then: {filesystem: [{path: ./app, mode: ro}]}}, {if: {user: root}, then: {filesystem: [{path: ./lib, mode: ro}]}}]`,
			func(r *Resolved) string {
				return entry(r, "/home/user/work/app") + "|" + entry(r, "/home/user/work/lib")
			}, "|", "ro /home/user/work/app|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := projectHost(t, c.profile, c.project)
			file := h.Project
			h.Project = ""
			if got := c.see(resolveOn(t, h)); got != c.before {
				t.Errorf("without the project file %q, want %q", got, c.before)
			}
			h.Project = file
			r := resolveOn(t, h)
			if got := c.see(r); got != c.after {
				t.Errorf("with the project file %q, want %q", got, c.after)
			}
			if len(r.Warnings) == 0 || r.Warnings[0].File != ProjectFile || !strings.Contains(r.Warnings[0].Cause, "nobody has approved it") {
				t.Errorf("nothing is said: %v", r.Warnings)
			}
		})
	}
}

// TestProjectOverCommandLine: the flags of one run do not escape it, and what the
// user leaves out is out.
func TestProjectOverCommandLine(t *testing.T) {
	h := projectHost(t, "", `network: {mode: none}`)
	if r := resolveOn(t, h, Override{"set", "network.mode=host"}); r.Network.Mode.V != "none" {
		t.Errorf("network %s", r.Network.Mode.V)
	}
	h.Project = ""
	if r := resolveOn(t, h, Override{"set", "network.mode=host"}); r.Network.Mode.V != "host" {
		t.Errorf("network %s", r.Network.Mode.V)
	}
}

// TestProjectUnfilteredNetwork: a denial that cannot hold is refused.
func TestProjectUnfilteredNetwork(t *testing.T) {
	got := loadProblems(projectHost(t, `network: {mode: host}`, `network: {egress: [{deny: a.example}]}`))
	if !strings.HasPrefix(got, ".jail.yaml:2:27: network.egress[0].deny: cannot hold with network.mode: host (p.yaml:2:17)") {
		t.Error(got)
	}
}

// TestProjectApproved: the very text that was approved is a file like any other,
// between the profile and the command line; any other is not.
func TestProjectApproved(t *testing.T) {
	const project = "version: 1\nextends: [base]\nfilesystem: [{path: ./app, mode: rw}]\nnetwork: {mode: host}\n"
	h := projectHost(t, "", "")
	h.FS.(fakeFS).put(h.Project, fakeFile{mode: 0o644, content: project})
	if got := loadProblems(h); strings.Count(got, "may only take away") != 3 {
		t.Errorf("control: not approved:\n%s", got)
	}
	approve(h, project)
	r := resolveOn(t, h)
	if len(r.Warnings) > 0 || r.Network.Mode.V != "host" || !slices.Contains(r.Files, "shipped:base.yaml") || r.Name.V != "p" {
		t.Errorf("approved: %v %s %v %s", r.Warnings, r.Network.Mode.V, r.Files, r.Name.V)
	}
	if r := resolveOn(t, h, Override{"set", "network.mode=none"}); r.Network.Mode.V != "none" {
		t.Error("the command line does not win over an approved file")
	}
	h.FS.(fakeFS).put(h.Project, fakeFile{mode: 0o644, content: project + "devices: [gpu]\n"})
	if got := loadProblems(h); strings.Count(got, "may only take away") != 4 {
		t.Errorf("changed after the approval:\n%s", got)
	}
	// A record that others may have written counts for nothing.
	h.FS.(fakeFS).put(h.Project, fakeFile{mode: 0o644, content: project})
	a := NewApproval(h, h.Project, []byte(project))
	for _, mode := range []fs.FileMode{0o620, 0o602} {
		h.FS.(fakeFS).put(a.File, fakeFile{mode: mode, content: a.Text})
		if got := loadProblems(h); strings.Count(got, "may only take away") != 3 {
			t.Errorf("record with mode %o:\n%s", mode, got)
		}
	}
	// Nor does the approval of another folder.
	h.FS.(fakeFS).put(a.File, fakeFile{mode: 0o600, content: NewApproval(h, "/srv/"+ProjectFile, []byte(project)).Text})
	if got := loadProblems(h); strings.Count(got, "may only take away") != 3 {
		t.Errorf("record of another folder:\n%s", got)
	}
}

// TestProjectApprovedExtends: what an approved file pulls in is not to change
// without a new approval.
func TestProjectApprovedExtends(t *testing.T) {
	const project = "version: 1\nextends: [other.yaml]\n"
	h := projectHost(t, "", "")
	h.FS.(fakeFS).put(h.Project, fakeFile{mode: 0o644, content: project})
	h.FS.(fakeFS).put(h.Cwd+"/other.yaml", fakeFile{mode: 0o644, content: "version: 1\n"})
	approve(h, project)
	want := ".jail.yaml:2:11: extends[0]: a project file cannot extend a file, which could change without your approval (extend a profile by its name, or write it into this file)"
	if got := loadProblems(h); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestProjectFileItself: what is at the file's place and who owns it.
func TestProjectFileItself(t *testing.T) {
	for _, c := range []struct {
		name string
		put  func(f fakeFS, p string)
		want string // a problem, or with note: a warning
		note bool
	}{
		{"none", func(f fakeFS, p string) { delete(f, p) }, "", false},
		{"empty", func(f fakeFS, p string) { f.put(p, fakeFile{mode: 0o644}) }, ".jail.yaml:1:1: the file is empty (a profile starts with 'version: 1')", false},
		{"no version", func(f fakeFS, p string) { f.put(p, fakeFile{mode: 0o644, content: "network: {mode: none}\n"}) }, ".jail.yaml:1:1: version: the key 'version' is missing (add 'version: 1')", false},
		{"a name", func(f fakeFS, p string) { f.put(p, fakeFile{mode: 0o644, content: "version: 1\nname: other\n"}) }, ".jail.yaml:2:7: name: a project file has no name: it belongs to its folder (take the key out)", false},
		{"no process but pid 1", func(f fakeFS, p string) { f.put(p, fakeFile{mode: 0o644, content: "version: 1\nlimits: {pids: 1}\n"}) }, ".jail.yaml:2:16: limits.pids: 1 leaves no room for the program: the sandbox's own pid 1 counts too (at least 2)", false},
		{"a symlink", func(f fakeFS, p string) {
			f.put(p, fakeFile{mode: fs.ModeSymlink | 0o777, target: "/home/user/.ssh/id_ed25519"})
		}, ".jail.yaml: not a regular file (a project file is a plain file; mend it, or leave it out with --no-project)", false},
		{"a dangling symlink", func(f fakeFS, p string) { f.put(p, fakeFile{mode: fs.ModeSymlink | 0o777, target: "gone"}) }, ".jail.yaml: not a regular file (a project file is a plain file; mend it, or leave it out with --no-project)", false},
		{"a FIFO", func(f fakeFS, p string) { f.put(p, fakeFile{mode: fs.ModeNamedPipe | 0o644}) }, ".jail.yaml: not a regular file (a project file is a plain file; mend it, or leave it out with --no-project)", false},
		{"a directory", func(f fakeFS, p string) { f.put(p, fakeFile{mode: fs.ModeDir | 0o755}) }, ".jail.yaml: not a regular file (a project file is a plain file; mend it, or leave it out with --no-project)", false},
		{"too large", func(f fakeFS, p string) { f.put(p, fakeFile{mode: 0o644, content: strings.Repeat("#", 1<<20+1)}) }, ".jail.yaml: larger than 1024 KiB (a project file is a plain file; mend it, or leave it out with --no-project)", false},
		{"another user's", func(f fakeFS, p string) {
			f.put(p, fakeFile{mode: 0o644, uid: 1001, content: "version: 1\nnetwork: {mode: host}\n"})
		},
			".jail.yaml: not used: it belongs to user id 1001 (" + approveFix + ")", true},
		{"another user's FIFO", func(f fakeFS, p string) { f.put(p, fakeFile{mode: fs.ModeNamedPipe | 0o644, uid: 1001}) },
			".jail.yaml: not used: it belongs to user id 1001 (" + approveFix + ")", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := projectHost(t, "", "")
			c.put(h.FS.(fakeFS), h.Project)
			if !c.note {
				if got := loadProblems(h); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				return
			}
			r := resolveOn(t, h)
			if len(r.Warnings) != 1 || r.Warnings[0].Error() != c.want || r.Network.Mode.V != "none" {
				t.Errorf("got %v", r.Warnings)
			}
		})
	}
}

// TestProjectAsProfile: a user who names the file has chosen it.
func TestProjectAsProfile(t *testing.T) {
	h := projectHost(t, "", "extends: [base]\nname: chosen")
	p, err := Load("./"+ProjectFile, h)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve(h)
	if err != nil || r.Name.V != "chosen" || len(r.Warnings) > 0 {
		t.Errorf("%v %s %v", err, r.Name.V, r.Warnings)
	}
}

// TestProjectProtected: the program cannot change the file that was read.
func TestProjectProtected(t *testing.T) {
	r := resolveOn(t, projectHost(t, `filesystem: [{path: "~/work", mode: rw}]`, `network: {mode: none}`))
	if !slices.ContainsFunc(r.Protected, func(p Protected) bool { return p.Path == "/home/user/work/"+ProjectFile && p.How == "ro" }) {
		t.Errorf("protected: %v", r.Protected)
	}
}

// TestReadPlain: a link, a FIFO and a device are not read, and nothing is waited for.
func TestReadPlain(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plain, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, st, err := OSFS{}.ReadPlain(plain, 10)
	if string(text) != "text" || err != nil || int(st.UID) != os.Getuid() || st.Mode != 0o640 {
		t.Errorf("%q %v %v", text, st, err)
	}
	for name, cause := range map[string]string{"link": "not a regular file", "fifo": "not a regular file", "gone": "does not exist", ".": "not a regular file"} {
		if _, _, err := (OSFS{}).ReadPlain(dir+"/"+name, 10); err == nil || reason(err) != cause {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := (OSFS{}).ReadPlain(plain, 3); err == nil || reason(err) != "larger than 1024 KiB" {
		t.Errorf("too large: %v", err)
	}
}
