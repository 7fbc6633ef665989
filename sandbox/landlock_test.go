package sandbox

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// profileBundle is a bundle made from a profile, whose filter lets nothing be mounted.
func profileBundle(level string) *Bundle {
	b := fixedBundle()
	b.Spec.Annotations[annotationProfile] = "test"
	if level != "" {
		b.Spec.Annotations[annotationEnforcement] = `{"landlock":"` + level + `"}`
	}
	b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "execve"}, Action: specs.ActAllow}}}
	return b
}

// rulesOf are the Landlock rules of a plan, nil for none.
func rulesOf(p *Plan) *landlockPolicy {
	for _, s := range p.steps {
		if m, ok := s.step.(makeRuleset); ok {
			return &m.policy
		}
	}
	return nil
}

func TestLandlockLevels(t *testing.T) {
	mounting := func(b *Bundle) {
		b.Spec.Linux.Seccomp.Syscalls[0].Names = append(b.Spec.Linux.Seccomp.Syscalls[0].Names, "mount", "clone", "unshare")
	}
	for _, c := range []struct {
		name, level string
		abi         int
		change      func(*Bundle)
		rules       bool
		warning     string
		err         string
	}{
		{"required and there", "", 7, nil, true, "", ""},
		{"required and not there", "", 0, nil, false, "", "this kernel has no Landlock"},
		{"required and too old", "require", 1, nil, false, "", "lets no file be moved to another folder"},
		{"preferred and there", "prefer", 2, nil, true, "", ""},
		{"preferred and not there", "prefer", 0, nil, false, "runs without the second barrier on files: this kernel has no Landlock", ""},
		{"off", "off", 7, nil, false, "", ""},
		{"required by a program that mounts", "", 7, mounting, false, "", "lets the program mount file systems"},
		{"preferred by a program that mounts", "prefer", 7, mounting, false, "lets the program mount file systems", ""},
		{"a capability to mount and no call", "", 7, func(b *Bundle) {
			list := []string{"CAP_SYS_ADMIN"}
			b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}
		}, true, "", ""},
		{"new privileges", "prefer", 7, func(b *Bundle) { b.Spec.Process.NoNewPrivileges, b.Spec.Linux.Seccomp = false, nil }, false, "it needs no_new_privs", ""},
		{"no filter", "", 7, func(b *Bundle) { b.Spec.Linux.Seccomp = nil }, false, "", "lets the program mount file systems"},
		{"the filter off", "", 7, func(b *Bundle) {
			b.Spec.Linux.Seccomp, b.Spec.Annotations[annotationEnforcement] = nil, `{"seccomp":"off"}`
		}, true, "", ""},
		{"the filter off, and a capability to mount", "", 7, func(b *Bundle) {
			list := []string{"CAP_SYS_ADMIN"}
			b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}
			b.Spec.Linux.Seccomp, b.Spec.Annotations[annotationEnforcement] = nil, `{"seccomp":"off"}`
		}, false, "", "lets the program mount file systems"},
		{"a bundle made elsewhere", "", 0, func(b *Bundle) { delete(b.Spec.Annotations, annotationProfile) }, false, "", ""},
		{"a bundle made elsewhere, on a new kernel", "", 7, func(b *Bundle) { delete(b.Spec.Annotations, annotationProfile) }, true, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, f := profileBundle(c.level), fakeFacts()
			f.Landlock = c.abi
			if c.change != nil {
				c.change(b)
			}
			plan, err := Compile(b, f)
			if c.err != "" {
				var refused *Error
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.err) || refused.Hint == "" {
					t.Errorf("error %v, want %q with a hint", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if rules := rulesOf(plan); (rules != nil) != c.rules {
				t.Errorf("rules %v, want some: %v", rules, c.rules)
			}
			if got := strings.Join(plan.Warnings, "; "); !strings.Contains(got, c.warning) || c.warning == "" && got != "" {
				t.Errorf("warnings %q, want %q", got, c.warning)
			}
		})
	}
}

// The rights that a kernel does not know are left out, all others handled; scopes are for namespaces that are shared.
func TestLandlockFitsTheKernelAndTheNamespaces(t *testing.T) {
	without := func(kinds ...specs.LinuxNamespaceType) []specs.LinuxNamespace {
		var out []specs.LinuxNamespace
		for _, ns := range fixedBundle().Spec.Linux.Namespaces {
			keep := true
			for _, k := range kinds {
				keep = keep && ns.Type != k
			}
			if keep {
				out = append(out, ns)
			}
		}
		return out
	}
	const truncate, ioctl = unix.LANDLOCK_ACCESS_FS_TRUNCATE, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	const abstract, signal = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, unix.LANDLOCK_SCOPE_SIGNAL
	all := uint64(readRights | makeRights | writeRights | deviceRights)
	for _, c := range []struct {
		abi     int
		drop    []specs.LinuxNamespaceType
		handled uint64
		scoped  uint64
	}{
		{2, nil, all &^ (truncate | ioctl), 0},
		{3, nil, all &^ ioctl, 0},
		{5, []specs.LinuxNamespaceType{"network"}, all, 0},
		{6, nil, all, 0},
		{6, []specs.LinuxNamespaceType{"network"}, all, abstract},
		{7, []specs.LinuxNamespaceType{"pid"}, all, signal},
		{7, []specs.LinuxNamespaceType{"pid", "network"}, all, abstract | signal},
	} {
		b, f := profileBundle("require"), fakeFacts()
		f.Landlock = c.abi
		b.Spec.Linux.Namespaces = without(c.drop...)
		if len(c.drop) > 0 && c.drop[0] == "pid" {
			b.Spec.Mounts = append(b.Spec.Mounts[:1:1], b.Spec.Mounts[2:]...) // no /proc without a pid namespace
			b.Spec.Linux.MaskedPaths, b.Spec.Linux.ReadonlyPaths = nil, nil
		}
		plan, err := Compile(b, f)
		if err != nil {
			t.Fatal(err)
		}
		rules := rulesOf(plan)
		if rules.Handled != c.handled || rules.Scoped != c.scoped {
			t.Errorf("version %d without %v: handled %#x scoped %#x, want %#x %#x", c.abi, c.drop, rules.Handled, rules.Scoped, c.handled, c.scoped)
		}
		for _, r := range rules.Rules {
			if r.Rights&^rules.Handled != 0 || !r.Dir && r.Rights&^fileRights != 0 {
				t.Errorf("version %d: the kernel refuses the rights %#x on %s", c.abi, r.Rights, r.Path)
			}
		}
	}
}

func TestLandlockRulesFollowTheMounts(t *testing.T) {
	b := profileBundle("require")
	b.Spec.Mounts = append(b.Spec.Mounts,
		specs.Mount{Destination: "/file", Type: "bind", Source: "/data/ann/file", Options: []string{"bind"}},
		specs.Mount{Destination: "/ro", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro"}},
		specs.Mount{Destination: "/ro/rw", Type: "tmpfs", Source: "tmpfs"})
	plan, err := Compile(b, fakeFacts())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, r := range rulesOf(plan).Rules {
		got[r.Path] = r.Rights
	}
	want := map[string]uint64{
		"/":      readRights,
		"/dev":   writeRights | makeRights | deviceRights,
		"/file":  writeRights,
		"/proc":  writeRights,
		"/ro/rw": writeRights | makeRights,
		"/work":  writeRights | makeRights,
	}
	for path, rights := range want {
		if got[path] != rights {
			t.Errorf("%s: rights %#x, want %#x", path, got[path], rights)
		}
		delete(got, path)
	}
	for path, rights := range got {
		t.Errorf("%s: rights %#x, want no rule", path, rights)
	}
}

// Linux before 6.10 knows no right to control devices, and refuses a rule that names it: the sandbox's own terminal has one.
func TestLandlockOnATerminalFitsTheKernel(t *testing.T) {
	for _, handled := range []uint64{readRights | makeRights | writeRights, readRights | makeRights | writeRights | deviceRights} {
		a := &assembler{terminal: arg{v: 3, slot: true}}
		makeRuleset{policy: landlockPolicy{Handled: handled}}.lower(a)
		rules := 0
		for _, c := range a.rows {
			if c.nr != unix.SYS_LANDLOCK_ADD_RULE {
				continue
			}
			rules++
			rights := (**(**landlockPathBeneath)(unsafe.Pointer(&c.args[2]))).rights
			if rights == 0 || rights&^handled != 0 {
				t.Errorf("the kernel handles %#x and is asked for %#x", handled, rights)
			}
		}
		if rules != 1 {
			t.Errorf("%d rules, want that of the terminal", rules)
		}
	}
}
