package policy

import (
	"io/fs"
	"strconv"
	"strings"
)

func (s *shower) limits(l *Limits) {
	if !l.Any() {
		return
	}
	s.open("limits")
	s.number("memory", l.Memory, sizeText)
	s.number("memory-high", l.MemoryHigh, sizeText)
	s.number("memory-low", l.MemoryLow, sizeText)
	s.number("swap", l.Swap, sizeText)
	s.number("cpu", l.CPUQuota, cpuText)
	s.number("cpu-weight", l.CPUWeight, countText)
	s.text("cpus", l.CPUs)
	s.text("mems", l.Mems)
	s.number("pids", l.Pids, countText)
	s.number("io-weight", l.IOWeight, countText)
	if len(l.IO) > 0 {
		s.open("io")
		for _, io := range l.IO {
			f := []string{"device: " + scalar(io.Device)}
			var inherited []string
			add := func(key string, n Number, format func(int64) string) {
				if !n.Set {
					return
				}
				f = append(f, key+": "+format(n.V))
				if n.Origin.File != io.Origin.File {
					inherited = append(inherited, key+" of "+n.Origin.String())
				}
			}
			add("read", io.Read, sizeText)
			add("write", io.Write, sizeText)
			add("read-ops", io.ReadOps, countText)
			add("write-ops", io.WriteOps, countText)
			add("weight", io.Weight, countText)
			s.line("- {"+strings.Join(f, ", ")+"}", io.Origin, strings.Join(inherited, ", "))
		}
		s.close()
	}
	if len(l.HugePages) > 0 {
		s.open("hugepages")
		for _, h := range l.HugePages {
			s.raw(strings.TrimSuffix(h.PageSize, "B"), sizeText(h.Limit), h.Origin) // a profile has 2M where the kernel has 2MB
		}
		s.close()
	}
	s.flag("oom-group", l.OOMGroup)
	s.close()
}

func cpuText(quota int64) string {
	if quota == Unlimited {
		return "max"
	}
	return strconv.FormatFloat(float64(quota)*100/CPUPeriod, 'f', -1, 64) + "%"
}

func (s *shower) rlimits(r *Resolved) {
	if len(r.Rlimits) == 0 {
		return
	}
	text := func(n uint64) string {
		if n == RlimitInfinity {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	s.open("rlimits")
	for _, l := range r.Rlimits {
		value := text(l.Soft)
		if l.Soft != l.Hard {
			value = "{soft: " + text(l.Soft) + ", hard: " + text(l.Hard) + "}"
		}
		s.raw(strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_")), value, l.Origin)
	}
	s.close()
}

func (s *shower) syscalls(in *Syscalls) {
	s.open("syscalls")
	s.value("default", in.Default.Name, in.Origin)
	list := func(key string, all []SyscallName) {
		if len(all) == 0 {
			if key == "allow" {
				s.line("allow: []", in.Origin, "")
			}
			return
		}
		s.open(key)
		for _, n := range all {
			s.line("- "+scalar(n.Name), n.Origin, "")
		}
		s.close()
	}
	list("allow", in.Allow)
	list("deny", in.Deny)
	if len(in.Rules) > 0 {
		s.open("rules")
		for _, rule := range in.Rules {
			args := ""
			if len(rule.Args) > 0 {
				var all []string
				for _, a := range rule.Args {
					all = append(all, argText(a))
				}
				args = ", args: [" + strings.Join(all, ", ") + "]"
			}
			names := make([]string, len(rule.Names))
			for i, n := range rule.Names {
				names[i] = scalar(n)
			}
			s.line("- {names: ["+strings.Join(names, ", ")+"]"+args+", action: "+scalar(rule.Action.Name)+"}", rule.Origin, "")
		}
		s.close()
	}
	archs := make([]Named, len(in.Architectures))
	for i, n := range in.Architectures {
		archs[i] = n
		for _, a := range architectureNames {
			if a[1] == n.Name {
				archs[i].Name = a[0]
			}
		}
	}
	s.namedIfAny("architectures", archs)
	s.close()
}

func argText(a SyscallArg) string {
	value := a.Value
	mask := ""
	if a.Op == "masked-eq" {
		mask, value = ", mask: 0x"+strconv.FormatUint(a.Value, 16), a.ValueTwo
	}
	return "{index: " + strconv.Itoa(int(a.Index)) + ", op: " + a.Op + mask + ", value: 0x" + strconv.FormatUint(value, 16) + "}"
}

func (s *shower) network(n *Network) {
	s.open("network")
	s.text("mode", n.Mode)
	s.text("name", n.Name)
	if n.HasEgress || len(n.Egress) > 0 {
		if len(n.Egress) == 0 {
			s.line("egress: []", n.Mode.Origin, "")
		} else {
			s.open("egress")
			for _, e := range n.Egress {
				s.line("- "+map[bool]string{true: "allow", false: "deny"}[e.Allow]+": "+scalar(e.Text), e.Origin, "")
			}
			s.close()
		}
	}
	if len(n.Publish) > 0 {
		s.open("publish")
		for _, p := range n.Publish {
			s.line("- "+scalar(p.Text), p.Origin, "")
		}
		s.close()
	}
	if b := &n.Bandwidth; b.Down.Set || b.Up.Set || b.Delay.Set {
		bits := func(n int64) string { return strconv.FormatInt(n, 10) + "bit/s" }
		s.open("bandwidth")
		s.number("down", b.Down, bits)
		s.number("up", b.Up, bits)
		if b.Delay.Set {
			s.raw("delay", b.Delay.V.String(), b.Delay.Origin)
		}
		s.close()
	}
	if d := &n.DNS; len(d.Servers)+len(d.Search)+len(d.Hosts) > 0 {
		s.open("dns")
		s.namedIfAny("servers", d.Servers)
		s.namedIfAny("search", d.Search)
		if len(d.Hosts) > 0 {
			s.open("hosts")
			for _, h := range d.Hosts {
				s.value(h.Name, h.Address, h.Origin)
			}
			s.close()
		}
		s.close()
	}
	s.text("uplink", n.Uplink)
	s.namedIfAny("address", n.Addresses)
	s.text("bridge", n.Bridge)
	s.text("macvlan", n.MACVLAN)
	s.text("ipvlan", n.IPVLAN)
	s.text("cni", n.CNI)
	s.text("mac", n.MAC)
	s.number("mtu", n.MTU, countText)
	s.close()
}

func (s *shower) desktop(d *Desktop) {
	flags := []struct {
		key  string
		flag Flag
	}{
		{"wayland", d.Wayland}, {"pulseaudio", d.PulseAudio}, {"pipewire", d.PipeWire}, {"portals", d.Portals},
		{"notifications", d.Notifications}, {"keyring", d.Keyring}, {"links", d.Links},
		{"fonts", d.Fonts}, {"themes", d.Themes}, {"locale", d.Locale}, {"printing", d.Printing},
	}
	written := d.X11.Set || d.Session.Origin.File != ""
	for _, f := range flags {
		written = written || f.flag.Set
	}
	if !written {
		return
	}
	s.open("desktop")
	for i, f := range flags {
		s.flag(f.key, f.flag)
		if i == 0 && d.X11.Set {
			s.raw("x11", map[string]string{"on": "true", "off": "false", "fallback": "fallback", "shared": "shared"}[d.X11.V], d.X11.Origin)
		}
	}
	if d.Session.Origin.File != "" {
		s.openAt("dbus", d.Session.Origin)
		s.bus(&d.Session)
		if d.System.Origin.File != "" {
			s.openAt("system", d.System.Origin)
			s.bus(&d.System)
			s.close()
		}
		s.close()
	}
	s.close()
}

func (s *shower) bus(a *BusAccess) {
	s.namedIfAny("talk", a.Talk)
	s.namedIfAny("own", a.Own)
	s.namedIfAny("see", a.See)
	s.namedIfAny("call", a.Call)
	s.namedIfAny("broadcast", a.Broadcast)
}

func (s *shower) process(p *Process) {
	s.open("process")
	s.text("cwd", p.Cwd)
	s.raw("uid", strconv.Itoa(int(p.UID.V)), p.UID.Origin)
	s.raw("gid", strconv.Itoa(int(p.GID.V)), p.GID.Origin)
	if len(p.Groups) > 0 {
		s.open("groups")
		for _, g := range p.Groups {
			s.line("- "+strconv.Itoa(int(g.V)), g.Origin, "")
		}
		s.close()
	}
	if p.SubIDs {
		s.open("id-ranges")
		for _, m := range [...]struct {
			key  string
			maps []IDMapping
		}{{"uid", p.UIDMap}, {"gid", p.GIDMap}} {
			s.open(m.key)
			for _, r := range m.maps {
				s.line("- {inside: "+strconv.Itoa(int(r.Inside))+", outside: "+strconv.Itoa(int(r.Outside))+", count: "+strconv.Itoa(int(r.Count))+"}", Origin{}, "")
			}
			s.close()
		}
		s.close()
	}
	if p.Umask.Set {
		s.raw("umask", modeText(fs.FileMode(p.Umask.V)), p.Umask.Origin)
	}
	s.text("hostname", p.Hostname)
	s.text("domainname", p.Domainname)
	s.number("nice", p.Nice, countDecimal)
	s.number("oom-score", p.OOMScore, countDecimal)
	s.text("cpu-affinity", p.CPUAffinity)
	s.text("terminal", p.Terminal)
	s.flag("die-with-parent", p.DieWithParent)
	if p.Timeout.Set {
		s.raw("timeout", p.Timeout.V.String(), p.Timeout.Origin)
	}
	s.flag("no-new-privileges", p.NoNewPrivileges)
	s.flag("no-dump", p.NoDump)
	s.flag("memory-deny-write-execute", p.DenyWriteExec)
	s.flag("core-scheduling", p.CoreScheduling)
	s.text("proc", p.Proc)
	s.close()
}

// countDecimal is for values where -1 is a number like any other.
func countDecimal(n int64) string { return strconv.FormatInt(n, 10) }
