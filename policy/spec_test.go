package policy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// compiled gives the bundle of a hand-made profile and checks it against the
// OCI schema.
func compiled(t *testing.T, r *Resolved) *Compiled {
	t.Helper()
	if r.Syscalls.Default.Kind == "" {
		r.Syscalls.Default = errnoAction(1)
	}
	c, err := r.Spec([]string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	checkOCI(t, c.Spec)
	return c
}

// mountText shows a mount in one line.
func mountText(m specs.Mount) string {
	return fmt.Sprintf("%s %s %s %s", m.Destination, m.Type, m.Source, strings.Join(m.Options, ","))
}

func treeText(e TreeEntry) string {
	s := e.Path + " " + e.Mode.String()
	if e.Mode&fs.ModeSymlink != 0 {
		s += " -> " + e.Target
	}
	if e.Content != nil {
		s += fmt.Sprintf(" %q", e.Content)
	}
	return s
}

func TestSpecMounts(t *testing.T) {
	usr := Entry{Path: "/usr", Kind: KindRO, Source: "/usr", SourceType: fs.ModeDir, Recursive: true}
	home := Entry{Path: "/home/u", Kind: KindPersist, Source: "/state/u", SourceType: fs.ModeDir, Recursive: true}
	tests := []struct {
		name    string
		root    Entry
		entries []Entry
		mounts  []string
		tree    []string // without "rootfs" itself
		links   string
		rootIs  string
	}{
		{name: "nothing at all"},
		{
			name: "binds are nosuid and nodev, read-only ones through all submounts",
			entries: []Entry{usr, home,
				{Path: "/etc/hosts", Kind: KindRO, Source: "/etc/hosts"},
				{Path: "/srv", Kind: KindRW, Source: "/srv", SourceType: fs.ModeDir, Options: []string{"noexec"}},
				{Path: "/var", Kind: KindRW, Source: "/var", SourceType: fs.ModeDir, Recursive: true, Options: []string{"noexec", "nosymfollow"}}},
			mounts: []string{
				"/usr bind /usr rbind,rnodev,rnosuid,rprivate,rro",
				"/home/u bind /state/u rbind,rnodev,rnosuid,rprivate",
				"/etc/hosts bind /etc/hosts bind,nodev,nosuid,ro",
				"/srv bind /srv bind,nodev,noexec,nosuid,rprivate",
				"/var bind /var rbind,rnodev,rnoexec,rnosuid,rnosymfollow,rprivate",
			},
		},
		{
			name: "a device stays a device, in a folder that cannot be changed",
			entries: []Entry{
				{Path: "/dev", Kind: KindDev},
				{Path: "/dev/dri", Kind: KindDevice, Source: "/dev/dri", SourceType: fs.ModeDir, Recursive: true},
				{Path: "/dev/kvm", Kind: KindDevice, Source: "/dev/kvm", SourceType: fs.ModeDevice | fs.ModeCharDevice}},
			mounts: []string{
				"/dev tmpfs tmpfs nosuid,noexec,strictatime,mode=755,size=65536k",
				"/dev/dri bind /dev/dri rbind,rnoexec,rnosuid,rprivate,rro",
				"/dev/kvm bind /dev/kvm bind,noexec,nosuid,ro",
			},
		},
		{
			name: "kernel file systems",
			entries: []Entry{{Path: "/proc", Kind: KindProc}, {Path: "/dev", Kind: KindDev}, {Path: "/dev/pts", Kind: KindPts},
				{Path: "/dev/shm", Kind: KindTmpfs, Mode: fs.ModeSticky | 0o777}, {Path: "/dev/mqueue", Kind: KindMqueue},
				{Path: "/tmp", Kind: KindTmpfs, Mode: fs.ModeSticky | 0o777, Size: 4096}},
			mounts: []string{
				"/proc proc proc nosuid,nodev,noexec",
				"/dev tmpfs tmpfs nosuid,noexec,strictatime,mode=755,size=65536k",
				"/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620",
				"/dev/shm tmpfs tmpfs nosuid,nodev,mode=01777",
				"/dev/mqueue mqueue mqueue nosuid,nodev,noexec",
				"/tmp tmpfs tmpfs nosuid,nodev,mode=01777,size=4096",
			},
		},
		{
			name:    "the host's procfs where there is no pid namespace",
			entries: []Entry{{Path: "/proc", Kind: KindProc, Source: "/proc", SourceType: fs.ModeDir, Recursive: true}},
			mounts:  []string{"/proc bind /proc rbind,rnodev,rnoexec,rnosuid,rprivate,rro"},
		},
		{
			name: "what lies on the root is part of the bundle",
			entries: []Entry{
				{Path: "/bin", Kind: KindSymlink, Target: "usr/bin"},
				{Path: "/etc/x/motd", Kind: KindContent, Content: []byte("hi\n")},
				{Path: "/srv", Kind: KindDir, Mode: 0o700}},
			tree: []string{
				"rootfs/bin Lrwxrwxrwx -> usr/bin",
				"rootfs/etc drwxr-xr-x", "rootfs/etc/x drwxr-xr-x", `rootfs/etc/x/motd -rw-r--r-- "hi\n"`,
				"rootfs/srv drwx------",
			},
		},
		{
			name: "what lies below a mount is mounted, links excepted",
			entries: []Entry{usr,
				{Path: "/usr/bin/x", Kind: KindContent, Content: []byte("1"), Mode: 0o755},
				{Path: "/usr/empty", Kind: KindDir},
				{Path: "/usr/lib/y", Kind: KindContent, Content: []byte("2")},
				{Path: "/usr/z", Kind: KindSymlink, Target: "bin/x"},
				home, {Path: "/home/u/d", Kind: KindDir, Mode: 0o700}},
			mounts: []string{
				"/usr bind /usr rbind,rnodev,rnosuid,rprivate,rro",
				"/usr/bin/x bind content/0 bind,nodev,nosuid,ro",
				"/usr/empty tmpfs tmpfs nosuid,nodev,ro,mode=0755",
				"/usr/lib/y bind content/1 bind,nodev,nosuid,ro",
				"/home/u bind /state/u rbind,rnodev,rnosuid,rprivate",
				"/home/u/d tmpfs tmpfs nosuid,nodev,mode=0700",
			},
			tree:  []string{"content drwxr-xr-x", `content/0 -rwxr-xr-x "1"`, `content/1 -rw-r--r-- "2"`},
			links: `[{"path":"/usr/z","target":"bin/x"}]`,
		},
		{
			name: "overlays of every kind, with paths that need escaping",
			entries: []Entry{
				{Path: "/a", Kind: KindOverlay, Overlay: &Overlay{Lower: []string{"/l:1", "/l,2"}, Discard: true}},
				{Path: "/b", Kind: KindOverlay, Overlay: &Overlay{Lower: []string{`/l\3`}, Keep: "/k", Upper: "/k/up,per", Work: "/k/work"}},
				{Path: "/c", Kind: KindOverlay, Overlay: &Overlay{Lower: []string{"/x", "/y"}}},
				{Path: "/d", Kind: KindOverlay, Overlay: &Overlay{Lower: []string{"/x"}, Discard: true}}},
			mounts: []string{
				`/a overlay overlay nosuid,nodev,userxattr,lowerdir=/l\:1:/l\,2,upperdir=overlay/0/upper,workdir=overlay/0/work`,
				`/b overlay overlay nosuid,nodev,userxattr,lowerdir=/l\\3,upperdir=/k/up\,per,workdir=/k/work`,
				`/c overlay overlay nosuid,nodev,ro,userxattr,lowerdir=/x:/y`,
				`/d overlay overlay nosuid,nodev,userxattr,lowerdir=/x,upperdir=overlay/1/upper,workdir=overlay/1/work`,
			},
			tree: []string{"overlay drwxr-xr-x",
				"overlay/0 drwxr-xr-x", "overlay/0/upper drwxr-xr-x", "overlay/0/work drwxr-xr-x",
				"overlay/1 drwxr-xr-x", "overlay/1/upper drwxr-xr-x", "overlay/1/work drwxr-xr-x"},
		},
		{
			name:    "the host's tree for a root",
			root:    Entry{Path: "/", Kind: KindRO, Source: "/", SourceType: fs.ModeDir, Recursive: true, Origin: Origin{File: "p.yaml", Line: 1}},
			entries: []Entry{{Path: "/motd", Kind: KindContent, Content: []byte("x")}},
			mounts:  []string{"/ bind / rbind,rnodev,rnosuid,rprivate,rro", "/motd bind content/0 bind,nodev,nosuid,ro"},
			tree:    []string{"content drwxr-xr-x", `content/0 -rw-r--r-- "x"`},
		},
		{
			name:   "a directory for a root",
			root:   Entry{Path: "/", Kind: KindRO, Source: "/srv/debian", SourceType: fs.ModeDir, Recursive: true, Origin: Origin{File: "p.yaml", Line: 1}},
			rootIs: "/srv/debian",
		},
		{
			name:   "a root in memory, which can be written to",
			root:   Entry{Path: "/", Kind: KindTmpfs, Size: 1 << 20, Origin: Origin{File: "p.yaml", Line: 1}},
			mounts: []string{"/ tmpfs tmpfs nosuid,nodev,mode=0755,size=1048576"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root.Kind == "" {
				tt.root = Entry{Path: "/", Kind: KindTmpfs, Origin: Origin{File: FileDefault}}
			}
			c := compiled(t, &Resolved{Root: tt.root, Filesystem: tt.entries})
			var mounts, tree []string
			for _, m := range c.Spec.Mounts {
				mounts = append(mounts, mountText(m))
			}
			for _, e := range c.Tree[1:] {
				tree = append(tree, treeText(e))
			}
			if !slices.Equal(mounts, tt.mounts) {
				t.Errorf("mounts:\n%s\nwant:\n%s", strings.Join(mounts, "\n"), strings.Join(tt.mounts, "\n"))
			}
			if !slices.Equal(tree, tt.tree) {
				t.Errorf("tree:\n%s\nwant:\n%s", strings.Join(tree, "\n"), strings.Join(tt.tree, "\n"))
			}
			if got := c.Spec.Annotations[annotationSymlinks]; got != tt.links {
				t.Errorf("links %s, want %s", got, tt.links)
			}
			if tt.rootIs == "" {
				tt.rootIs = "rootfs"
			}
			if c.Spec.Root.Path != tt.rootIs || !c.Spec.Root.Readonly {
				t.Errorf("root %+v, want %s read-only", c.Spec.Root, tt.rootIs)
			}
		})
	}
}

func TestSpecMasks(t *testing.T) {
	hidden := []Hidden{{Path: "/home/u/.ssh", Dir: true}}
	tests := []struct {
		name       string
		entries    []Entry
		want, less []string
	}{
		{"nothing is there to mask", nil, nil, []string{"/proc/kcore", "/sys/firmware"}},
		{"a new procfs", []Entry{{Path: "/proc", Kind: KindProc}}, []string{"/proc/kcore", "/proc/keys"}, []string{"/sys/firmware"}},
		{"a part of /sys", []Entry{{Path: "/sys/devices", Kind: KindRO, Source: "/sys/devices", SourceType: fs.ModeDir}},
			[]string{"/sys/firmware"}, []string{"/proc/kcore"}},
		{"what the profile hides", []Entry{{Path: "/home/u", Kind: KindRO, Source: "/home/u", SourceType: fs.ModeDir}},
			[]string{"/home/u/.ssh"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := compiled(t, &Resolved{Filesystem: tt.entries, Hidden: hidden}).Spec.Linux
			for _, p := range tt.want {
				if !slices.Contains(l.MaskedPaths, p) {
					t.Errorf("%s is not masked: %v", p, l.MaskedPaths)
				}
			}
			for _, p := range tt.less {
				if slices.Contains(l.MaskedPaths, p) {
					t.Errorf("%s is masked", p)
				}
			}
			if slices.Contains(tt.want, "/proc/kcore") != slices.Contains(l.ReadonlyPaths, "/proc/sys") {
				t.Errorf("read-only paths: %v", l.ReadonlyPaths)
			}
		})
	}
}

func TestSpecProcess(t *testing.T) {
	at := Origin{File: "p.yaml", Line: 3, Column: 1}
	text := func(s string) Text { return Text{V: s, Set: true, Origin: at} }
	number := func(n int64) Number { return Number{V: n, Set: true, Origin: at} }
	id := func(n uint32) Value[uint32] { return Value[uint32]{V: n, Set: true, Origin: at} }
	r := &Resolved{
		Name:         text("p"),
		Namespaces:   []Namespace{{Kind: "user"}, {Kind: "mount"}, {Kind: "net"}, {Kind: "time", Monotonic: -1500 * time.Millisecond}},
		Environment:  []EnvVar{{Name: "A", Value: "1=2"}, {Name: "B"}},
		Capabilities: []Named{{Name: "CAP_NET_RAW"}},
		Rlimits:      []Rlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: RlimitInfinity}},
		Enforcement:  []Enforcement{{Layer: "landlock", Level: "prefer"}, {Layer: "seccomp", Level: "off"}},
		Process: Process{
			Cwd: text("/home/u"), UID: id(1000), GID: id(1001), Groups: []Value[uint32]{id(44)}, Umask: id(0o27),
			UIDMap: []IDMapping{{1000, 1000, 1}}, GIDMap: []IDMapping{{1001, 1001, 1}},
			Hostname: text("h"), Domainname: text("d"), Nice: number(5), OOMScore: number(-10), CPUAffinity: text("0-3"),
			Terminal: text("never"), DieWithParent: Flag{V: false, Set: true}, Timeout: Value[time.Duration]{V: 90 * time.Second, Set: true},
		},
	}
	c := compiled(t, r)
	got, err := json.Marshal(c.Spec.Process)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"user":{"uid":1000,"gid":1001,"umask":23,"additionalGids":[44]},"args":["true"],"env":["A=1=2","B="],"cwd":"/home/u",` +
		`"capabilities":{"bounding":["CAP_NET_RAW"],"effective":["CAP_NET_RAW"],"inheritable":["CAP_NET_RAW"],"permitted":["CAP_NET_RAW"],"ambient":["CAP_NET_RAW"]},` +
		`"rlimits":[{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":0}],"noNewPrivileges":true,"oomScoreAdj":-10,` +
		`"scheduler":{"policy":"SCHED_OTHER","nice":5},"execCPUAffinity":{"initial":"0-3"}}`
	if string(got) != want {
		t.Errorf("process\n%s\nwant\n%s", got, want)
	}
	var kinds []string
	for _, n := range c.Spec.Linux.Namespaces {
		kinds = append(kinds, string(n.Type))
	}
	if s := strings.Join(kinds, " "); s != "user mount time network" {
		t.Errorf("namespaces %s", s)
	}
	if o := c.Spec.Linux.TimeOffsets; !reflect.DeepEqual(o, map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -2, Nanosecs: 5e8}}) {
		t.Errorf("time offsets %v", o)
	}
	for key, want := range map[string]string{
		annotationProfile: "p", annotationTerminal: "never", annotationDieWithParent: "false", annotationTimeout: "1m30s",
		annotationEnforcement: `{"landlock":"prefer","seccomp":"off"}`,
	} {
		if got := c.Spec.Annotations[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if c.Spec.Linux.Resources != nil || c.Spec.Linux.CgroupsPath != "" {
		t.Errorf("a profile without limits has resources %+v in %q", c.Spec.Linux.Resources, c.Spec.Linux.CgroupsPath)
	}
}

// Every pointer of the origins leads to something in the spec.
func TestSpecOrigins(t *testing.T) {
	at := Origin{File: `odd "name"` + "\x1b\n.yaml", Line: 7, Column: 2}
	c := compiled(t, &Resolved{
		Filesystem:  []Entry{{Path: "/usr", Kind: KindRO, Source: "/usr", SourceType: fs.ModeDir, Origin: at}},
		Environment: []EnvVar{{Name: "A", Origin: at}},
		Hidden:      []Hidden{{Path: "/usr/x", Origin: at}},
		Network:     Network{Mode: Text{V: "none", Set: true, Origin: at}},
		Process:     Process{Umask: Value[uint32]{Set: true, Origin: at}, Hostname: Text{V: "h", Set: true, Origin: at}},
		Syscalls: Syscalls{Origin: at, Allow: allow("@default"),
			Rules: []SyscallRule{{Names: []string{"kill"}, Args: argIs(1, 9), Action: errnoAction(1), Origin: at}}},
	})
	var origins map[string]string
	if err := json.Unmarshal([]byte(c.Spec.Annotations[annotationOrigins]), &origins); err != nil {
		t.Fatalf("%v in %s", err, c.Spec.Annotations[annotationOrigins])
	}
	text, _ := json.Marshal(c.Spec)
	var spec any
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/mounts/0", "/process/env/0", "/linux/maskedPaths/0", "/hostname", "/linux/seccomp"} {
		if origins[want] != at.String() {
			t.Errorf("origin of %s is %q", want, origins[want])
		}
	}
	for pointer := range origins {
		v := spec
		for part := range strings.SplitSeq(pointer[1:], "/") {
			switch x := v.(type) {
			case map[string]any:
				v = x[part]
			case []any:
				var i int
				if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
					t.Fatalf("%s leads nowhere", pointer)
				}
				v = x[i]
			}
			if v == nil {
				t.Errorf("%s leads nowhere", pointer)
			}
		}
	}
}

func TestSpecResources(t *testing.T) {
	n := func(v int64) Number { return Number{V: v, Set: true} }
	c := compiled(t, &Resolved{Limits: Limits{
		Memory: n(4 << 30), MemoryHigh: n(3 << 30), Swap: n(0), CPUQuota: n(200000), CPUWeight: n(50),
		CPUs: Text{V: "0-3", Set: true}, Pids: n(100), IOWeight: n(20), OOMGroup: Flag{V: true, Set: true},
		IO:        []IOLimit{{Device: "/dev/sda", Major: 8, Read: n(1000), WriteOps: n(Unlimited), Weight: n(7)}, {Major: 8, Minor: 16, Write: n(5)}},
		HugePages: []HugePageLimit{{PageSize: "2MB", Limit: 1 << 21}},
	}})
	got, err := json.Marshal(c.Spec.Linux.Resources)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"memory":{"limit":4294967296},"cpu":{"quota":200000,"period":100000,"cpus":"0-3"},"pids":{"limit":100},` +
		`"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}],"throttleWriteBpsDevice":[{"major":8,"minor":16,"rate":5}]},` +
		`"hugepageLimits":[{"pageSize":"2MB","limit":2097152}],` +
		`"unified":{"cpu.weight":"50","io.weight":"default 20\n8:0 7",` +
		`"memory.high":"3221225472","memory.oom.group":"1","memory.swap.max":"0"}}`
	if string(got) != want {
		t.Errorf("resources\n%s\nwant\n%s", got, want)
	}
}

// A limit of max needs no controller, also where it takes an inherited one off, but is still shown.
func TestSpecLeavesMaxOut(t *testing.T) {
	base := "limits: {pids: 9, memory: 1G, memory-high: 1G, swap: 0, cpu: 50%, oom-group: true, hugepages: {2M: 2M}, io: [{device: /dev/sda, read: 1M/s, write-ops: 5}]}\n"
	max := "limits: {pids: max, memory: max, memory-high: max, swap: max, cpu: max, oom-group: false, hugepages: {2M: max}, io: [{device: /dev/sda, read: max, write-ops: max}]}\n"
	for _, r := range []*Resolved{chain(t, max), chain(t, base, max)} {
		if got := r.Resources(); got != nil {
			text, _ := json.Marshal(got)
			t.Errorf("max asks for %s", text)
		}
		var shown strings.Builder
		if err := r.Show(&shown); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"  pids: max", "  memory: max", "  swap: max", "  cpu: max", "read: max, write-ops: max}"} {
			if !strings.Contains(shown.String(), line) {
				t.Errorf("no %q in\n%s", line, shown.String())
			}
		}
	}
	// What is left says where it stands: the second size is the first that is asked for.
	r := chain(t, base, "limits: {hugepages: {2M: max, 1G: 0}, memory: max, memory-high: max, memory-low: max, pids: max}\n")
	res := r.Resources()
	if len(res.HugepageLimits) != 1 || res.HugepageLimits[0].Pagesize != "1GB" || res.Pids != nil || res.Unified["memory.low"] != "max" || res.Memory != nil || *res.CPU.Quota != 50000 {
		text, _ := json.Marshal(res)
		t.Errorf("resources %s", text)
	}
}

func TestSpecRefusesCommands(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"ls", "a\x00b"}} {
		if _, err := (&Resolved{}).Spec(args); err == nil {
			t.Errorf("%q compiles", args)
		}
	}
}

func TestExport(t *testing.T) {
	r := &Resolved{
		Namespaces: []Namespace{{Kind: "user"}},
		Filesystem: []Entry{{Path: "/a", Kind: KindOverlay, Overlay: &Overlay{Lower: []string{"/x"}, Discard: true}}},
		Process:    Process{UIDMap: []IDMapping{{1000, 1000, 1}}, GIDMap: []IDMapping{{1000, 1000, 1}}},
	}
	c := compiled(t, r)
	out := c.Export("/b,1", &Host{UID: 0, SubUIDs: []IDRange{{100000, 10}}, SubGIDs: []IDRange{{1000, 10}}})
	if got := mountText(out.Spec.Mounts[0]); !strings.HasSuffix(got, `upperdir=/b\,1/overlay/0/upper,workdir=/b\,1/overlay/0/work`) {
		t.Errorf("overlay %s", got)
	}
	if got := fmt.Sprint(out.Spec.Linux.UIDMappings, out.Spec.Linux.GIDMappings); got != "[{0 100000 1} {1000 1000 1}] [{0 1001 1} {1000 1000 1}]" {
		t.Errorf("mappings %s", got)
	}
	if len(out.Warnings) != 0 {
		t.Errorf("warnings %v", out.Warnings)
	}
	checkOCI(t, out.Spec)
	if got := mountText(c.Spec.Mounts[0]); !strings.Contains(got, "upperdir=overlay/0/upper") || len(c.Spec.Linux.UIDMappings) != 1 {
		t.Errorf("Export changed the bundle it was given: %s", got)
	}
	out = c.Export("/b", &Host{UID: 1000, User: "ada", SubUIDs: []IDRange{{100000, 10}}, SubGIDs: []IDRange{{100000, 10}}})
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0].Cause, "not as ada") {
		t.Errorf("for an ordinary user the warnings are %v", out.Warnings)
	}
	if out := c.Export("/b", &Host{}); len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0].Cause, "id 0") {
		t.Errorf("without subordinate ids the warnings are %v", out.Warnings)
	}
}
