package policy

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
)

// chain resolves files that each extend the one before: a.yaml first, p.yaml last.
func chain(t *testing.T, texts ...string) *Resolved {
	t.Helper()
	return resolveFiles(t, chainFiles(texts...))
}

func chainFiles(texts ...string) map[string]string {
	files := map[string]string{}
	name := func(i int) string {
		if i == len(texts)-1 {
			return "p.yaml"
		}
		return string(rune('a'+i)) + ".yaml"
	}
	for i, text := range texts {
		head := "version: 1\n"
		if i > 0 {
			head += "extends: [" + name(i-1) + "]\n"
		}
		files[name(i)] = head + text
	}
	return files
}

func environmentText(r *Resolved) string {
	var all []string
	for _, v := range r.Environment {
		switch v.Name {
		case "HOME", "USER", "LOGNAME", "PATH", "TERM":
			continue
		}
		all = append(all, v.Name+"="+v.Value)
	}
	return strings.Join(all, " ")
}

// TestMergeFiles: for one path, name or key the later file wins.
func TestMergeFiles(t *testing.T) {
	r := chain(t, `
filesystem:
  - {path: "~/data", mode: rw}
  - {path: /usr, mode: rw}
environment: {set: {A: base, B: base}}
rlimits: {nofile: 1, core: 0}
process: {hostname: base, nice: 1}
capabilities: [NET_RAW]
vars: {V: base}
`, `
filesystem:
  - {path: "~/data", tmpfs: true}
  - {path: /v, content: "${V}"}
environment: {set: {B: middle}}
rlimits: {nofile: 2}
capabilities: [CAP_CHOWN, net_raw]
`, `
filesystem: [{path: /usr, mode: ro}]
process: {hostname: top}
vars: {V: top}
`)
	for path, want := range map[string]string{"/home/user/data": "tmpfs", "/usr": "ro", "/v": "content top"} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := environmentText(r); got != "A=base B=middle" {
		t.Errorf("environment %s", got)
	}
	if r.Rlimits[0].Type != "RLIMIT_CORE" || r.Rlimits[1].Soft != 2 {
		t.Errorf("rlimits %+v", r.Rlimits)
	}
	if r.Process.Hostname.V != "top" || r.Process.Nice.V != 1 {
		t.Errorf("process %+v", r.Process)
	}
	if len(r.Capabilities) != 2 || r.Capabilities[0].Name != "CAP_CHOWN" || r.Capabilities[1].Origin.File != "b.yaml" {
		t.Errorf("capabilities %+v", r.Capabilities)
	}
	if o := entryAt(r, "/usr").Origin; o.String() != "p.yaml:4:14" {
		t.Errorf("/usr comes from %s", o)
	}
}

// TestExtendsOrder: of several profiles the later wins, and one that is reached
// twice counts once, where it is reached first.
func TestExtendsOrder(t *testing.T) {
	r := resolveFiles(t, map[string]string{
		"p.yaml":     "version: 1\nextends: [left.yaml, right.yaml]\n",
		"left.yaml":  "version: 1\nextends: [root.yaml]\nprocess: {nice: 1, hostname: left}\n",
		"right.yaml": "version: 1\nextends: [root.yaml]\nprocess: {nice: 2}\n",
		"root.yaml":  "version: 1\nprocess: {nice: 3, hostname: root}\n",
	})
	if want := []string{"root.yaml", "left.yaml", "right.yaml", "p.yaml"}; !slices.Equal(r.Files, want) {
		t.Errorf("files %v, want %v", r.Files, want)
	}
	if r.Process.Nice.V != 2 || r.Process.Hostname.V != "left" {
		t.Errorf("nice %d, hostname %s", r.Process.Nice.V, r.Process.Hostname.V)
	}
}

// TestSearchPath: a user's own profile comes before the system's and the
// shipped one, and can extend it by the same name.
func TestSearchPath(t *testing.T) {
	files := map[string]string{
		"/home/user/.config/jail/profiles/browser.yaml": "version: 1\nextends: [browser]\nprocess: {nice: 1}\n",
		"/etc/jail/profiles/browser.yaml":               "version: 1\nextends: [browser]\nprocess: {nice: 2, hostname: machine}\n",
		"browser.yaml":                                  "version: 1\nname: here\n",
	}
	h := fakeHost(t, files)
	p, err := Load("browser", h)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range p.Layers {
		got = append(got, l.File)
	}
	want := []string{"shipped:base.yaml", "shipped:browser.yaml", "/etc/jail/profiles/browser.yaml", "/home/user/.config/jail/profiles/browser.yaml"}
	if !slices.Equal(got, want) {
		t.Errorf("layers %v\nwant %v", got, want)
	}
	// With .yaml, the file in the working directory comes first.
	if p, err := Load("browser.yaml", h); err != nil || p.Name != "here" {
		t.Errorf("browser.yaml: %v, %v", p, err)
	}
	// Elsewhere the same words find the search path.
	h.Cwd = "/tmp"
	if p, err := Load("browser.yaml", h); err != nil || p.Name != "browser" {
		t.Errorf("browser.yaml from /tmp: %v, %v", p, err)
	}
	listed := Profiles(h)
	if len(listed) != 2 || listed[1].Name != "browser" || listed[1].Hides != "/etc/jail/profiles/browser.yaml" {
		t.Errorf("profiles %+v", listed)
	}
}

// TestWithout takes things away by name.
func TestWithout(t *testing.T) {
	r := chain(t, `
filesystem:
  - {path: "~/data", mode: rw}
  - {path: "~/.ssh", hide: true}
  - {path: "~/.bashrc", mode: ro}
devices: [gpu, sound]
environment: {set: {A: x, B: x}, keep: [LANG], unset: [B]}
rlimits: {core: 0, nofile: 5}
capabilities: [NET_RAW, CHOWN]
syscalls: {allow: ["@default", ptrace], rules: [{names: [ptrace, socket], action: EACCES}]}
process: {nice: 3}
desktop: {wayland: true, pulseaudio: true}
enforcement: {landlock: prefer}
`, `
without:
  filesystem: ["~/data", "~/.ssh", /tmp]
  devices: [sound]
  environment: [A, LANG, B]
  rlimits: [core]
  capabilities: [CAP_NET_RAW]
  syscalls: [ptrace]
  process: [nice]
  desktop: [pulseaudio]
  enforcement: [landlock]
  namespaces: [ipc]
syscalls: {allow: [mount]}
`)
	for path, want := range map[string]string{
		"/home/user/data": "nothing", "/home/user/.bashrc": "ro", "/tmp": "nothing", "/dev/snd": "nothing", "/dev/dri": "device",
	} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if len(r.Hidden) > 0 {
		t.Errorf("hidden %v", r.Hidden)
	}
	if got := environmentText(r); got != "" {
		t.Errorf("environment %s", got)
	}
	if len(r.Rlimits) != 1 || len(r.Capabilities) != 1 || r.Process.Nice.Set || r.Desktop.PulseAudio.Set || len(r.Enforcement) > 0 || r.hasNamespaceKind("ipc") {
		t.Errorf("rlimits %v, capabilities %v, nice %v, desktop %v, enforcement %v", r.Rlimits, r.Capabilities, r.Process.Nice, r.Desktop, r.Enforcement)
	}
	if len(r.Syscalls.Rules) != 1 || !slices.Equal(r.Syscalls.Rules[0].Names, []string{"socket"}) {
		t.Errorf("rules %+v", r.Syscalls.Rules)
	}
	if !slices.ContainsFunc(r.Syscalls.Allow, func(n SyscallName) bool { return n.Name == "mount" }) {
		t.Errorf("allow %v: what its own file allows is gone", r.Syscalls.Allow)
	}
}

func (r *Resolved) hasNamespaceKind(kind string) bool {
	return slices.ContainsFunc(r.Namespaces, func(n Namespace) bool { return n.Kind == kind })
}

// TestUnset: unset wins over keep and set of its own and earlier files, unless a
// later one names the variable.
func TestUnset(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  string
	}{
		{"own file", []string{"environment: {set: {A: x}, unset: [A]}"}, ""},
		{"earlier file", []string{"environment: {set: {A: x}}", "environment: {unset: [A]}"}, ""},
		{"later file sets", []string{"environment: {unset: [A]}", "environment: {set: {A: y}}"}, "A=y"},
		{"later file keeps by name", []string{"environment: {unset: [LANG]}", "environment: {keep: [LANG]}"}, "LANG=C.UTF-8"},
		{"later file keeps by pattern", []string{"environment: {unset: [LANG]}", `environment: {keep: ["LA*"]}`}, ""},
		{"pattern", []string{`environment: {set: {AB: x, AC: x, B: x}}`, `environment: {unset: ["A*"]}`}, "B=x"},
		{"keep everything", []string{`environment: {keep: ["*"]}`, `environment: {unset: [SECRET, DOTS, RELATIVE, STAR, HOMEDIR, DATA, EMPTY]}`}, "LANG=C.UTF-8 PLAIN=name"},
		{"condition", []string{"environment: {keep: [{value: LANG, when: {exists: /nowhere}}, PLAIN]}"}, "PLAIN=name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := environmentText(chain(t, c.files...)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestSyscallMerge: deny wins, unless a later file names the very call.
func TestSyscallMerge(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		call  string
		want  bool
	}{
		{"default", []string{""}, "read", true},
		{"default leaves out", []string{""}, "mount", false},
		{"allow adds nothing to the default once written", []string{"syscalls: {allow: [read]}"}, "write", false},
		{"deny in the same file", []string{`syscalls: {allow: ["@default", ptrace], deny: [ptrace]}`}, "ptrace", false},
		{"deny beats a group", []string{`syscalls: {allow: ["@default"], deny: [read]}`}, "read", false},
		{"deny of an earlier file beats a later group", []string{`syscalls: {deny: [read]}`, `syscalls: {allow: ["@default"]}`}, "read", false},
		{"a later file names the call", []string{`syscalls: {deny: [ptrace]}`, `syscalls: {allow: [ptrace]}`}, "ptrace", true},
		{"a later file names a call of a denied group", []string{`syscalls: {deny: ["@debug"]}`, `syscalls: {allow: [ptrace]}`}, "ptrace", true},
		{"a later file names the group", []string{`syscalls: {deny: ["@debug"]}`, `syscalls: {allow: ["@debug"]}`}, "ptrace", true},
		{"without takes a call out of a group", []string{`syscalls: {allow: ["@default"]}`, `without: {syscalls: [read]}`}, "read", false},
		{"without and allow in one file", []string{`syscalls: {allow: ["@default"]}`, "without: {syscalls: [read]}\nsyscalls: {allow: [read]}"}, "read", true},
		{"without the default", []string{`without: {syscalls: ["@default"]}`}, "read", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := chain(t, c.files...)
			if got := allows(r, c.call); got != c.want {
				t.Errorf("%s allowed: %v, want %v (%+v)", c.call, got, c.want, r.Syscalls)
			}
		})
	}
}

// allows applies what Syscalls says of its lists.
func allows(r *Resolved, call string) bool {
	granted, named, denied := false, -1, -1
	for _, a := range r.Syscalls.Allow {
		granted = granted || a.Name == call || groupHolds(a.Name, call)
		if a.Name == call {
			named = max(named, a.Rank)
		}
	}
	for _, d := range r.Syscalls.Deny {
		if d.Name == call || groupHolds(d.Name, call) {
			denied = max(denied, d.Rank)
		}
	}
	return granted && named > denied || granted && denied < 0
}

// TestEgressMerge: a later file's rules come first.
func TestEgressMerge(t *testing.T) {
	r := chain(t, `network: {mode: veth, egress: [{allow: "a.org:443"}, {allow: "b.org"}]}`, `
without: {egress: ["b.org"]}
network: {egress: [{deny: "a.org"}, {allow: "c.org"}]}
`)
	var got []string
	for _, e := range r.Network.Egress {
		got = append(got, map[bool]string{true: "allow ", false: "deny "}[e.Allow]+e.Text)
	}
	// The first file's rule for a.org can match nothing any more.
	if want := "deny a.org, allow c.org"; strings.Join(got, ", ") != want {
		t.Errorf("rules %v, want %s", got, want)
	}
}

// TestHostNetwork: network.mode: host takes the net namespace away.
func TestHostNetwork(t *testing.T) {
	r := chain(t, "namespaces: [user, mount, pid, net]", "network: {mode: host}")
	if r.hasNamespaceKind("net") {
		t.Error("a net namespace with the host's network")
	}
	if r := chain(t, "network: {mode: host}"); r.hasNamespaceKind("net") || !r.hasNamespaceKind("pid") {
		t.Errorf("namespaces %v", r.Namespaces)
	}
}

// TestWhenBlockIsLast: a block counts as the last part of its file, and not
// before a later file.
func TestWhenBlockIsLast(t *testing.T) {
	r := chain(t, `
process: {hostname: plain, nice: 1}
when:
  - if: {exists: /usr}
    then: {process: {hostname: block, nice: 2}, filesystem: [{path: /usr, mode: ro}]}
  - if: {exists: /nowhere}
    then: {process: {hostname: never}, filesystem: [{path: /gone, mode: ro}], capabilities: [CHOWN]}
filesystem: [{path: /usr, tmpfs: true}]
`, "process: {nice: 3}\nwithout: {filesystem: [/gone], capabilities: [CHOWN]}")
	if r.Process.Hostname.V != "block" || r.Process.Nice.V != 3 || brief(entryAt(r, "/usr")) != "ro" {
		t.Errorf("hostname %s, nice %d, /usr %s", r.Process.Hostname.V, r.Process.Nice.V, brief(entryAt(r, "/usr")))
	}
}

// TestOverrides: the command line is one more file on top.
func TestOverrides(t *testing.T) {
	r := resolveText(t, `version: 1
filesystem:
  - {path: "~/work", mode: ro}
  - {path: "~/.ssh", mode: ro}
environment: {set: {A: file, B: file}}
`,
		Override{"bind", "app"}, Override{"ro", "/usr:/opt"}, Override{"bind", `/srv/data/a,b\:c"d:/x`},
		Override{"tmpfs", "/scratch"}, Override{"hide", "/home/user/.ssh"},
		Override{"env", "A=flag=${HOME}"}, Override{"env", "LANG"},
		Override{"set", "process.nice=7"}, Override{"set", "capabilities=[NET_RAW]"}, Override{"set", "rlimits.nofile=99"},
		Override{"set", "environment.set.C=c.d"}, Override{"cwd", "app"})
	for path, want := range map[string]string{
		"/home/user/work/app": "rw", "/opt": "ro /usr", "/x": `rw /srv/data/a,b:c"d`, "/scratch": "tmpfs",
		"/home/user/work": "ro", "/home/user/.ssh": "nothing",
	} {
		if got := brief(entryAt(r, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := environmentText(r); got != "A=flag=${HOME} B=file C=c.d LANG=C.UTF-8" {
		t.Errorf("environment %s", got)
	}
	if r.Process.Nice.V != 7 || r.Process.Nice.Origin.String() != "command line" || r.Process.Cwd.V != "/home/user/work/app" || len(r.Capabilities) != 1 || r.Rlimits[0].Soft != 99 {
		t.Errorf("process %+v", r.Process)
	}
}

// TestBadOverrides has what is wrong with flags.
func TestBadOverrides(t *testing.T) {
	for _, c := range []struct {
		o    Override
		want string
	}{
		{Override{"bind", ""}, "command line: --bind: needs a path (--bind SRC[:DEST])"},
		{Override{"ro", "/nowhere"}, "command line: filesystem[0].source: /nowhere does not exist (make it, or add 'optional: true')"},
		{Override{"bind", "/usr:x"}, `command line: filesystem[0].path: "x" is not an absolute path (start it with / or ~/)`},
		{Override{"set", "nice"}, `command line: --set: "nice" is not KEY=VALUE (as in --set network.mode=none)`},
		{Override{"set", "process.nise=1"}, "command line: process.nise: unknown key (did you mean `nice`?)"},
		{Override{"set", "process.nice=high"}, `command line: process.nice: must be a whole number, this is "high" (write it in decimal, without quotes)`},
		{Override{"set", "name=x"}, "command line: name: cannot be set on the command line (write a profile that extends the other)"},
		{Override{"set", "vars=[a"}, `command line: --set: "vars=[a": not valid YAML: did not find expected ',' or ']' (the value is YAML; put it in quotes inside the shell's quotes)`},
		{Override{"env", "=x"}, "command line: environment.set.: an empty variable name"},
		{Override{"cwd", "/nowhere"}, "command line: process.cwd: /nowhere does not exist inside (grant it under filesystem, or name another directory)"},
		{Override{"hide", ""}, "command line: --hide: needs a path (--hide PATH)"},
		{Override{"what", "x"}, "command line: --what: unknown override"},
	} {
		got := Check("p.yaml", fakeHost(t, map[string]string{"p.yaml": "version: 1\n"}), c.o)
		if got.Error() != c.want {
			t.Errorf("--%s %s: got\n%s\nwant\n%s", c.o.Flag, c.o.Value, got.Error(), c.want)
		}
	}
}

// Limits of one disk and of one page size merge by what they limit, however it is written.
func TestLimitsMergeByWhatTheyLimit(t *testing.T) {
	base := map[string]string{
		"/etc/jail/profiles/old.yaml": `version: 1
limits:
  io: [{device: /dev/sda, read: 1M/s, write-ops: 7, weight: 20}]
  hugepages: {2M: 4M, 1G: 1G}
`,
	}
	tests := []struct {
		name, limits, want string
		overrides          []Override
	}{
		{"a later file changes what it names", "{io: [{device: /dev/disk/it, write: 2M/s, weight: 30}], hugepages: {2048K: 6M}}",
			"sda read=1048576 write=2097152 wops=7 weight=30; 2MB=6291456 1GB=1073741824", nil},
		{"max takes a rate off", "{io: [{device: /dev/sda, read: max}]}",
			"sda read=-1 write=0 wops=7 weight=20; 2MB=4194304 1GB=1073741824", nil},
		{"without takes all", "{io: [{device: /dev/sda, write: 2M/s}], hugepages: {1024M: max}}\nwithout: {limits: [io, hugepages]}",
			"sda read=0 write=2097152 wops=0 weight=0; 1GB=-1", nil},
		{"a condition decides inside one file", "{io: [{device: /dev/sda, read: 3M/s, weight: 1}, {device: /dev/sda, read: 5M/s, when: {env: HOME}}]}",
			"sda read=5242880 write=0 wops=7 weight=1; 2MB=4194304 1GB=1073741824", nil},
		{"a block is a later part of its file", "{io: [{device: /dev/sda, read: 3M/s, weight: 1}], hugepages: {2M: 8M}}\nwhen: [{if: {env: HOME}, then: {limits: {io: [{device: /dev/sda, write: 5M/s}], hugepages: {2048K: 0}}}}]",
			"sda read=3145728 write=5242880 wops=7 weight=1; 2MB=0 1GB=1073741824", nil},
		{"of two flags the later wins", "{pids: 9}",
			"sda read=2097152 write=0 wops=7 weight=20; 2MB=10485760 1GB=1073741824",
			[]Override{{"set", "limits.io=[{device: /dev/sda, read: 1M/s}]"}, {"set", "limits.io=[{device: /dev/sda, read: 2M/s}]"}, {"set", "limits.hugepages.2M=8M"}, {"set", "limits.hugepages.2MiB=10M"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := fakeHost(t, base)
			h.FS.(fakeFS).put("/home/user/work/p.yaml", fakeFile{mode: 0o644, content: "version: 1\nextends: [old]\nlimits: " + tt.limits + "\n"})
			h.FS.(fakeFS).put("/dev/disk/it", fakeFile{mode: fs.ModeSymlink, target: "../sda"})
			l := resolveOn(t, h, tt.overrides...).Limits
			var got []string
			for _, d := range l.IO {
				got = append(got, fmt.Sprintf("%s read=%d write=%d wops=%d weight=%d;", path.Base(d.Device), d.Read.V, d.Write.V, d.WriteOps.V, d.Weight.V))
			}
			for _, p := range l.HugePages {
				got = append(got, fmt.Sprintf("%s=%d", p.PageSize, p.Limit))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("limits %s\nwant   %s", text, tt.want)
			}
		})
	}
}
