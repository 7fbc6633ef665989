package policy

import (
	"slices"
	"strings"
	"testing"
)

// TestEnforcementLevels: every level of every layer is taken into the bundle or refused in words.
func TestEnforcementLevels(t *testing.T) {
	for _, l := range layers {
		for _, level := range []string{"require", "prefer", "off"} {
			h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nenforcement: {" + l.name + ": " + level + "}\n"})
			p, err := Load("./p.yaml", h)
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Resolve(h)
			switch {
			case level == "require":
				if err != nil || len(r.Enforcement) != 0 {
					t.Errorf("%s: require: %v", l.name, err)
				}
			case slices.Contains(l.levels, level):
				if err != nil || r.level(l.name) != level {
					t.Errorf("%s: %s: %v", l.name, level, err)
				}
			case err == nil || !strings.Contains(err.Error(), l.name+" cannot be "+level+" (") || l.fix == "":
				t.Errorf("%s: %s: %v", l.name, level, err)
			}
		}
	}
}

// TestNoFilter: `seccomp: off` leaves the filter out of the bundle, and everything that is printed says so. The same
// profile without it is the control.
func TestNoFilter(t *testing.T) {
	const calls = "version: 1\nsyscalls: {allow: [\"@default\", ptrace]}\n"
	for _, off := range []bool{false, true} {
		text := calls
		if off {
			text += "enforcement: {seccomp: off}\n"
		}
		r := resolveText(t, text)
		c, err := r.Spec([]string{"true"})
		if err != nil {
			t.Fatal(err)
		}
		var explained, shown strings.Builder
		if err := r.Explain(&explained); err != nil {
			t.Fatal(err)
		}
		if err := r.Show(&shown); err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string]bool{
			"bundle":  c.Spec.Linux.Seccomp == nil,
			"explain": strings.Contains(explained.String(), "there is no filter"),
			"show":    !strings.Contains(shown.String(), "syscalls:") && strings.Contains(shown.String(), "seccomp: \"off\""),
			"warning": slices.ContainsFunc(c.Warnings, func(w Problem) bool { return w.Key == "enforcement.seccomp" && w.Line == 3 }),
		} {
			if got != off {
				t.Errorf("off %v: %s: %v\n%s%s", off, what, got, explained.String(), shown.String())
			}
		}
	}
}
