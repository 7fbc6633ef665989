package policy

import (
	"strings"
	"testing"
)

// Nothing a profile or the machine says reaches the terminal unescaped.
func TestExplainEscapes(t *testing.T) {
	bad := "x\x1b]0;title\a\u202e\xff\ny"
	r := &Resolved{
		Name: Text{V: bad}, Description: Text{V: bad, Set: true}, Files: []string{bad},
		Filesystem: []Entry{
			{Path: "/" + bad, Kind: KindRO, Source: "/s" + bad, Origin: Origin{File: bad}},
			{Path: "/l", Kind: KindSymlink, Target: bad},
			{Path: "/d", Kind: KindDevice, Reason: bad},
			{Path: "/o", Kind: KindOverlay, Overlay: &Overlay{Lower: []string{bad}, Keep: bad}},
		},
		Hidden:       []Hidden{{Path: bad, Pattern: bad, Origin: Origin{File: bad}}},
		Environment:  []EnvVar{{Name: bad, Value: bad}, {Name: bad, Kept: true}},
		Capabilities: []Named{{Name: bad}},
		Desktop:      Desktop{Session: BusAccess{Talk: []Named{{Name: bad}}, Call: []Named{{Name: bad}}}, Display: &Display{Server: bad}},
		Network:      Network{Mode: Text{V: "veth", Set: true}, Egress: []EgressRule{{Text: bad}}, Publish: []Publish{{Text: bad}}},
		Process:      Process{Cwd: Text{V: bad, Set: true}, Hostname: Text{V: bad, Set: true}},
		Enforcement:  []Enforcement{{Layer: bad, Level: "off", Origin: Origin{File: bad}}},
		Syscalls:     Syscalls{Default: SyscallAction{Kind: "errno", Errno: 1, Name: bad}, Allow: allow(bad), Architectures: []Named{{Name: bad}}},
	}
	var b strings.Builder
	if err := r.Explain(&b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.String() {
		if c != '\n' && !isPrintable(c) {
			t.Fatalf("explain prints %q in\n%q", c, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "y") {
			t.Errorf("a value broke out of its line: %q", line)
		}
	}
	if !strings.Contains(b.String(), `\x1b`) {
		t.Errorf("the values are not shown:\n%s", b.String())
	}
}

// Every limit is told, and none that is max.
func TestExplainLimits(t *testing.T) {
	explain := func(limits string) string {
		t.Helper()
		var b strings.Builder
		if err := resolveText(t, "version: 1\nlimits: "+limits+"\n").Explain(&b); err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(b.String(), "It is limited in:\n")
		section, _, _ := strings.Cut(after, "\n\n")
		return section
	}
	got := explain("{memory: 4G, memory-high: 3G, memory-low: 1G, swap: 0, cpu: 33.3%, cpu-weight: 7, cpus: 0-1, mems: 0, pids: 9, io-weight: 20, hugepages: {2M: 1G}, oom-group: true, io: [{device: /dev/sda, read: 1M/s, write: 2M/s, read-ops: 3, write-ops: 4, weight: 5}]}")
	want := `  being out of memory: all its processes are killed together
  huge pages of 2MB: 1G
  memory before it is slowed down: 3G
  memory left to it when others run short: 1G
  memory nodes: 0
  memory: 4G
  processes and threads: 9
  processor time: 33.3% of one
  processors: 0-1
  reading from /dev/sda: 1M a second
  reads from /dev/sda: 3 a second
  swap: 0 bytes
  weight when /dev/sda is scarce: 5
  weight when disks are scarce: 20
  weight when processors are scarce: 7
  writes to /dev/sda: 4 a second
  writing to /dev/sda: 2M a second`
	if got = strings.TrimRight(got, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := explain("{memory: max, memory-high: max, swap: max, cpu: max, pids: max, hugepages: {2M: max}, oom-group: false, io: [{device: /dev/sda, read: max, write: max, read-ops: max, write-ops: max}]}"); got != "" {
		t.Errorf("max is told as a limit:\n%s", got)
	}
	if got := explain("{memory-low: max}"); got != "  memory left to it when others run short: all it has\n" {
		t.Errorf("memory-low: max is %q", got)
	}
}

func TestExplainSaysWhatIsOpen(t *testing.T) {
	explain := func(r *Resolved) string {
		t.Helper()
		if r.Syscalls.Default.Kind == "" {
			r.Syscalls.Default = errnoAction(1)
		}
		var b strings.Builder
		if err := r.Explain(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	tests := []struct {
		name string
		r    *Resolved
		want []string
	}{
		{"an empty profile", &Resolved{}, []string{"It may read no file", "It may write nowhere", "It may use no device",
			"no network but its own loopback", "the processes of this machine", "0 of the", "without any capability", "what it leaves in the background may go on after that"}},
		{"namespaces of its own keep the machine out", &Resolved{Namespaces: []Namespace{{Kind: "pid"}, {Kind: "ipc"}}, Network: Network{Mode: Text{V: "host", Set: true}}},
			[]string{"the host's network"}},
		{"limits", &Resolved{Limits: Limits{Memory: Number{V: 4 << 30, Set: true}, CPUQuota: Number{V: 200000, Set: true}},
			Rlimits: []Rlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: RlimitInfinity}}},
			[]string{"memory: 4G", "processor time: 200% of one", "core of each process: 0, which it may raise to unlimited"}},
		{"a layer that is not insisted on", &Resolved{Enforcement: []Enforcement{{Layer: "landlock", Level: "prefer", Origin: Origin{File: "p.yaml", Line: 9, Column: 2}}}},
			[]string{"landlock", "left out, with a warning", "p.yaml:9:2"}},
		{"set-uid programs", &Resolved{Process: Process{NoNewPrivileges: Flag{Set: true}}}, []string{"set-uid programs work inside"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := explain(tt.r)
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %q in\n%s", w, got)
				}
			}
		})
	}
	if got := explain(tests[1].r); strings.Contains(got, "the processes of this machine") || strings.Contains(got, "in the background") {
		t.Errorf("a pid namespace does not count:\n%s", got)
	}
	if got := explain(&Resolved{Limits: Limits{Pids: Number{V: 9, Set: true}}}); strings.Contains(got, "in the background") {
		t.Errorf("a control group, which is ended as one, does not count:\n%s", got)
	}
}
