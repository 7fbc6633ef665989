package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/cgroup"
)

func TestOriginOfALimit(t *testing.T) {
	spec := &specs.Spec{Annotations: map[string]string{annotationOrigins: `{"/linux/resources/pids/limit":"p.yaml:3:9","/linux/resources":"p.yaml:1:1"}`}}
	for pointer, want := range map[string]string{
		"/linux/resources/pids/limit":       "p.yaml:3:9",
		"/linux/resources/memory/limit":     "p.yaml:1:1",
		"/process/rlimits/0":                "config.json/process/rlimits/0",
		"/linux/resources/pids/limit/below": "p.yaml:3:9",
	} {
		if got := origin(spec, pointer); got != want {
			t.Errorf("%s comes from %s, want %s", pointer, got, want)
		}
	}
	if got := origin(&specs.Spec{}, "/linux/resources/cpu"); got != "config.json/linux/resources/cpu" {
		t.Errorf("without origins: %s", got)
	}
}

func TestEnforcementLevel(t *testing.T) {
	for text, want := range map[string]string{
		"": "require", `{}`: "require", `{"limits":"prefer"}`: "prefer", `{"limits":"off","seccomp":"prefer"}`: "off", `{"seccomp":"off"}`: "require",
		`{"limits":"perhaps"}`: "", `[`: "",
	} {
		spec := &specs.Spec{Annotations: map[string]string{}}
		if text != "" {
			spec.Annotations[annotationEnforcement] = text
		}
		if got, err := enforcement(spec, "limits"); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestSandboxName(t *testing.T) {
	for _, tt := range []struct{ name, profile, want string }{
		{"one", "browser", "one"}, {"", "browser", "browser"}, {"", "my browser", "sandbox"}, {"", "../x", "sandbox"}, {"", "", "sandbox"},
	} {
		spec := &specs.Spec{Annotations: map[string]string{annotationName: tt.name, annotationProfile: tt.profile}}
		if got := sandboxName(spec); got != tt.want {
			t.Errorf("name %q and profile %q give %q, want %q", tt.name, tt.profile, got, tt.want)
		}
	}
}

// Every limit that cannot be kept is told on a line of its own with the line that asks for it, and a remedy that
// several share once.
func TestRefusedLimitsAreToldOneByOne(t *testing.T) {
	l := &limits{spec: &specs.Spec{Annotations: map[string]string{annotationOrigins: `{"/linux/resources/memory/limit":"p.yaml:2:9"}`}}}
	err := l.refusal([]*cgroup.Refused{
		{File: "memory.max", Value: "1", Pointer: "/linux/resources/memory/limit", Reason: "no\x1b[2J", Remedy: "mend"},
		{File: "pids.max", Value: "2", Pointer: "/linux/resources/pids/limit", Reason: "no", Remedy: "mend"},
	})
	var out bytes.Buffer
	a := &app{err: &printer{out: &out}}
	if code := a.fail(errors.Join(err)); code != exitRefused {
		t.Errorf("exit code %d", code)
	}
	want := "jail: p.yaml:2:9: limit memory.max=1 cannot be applied: no\\x1b[2J\n" +
		"jail: config.json/linux/resources/pids/limit: limit pids.max=2 cannot be applied: no\n  hint: mend\n"
	if out.String() != want {
		t.Errorf("told\n%swant\n%s", out.String(), want)
	}
}

// A start that wants neither limits nor a report has nothing made for it, and nothing of it is read.
func TestNoLimitsNoGroup(t *testing.T) {
	a := &app{err: &printer{out: new(bytes.Buffer)}}
	devices := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}
	limited := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 5}}
	for name, spec := range map[string]*specs.Spec{
		"no linux":        {},
		"no resources":    {Linux: &specs.Linux{}},
		"only devices":    {Linux: &specs.Linux{Resources: devices}, Annotations: map[string]string{annotationEnforcement: "["}},
		"switched off":    {Linux: &specs.Linux{Resources: limited}, Annotations: map[string]string{annotationEnforcement: `{"limits":"off"}`}},
		"empty resources": {Linux: &specs.Linux{Resources: &specs.LinuxResources{}}},
	} {
		l, err := a.beginLimits(spec, false)
		if l != nil || err != nil {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
	_, err := a.beginLimits(&specs.Spec{Linux: &specs.Linux{Resources: limited}, Annotations: map[string]string{annotationEnforcement: `{"limits":"maybe"}`}}, false)
	if err == nil || !strings.Contains(err.Error(), `"maybe" is none of require, prefer, off`) {
		t.Errorf("a level that does not exist: %v", err)
	}
}
