package policy

import (
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// namespaces writes which kernel namespaces are the program's own, and the
// settings that live in them.
func (c *compiler) namespaces() {
	l := c.spec.Linux
	add := func(kind specs.LinuxNamespaceType, o Origin) {
		c.origin("/linux/namespaces/"+strconv.Itoa(len(l.Namespaces)), o)
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	for _, n := range c.r.Namespaces {
		switch n.Kind {
		case "net":
			continue // the network mode decides, below
		case "user":
			add(specs.UserNamespace, n.Origin)
			l.UIDMappings = idMappings(c.r.Process.UIDMap)
			l.GIDMappings = idMappings(c.r.Process.GIDMap)
		case "time":
			add(specs.TimeNamespace, n.Origin)
			l.TimeOffsets = map[string]specs.LinuxTimeOffset{}
			for clock, offset := range map[string]time.Duration{"monotonic": n.Monotonic, "boottime": n.Boottime} {
				if offset != 0 {
					l.TimeOffsets[clock] = timeOffset(offset)
				}
			}
		default: // mount, pid, ipc, uts, cgroup: OCI's names as well
			add(specs.LinuxNamespaceType(n.Kind), n.Origin)
		}
	}
	if c.r.Network.Mode.Or("none") != "host" {
		add(specs.NetworkNamespace, c.r.Network.Mode.Origin)
	}
	if h := c.r.Process.Hostname; h.Set {
		c.spec.Hostname = h.V
		c.origin("/hostname", h.Origin)
	}
	if d := c.r.Process.Domainname; d.Set {
		c.spec.Domainname = d.V
		c.origin("/domainname", d.Origin)
	}
}

// timeOffset cuts a duration into whole seconds and nanoseconds from 0 up, as
// /proc/PID/timens_offsets wants them (time_namespaces(7)).
func timeOffset(d time.Duration) specs.LinuxTimeOffset {
	secs, nanos := int64(d/time.Second), int64(d%time.Second)
	if nanos < 0 {
		secs, nanos = secs-1, nanos+int64(time.Second)
	}
	return specs.LinuxTimeOffset{Secs: secs, Nanosecs: uint32(nanos)}
}

func idMappings(maps []IDMapping) []specs.LinuxIDMapping {
	out := make([]specs.LinuxIDMapping, len(maps))
	for i, m := range maps {
		out[i] = specs.LinuxIDMapping{ContainerID: m.Inside, HostID: m.Outside, Size: m.Count}
	}
	return out
}
