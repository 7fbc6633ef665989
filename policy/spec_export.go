package policy

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Export gives the bundle as it must be in the folder dir for other runtimes to
// run it unchanged. What jail itself runs needs none of this. The differences:
//
//   - Layers of an overlay that end with the sandbox get absolute paths: OCI says
//     of a mount's source what a relative path means, of options it does not, and
//     runc takes them from its root file system.
//   - Where the profile maps no user id 0, one is added from the caller's
//     subordinate ids, and a group id likewise: runc and crun set a container up
//     as its root. The program does not become it; it runs as process.user says.
//     Root's runc starts such a bundle. An ordinary user's runc gives its pipes to
//     the container's root, which it may do only where that is the user: there
//     process.uid and process.gid have to be 0 (seen with runc 1.1).
//
// What the other runtimes cannot do is said in the warnings.
func (c *Compiled) Export(dir string, h *Host) *Compiled {
	out, spec := *c, *c.Spec
	out.Spec = &spec
	out.Warnings = slices.Clone(c.Warnings)
	warn := func(cause, fix string) {
		out.Warnings = append(out.Warnings, Problem{File: dir, Cause: cause, Fix: fix})
	}

	spec.Mounts = slices.Clone(spec.Mounts)
	for i := range spec.Mounts {
		if m := &spec.Mounts[i]; m.Type == "overlay" {
			m.Options = absoluteLayers(m.Options, dir)
		}
	}

	linux := *spec.Linux
	spec.Linux = &linux
	if slices.ContainsFunc(linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		had := len(linux.UIDMappings) + len(linux.GIDMappings)
		var uids, gids bool
		linux.UIDMappings, uids = mapRoot(linux.UIDMappings, h.SubUIDs)
		linux.GIDMappings, gids = mapRoot(linux.GIDMappings, h.SubGIDs)
		added := len(linux.UIDMappings)+len(linux.GIDMappings) > had
		if uids && gids && added && h.UID != 0 {
			warn("the container's root is a subordinate id: runc can start this bundle as root, but not as "+h.User,
				"set process.uid and process.gid to 0 to start it without privileges")
		}
		if !uids || !gids {
			warn("no user or group id 0 is mapped, and no subordinate id is left for it: runc and crun cannot start this bundle",
				"set process.uid and process.gid to 0, or add the user to /etc/subuid and /etc/subgid")
		}
	}
	if spec.Annotations[annotationSymlinks] != "" {
		warn("the profile has symlinks below a mount; other runtimes leave them out",
			"put the links where no mount covers them")
	}
	if spec.Annotations[annotationDesktop] != "" {
		warn("other runtimes connect none of this to the session: "+c.connected, "run the bundle with jail")
	}
	c.exportNetwork(warn)
	for _, n := range linux.Namespaces {
		if n.Type == specs.TimeNamespace {
			warn("the profile has a time namespace; runc before 1.2 refuses the bundle", "take time out of namespaces")
		}
	}
	return &out
}

// absoluteLayers puts dir before the relative layers of an overlay.
func absoluteLayers(options []string, dir string) []string {
	out := slices.Clone(options)
	for i, o := range out {
		for _, key := range []string{"upperdir=", "workdir="} {
			if layer, ok := strings.CutPrefix(o, key); ok && !strings.HasPrefix(layer, "/") {
				out[i] = key + escapeLayer(filepath.Join(dir, layer))
			}
		}
	}
	return out
}

// mapRoot adds a mapping of id 0 to the first subordinate id that no mapping
// has yet, and tells whether 0 is mapped in the end.
func mapRoot(maps []specs.LinuxIDMapping, sub []IDRange) ([]specs.LinuxIDMapping, bool) {
	for _, m := range maps {
		if m.ContainerID == 0 && m.Size > 0 {
			return maps, true
		}
	}
	for _, r := range sub {
		for id := uint64(r.Start); id < uint64(r.Start)+uint64(r.Count); {
			taken := slices.IndexFunc(maps, func(m specs.LinuxIDMapping) bool {
				return uint64(m.HostID) <= id && id < uint64(m.HostID)+uint64(m.Size)
			})
			if taken < 0 {
				root := specs.LinuxIDMapping{ContainerID: 0, HostID: uint32(id), Size: 1}
				return append([]specs.LinuxIDMapping{root}, maps...), true
			}
			id = uint64(maps[taken].HostID) + uint64(maps[taken].Size)
		}
	}
	return maps, false
}
