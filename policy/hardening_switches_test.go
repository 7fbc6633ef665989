package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestHardeningSwitches: each switch is in the bundle, in `jail show` and in `jail explain`, and without it in none.
func TestHardeningSwitches(t *testing.T) {
	for _, c := range []struct {
		key, value string
		in         func(*specs.Spec) bool
		words      string
	}{
		{"no-dump", "true", func(s *specs.Spec) bool {
			return slices.Contains(s.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_CORE", Soft: 1, Hard: 1}) && len(s.Process.Rlimits) == 1
		}, "no core file"},
		{"memory-deny-write-execute", "true", func(s *specs.Spec) bool { return s.Annotations[annotationDenyWriteExec] == "true" }, "never executed"},
		{"core-scheduling", "true", func(s *specs.Spec) bool { return s.Annotations[annotationCoreSched] == "true" }, "processor cores"},
		{"proc", "pid", func(s *specs.Spec) bool {
			return len(s.Linux.MaskedPaths) == 0 && slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
				return m.Destination == "/proc" && slices.Contains(m.Options, "subset=pid")
			})
		}, "nothing of the kernel"},
	} {
		for _, on := range []bool{false, true} {
			text := "version: 1\nrlimits: {core: 4096}\n"
			if on {
				text += "process: {" + c.key + ": " + c.value + "}\n"
			}
			r := resolveText(t, text)
			compiled, err := r.Spec([]string{"true"})
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
			if got := c.in(compiled.Spec); got != on {
				t.Errorf("%s: in the bundle: %t, want %t", c.key, got, on)
			}
			if got := strings.Contains(explained.String(), c.words); got != on {
				t.Errorf("%s: explained: %t, want %t", c.key, got, on)
			}
			if got := strings.Contains(shown.String(), c.key+": "+c.value); got != on {
				t.Errorf("%s: shown: %t, want %t\n%s", c.key, got, on, shown.String())
			}
		}
	}
}
