package audit

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/audit/check"
)

func TestJudge(t *testing.T) {
	granted := func(c check.Check) string {
		if c.ID == "meant" {
			return "the profile's words"
		}
		return ""
	}
	for _, c := range []struct {
		id              string
		outside, inside check.Answer
		want            Outcome
	}{
		{"held", check.Open, check.Held, Held},
		{"broken", check.Open, check.Open, Failed},
		{"only inside", check.Held, check.Open, Failed},
		{"meant", check.Open, check.Open, Granted},
		{"holds anyway", check.Held, check.Held, Nothing},
		{"not on this machine", check.Cannot, check.Held, Untried},
		{"open where it should not be there", check.Cannot, check.Open, Failed},
		{"not inside", check.Open, check.Cannot, Untried},
	} {
		f := check.Check{ID: c.id}
		r := Judge([]check.Finding{{Check: f, Answer: c.outside}}, []check.Finding{{Check: f, Answer: c.inside}}, granted)
		if got := r.Results[0].Outcome; got != c.want {
			t.Errorf("%s: %s, want %s", c.id, got, c.want)
		}
		wantScore, wantOut := 0, 0
		switch c.want {
		case Held:
			wantScore, wantOut = 1, 1
		case Failed:
			wantOut = 1
		}
		if r.Score != wantScore || r.OutOf != wantOut {
			t.Errorf("%s: score %d of %d, want %d of %d", c.id, r.Score, r.OutOf, wantScore, wantOut)
		}
	}
}

// testSpec is what a profile that gives nothing away compiles to, for as much as promises look at.
func testSpec() *specs.Spec {
	s := &specs.Spec{
		Annotations: map[string]string{"dev.jail.enforcement": `{"landlock":"require"}`},
		Root:        &specs.Root{Path: "rootfs", Readonly: true},
		Process:     &specs.Process{NoNewPrivileges: true, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}}},
		Mounts: []specs.Mount{
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "rro"}},
			{Destination: "/home/u", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/home/u/work", Type: "bind", Source: "/home/u/work", Options: []string{"rbind"}},
		},
		Linux: &specs.Linux{Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64}, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow},
			{Names: []string{"unshare"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpMaskedEqual, Value: 0x10000000}}},
		}}},
	}
	for _, kind := range []specs.LinuxNamespaceType{"user", "mount", "pid", "ipc", "uts", "network", "cgroup"} {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	one := uint32(1)
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 1000, Size: one}}
	return s
}

func TestPromises(t *testing.T) {
	bait := &check.Bait{Home: "/home/u", UID: 1000}
	for _, c := range []struct {
		grant  string
		change func(*specs.Spec) // what makes the grant; nil: testSpec itself grants it
	}{
		{"ns:pid", func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:2] }},
		{"net:host", func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:5] }},
		{"net:veth", func(s *specs.Spec) { s.Annotations["dev.jail.network"] = `{"mode":"veth"}` }},
		{check.CallGrant("mount", "native", [6]uint64{1}), func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Names = []string{"mount"} }},
		{check.CallGrant("unshare", "native", [6]uint64{0x10000000}), func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[1].Args = nil }},
		{check.CallGrant("unshare", "native", [6]uint64{0}), nil},
		{check.CallGrant("read", "native", [6]uint64{}), nil},
		{check.CallGrant("mount", "native", [6]uint64{}), func(s *specs.Spec) { s.Linux.Seccomp = nil }},
		{"seccomp", func(s *specs.Spec) { s.Linux.Seccomp = nil }},
		{"landlock", func(s *specs.Spec) { s.Annotations["dev.jail.enforcement"] = `{"landlock":"off"}` }},
		{"caps", func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}
		}},
		{"cap:CHOWN", func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}
		}},
		{"nnp", func(s *specs.Spec) { s.Process.NoNewPrivileges = false }},
		{"groups", nil},
		{"terminal", func(s *specs.Spec) { s.Annotations["dev.jail.terminal"] = "never" }},
		{"read:~/.netrc", func(s *specs.Spec) {
			s.Mounts[1] = specs.Mount{Destination: "/home/u", Type: "bind", Source: "/home/u"}
		}},
		{"read:~/work/x", nil},
		{"write:~/work/x", nil},
		{"read:/usr/x", nil},
		{"write:/usr/x", func(s *specs.Spec) { s.Mounts[0].Options = nil }},
		{"read:/boot", func(s *specs.Spec) { s.Root.Path = "/" }},
		{"device:/dev/kvm", func(s *specs.Spec) {
			s.Mounts[0] = specs.Mount{Destination: "/dev/kvm", Type: "bind", Source: "/dev/kvm"}
		}},
		{"env:TOKEN", func(s *specs.Spec) { s.Process.Env = []string{"TOKEN=x"} }},
		{"limit:memory", nil},
		{"rlimit:RLIMIT_AS", nil},
		{"rlimit:RLIMIT_CORE", func(s *specs.Spec) { s.Process.Rlimits = nil }},
	} {
		s := testSpec()
		said := func() string { return Promises(s, bait, 7, false)(check.Check{Grant: []string{c.grant}}) }
		if c.change != nil {
			if got := said(); got != "" {
				t.Errorf("%s: granted before the change: %s", c.grant, got)
			}
			c.change(s)
		}
		if said() == "" {
			t.Errorf("%s: not granted", c.grant)
		}
	}
	// What is hidden is promised, whatever lies around it.
	s := testSpec()
	s.Linux.MaskedPaths = []string{"/home/u/work/.env"}
	if got := Promises(s, bait, 7, false)(check.Check{Grant: []string{"read:~/work/.env"}}); got != "" {
		t.Errorf("a hidden file: granted: %s", got)
	}
}
