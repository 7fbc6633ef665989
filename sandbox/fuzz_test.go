package sandbox

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzBundle compiles whatever configuration somebody's bundle may hold, on a machine with jail's own files, and lowers
// what is accepted to its table. It must come to an end, and no accepted plan may bind jail's own files for writing.
func FuzzBundle(f *testing.F) {
	for _, text := range []string{
		`{"mounts":[{"destination":"/a","type":"bind","source":"layer","options":["rbind","ro"]}]}`,
		`{"mounts":[{"destination":"/a","type":"overlay","source":"overlay","options":["lowerdir=layer:work","upperdir=layer","workdir=work"]}]}`,
		`{"mounts":[{"destination":"/home","type":"bind","source":"/home/ann","options":["bind"]},{"destination":"/proc","type":"proc","source":"proc"}]}`,
		`{"linux":{"maskedPaths":["/proc/kcore","/../x"],"readonlyPaths":["/proc/sys"],"sysctl":{"net.ipv4.ip_forward":"1"}}}`,
		`{"process":{"terminal":true,"rlimits":[{"type":"RLIMIT_CORE","hard":0,"soft":0}],"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}}`,
		`{"annotations":{"dev.jail.rooms":"[{\"name\":\"x\",\"path\":\"/run/x\"}]","dev.jail.symlinks":"[{\"path\":\"/a/b\",\"target\":\"c\"}]","dev.jail.timeout":"1s"}}`,
		`{"hooks":{},"hostname":"x","root":{"path":"in","readonly":false}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := hostilePlan(func(b *Bundle, _ fakeFiles) {
			namespaces, ids := b.Spec.Linux.Namespaces, b.Spec.Linux.UIDMappings
			if json.Unmarshal([]byte(text), b.Spec) != nil {
				t.Skip()
			}
			if b.Spec.Linux != nil && len(b.Spec.Linux.Namespaces) == 0 {
				b.Spec.Linux.Namespaces, b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings = namespaces, ids, ids
			}
		})
		if err != nil {
			return
		}
		if _, err := plan.WriteTo(io.Discard); err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.steps {
			b, ok := s.step.(bindMount)
			if ok && b.attr&unix.MOUNT_ATTR_RDONLY == 0 && strings.HasPrefix(b.path, "/home/ann/.config/jail") {
				t.Errorf("the plan binds jail's profiles for writing: %s", b)
			}
		}
		if plan.Seccomp == nil && len(plan.rooms) == 0 {
			for _, chunk := range plan.lower(lowerInput{}).asm.chunks {
				_ = unix.Munmap(chunk)
			}
		}
	})
}
