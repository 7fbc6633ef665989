package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

var namespaceKinds = [...]string{"user", "mount", "pid", "ipc", "uts", "cgroup", "net", "time"}

// namespaces are those the files list, or all but time. `network.mode: host` is
// how a profile shares the host's network, so it takes `net` away that an earlier
// file or the default gives.
func (r *resolver) namespaces() {
	host := r.out.Network.Mode.V == "host"
	byKind := map[string]Namespace{}
	if !r.listsNamespaces() {
		taken := map[string]bool{}
		for _, p := range r.parts {
			for i, w := range p.Without.Namespaces.Items {
				if !slices.Contains(namespaceKinds[:7], w.V) && w.Set {
					r.failWithout(p, "namespaces", i, w)
				}
				taken[w.V] = true
			}
		}
		for _, kind := range namespaceKinds[:7] {
			if !taken[kind] {
				byKind[kind] = Namespace{Kind: kind, Origin: defaultOrigin}
			}
		}
		if host {
			delete(byKind, "net")
		}
	}
	for _, e := range r.listedNamespaces() {
		i := e.item
		if !i.Value.Set {
			continue
		}
		if !slices.Contains(namespaceKinds[:], i.Value.V) {
			r.fail(i.Value.Origin, e.key, quote(i.Value.V)+" is not a namespace", orElse(didYouMean(i.Value.V, namespaceKinds[:]), "one of "+strings.Join(namespaceKinds[:], ", ")))
			continue
		}
		n := Namespace{Kind: i.Value.V, Origin: i.Value.Origin}
		if n.Kind != "time" && (i.Monotonic.Set || i.Boottime.Set) {
			r.fail(i.Origin, e.key, "clock offsets on the "+n.Kind+" namespace", "they belong to {value: time}")
			continue
		}
		n.Monotonic = r.offset(i.Monotonic, e.key+".monotonic")
		n.Boottime = r.offset(i.Boottime, e.key+".boottime")
		if n.Kind == "net" && host {
			if e.rank >= r.rankOf(r.out.Network.Mode.Origin) {
				r.fail(i.Value.Origin, e.key, "a net namespace together with network.mode: host ("+r.out.Network.Mode.Origin.String()+")", "take one of the two out")
			}
			continue
		}
		byKind[n.Kind] = n
	}
	if off, ok := r.cutOff(); ok && byKind["net"].Kind == "" {
		byKind["net"] = Namespace{Kind: "net", Origin: off.Origin}
	}
	for _, kind := range namespaceKinds {
		if n, ok := byKind[kind]; ok {
			r.out.Namespaces = append(r.out.Namespaces, n)
		}
	}
	r.checkNamespaces(byKind)
}

func (r *resolver) listedNamespaces() []listed[NamespaceItem] {
	if !r.listsNamespaces() {
		return nil
	}
	return active(mergeList(r, "namespaces",
		func(f *Fragment) *List[NamespaceItem] { return &f.Namespaces },
		func(f *Fragment) *List[Text] { return &f.Without.Namespaces },
		func(i *NamespaceItem) *When { return i.When },
		func(i NamespaceItem, name string) bool { return i.Value.V == name }))
}

func (r *resolver) listsNamespaces() bool {
	return slices.ContainsFunc(r.parts, func(p part) bool { return p.Namespaces.Set })
}

// rankOf gives the rank of the file an origin lies in.
func (r *resolver) rankOf(o Origin) int {
	for i, l := range r.profile.Layers {
		if l.File == o.File {
			return 2*i + 2
		}
	}
	return rankDefault
}

func (r *resolver) namespaceOrigin() Origin {
	o := defaultOrigin
	for _, p := range r.parts {
		switch {
		case p.Namespaces.Set:
			o = p.Namespaces.Origin
		case p.Without.Namespaces.Set:
			o = p.Without.Namespaces.Origin
		}
	}
	return o
}

func (r *resolver) checkNamespaces(have map[string]Namespace) {
	o := r.namespaceOrigin()
	if _, ok := have["mount"]; !ok {
		r.fail(o, "namespaces", "no mount namespace: the program would see the whole host", "add mount")
	}
	if _, ok := have["user"]; !ok && r.host.UID != 0 {
		r.fail(o, "namespaces", "no user namespace: only root can start a sandbox without one", "add user")
	}
	if _, ok := have["net"]; !ok && r.out.Network.Mode.V != "host" {
		r.fail(o, "namespaces", "no net namespace, but network.mode is "+r.out.Network.Mode.V, "add net, or set network.mode: host to share the host's network")
	}
}

func (r *resolver) hasNamespace(kind string) bool {
	return slices.ContainsFunc(r.out.Namespaces, func(n Namespace) bool { return n.Kind == kind })
}

func (r *resolver) offset(t Text, key string) time.Duration {
	if !t.Set {
		return 0
	}
	d, err := parseDuration(t.V, true)
	if err != nil {
		r.fail(t.Origin, key, err.cause, err.fix)
	}
	return d
}

// environment starts from a handful of variables every program expects; keep
// takes over, set adds, and unset beats both of its own and earlier files.
func (r *resolver) environment() {
	type entry struct {
		EnvVar
		rank int
	}
	vars := map[string]entry{}
	put := func(name, value string, kept bool, rank int, o Origin) {
		vars[name] = entry{EnvVar{name, value, kept, o}, rank}
	}
	put("HOME", r.host.Home, false, rankDefault, defaultOrigin)
	put("PATH", "/usr/local/bin:/usr/bin:/bin", false, rankDefault, defaultOrigin)
	if r.host.User != "" {
		put("USER", r.host.User, false, rankDefault, defaultOrigin)
		put("LOGNAME", r.host.User, false, rankDefault, defaultOrigin)
	}
	if term := r.host.Env["TERM"]; term != "" {
		put("TERM", term, true, rankDefault, defaultOrigin)
	}
	for _, v := range r.desktopEnv {
		vars[v.Name] = entry(v)
	}
	type unset struct {
		pattern string
		rank    int
	}
	var unsets []unset
	for _, p := range r.parts {
		for i, w := range p.Without.Environment.Items {
			if !r.takeVariables(p.rank, w.V, func(name string) bool {
				e, ok := vars[name]
				if ok && e.rank < p.rank {
					delete(vars, name)
				}
				return ok && e.rank < p.rank
			}, func(pattern string) bool {
				n := len(unsets)
				unsets = slices.DeleteFunc(unsets, func(u unset) bool { return u.rank < p.rank && u.pattern == pattern })
				return len(unsets) < n
			}) && w.Set {
				r.failWithout(p, "environment", i, w)
			}
		}
		for i, item := range p.Environment.Keep.Items {
			key := p.prefix + "environment.keep[" + strconv.Itoa(i) + "]"
			if !item.Value.Set || !r.checkEnvName(item.Value.Origin, key, item.Value.V, true) || !r.holds(item.When, key+".when") {
				continue
			}
			for name, value := range r.host.Env {
				if old, ok := vars[name]; matchWord(item.Value.V, name) && (!ok || old.rank <= p.rank) && validEnvValue(value) {
					put(name, value, true, p.rank, item.Value.Origin)
				}
			}
		}
		for _, e := range p.Environment.Set.Entries {
			key := p.prefix + "environment.set." + e.Key
			if !e.Value.Set || !r.checkEnvName(e.KeyOrigin, key, e.Key, false) {
				continue
			}
			value, ok := r.text(e.Value, key)
			if ok && !validEnvValue(value) {
				r.fail(e.Value.Origin, key, "the value holds a NUL byte", "no variable can")
				continue
			}
			put(e.Key, value, false, p.rank, e.Value.Origin)
		}
		for i, item := range p.Environment.Unset.Items {
			key := p.prefix + "environment.unset[" + strconv.Itoa(i) + "]"
			if item.Value.Set && r.checkEnvName(item.Value.Origin, key, item.Value.V, true) && r.holds(item.When, key+".when") {
				unsets = append(unsets, unset{item.Value.V, p.rank})
			}
		}
	}
	for name, e := range vars {
		// A later file names the variable again when it sets it, or keeps it by its
		// very name; a later pattern does not undo an unset.
		hidden := slices.ContainsFunc(unsets, func(u unset) bool {
			return matchWord(u.pattern, name) && (u.rank >= e.rank || !r.namesVariable(name, u.rank))
		})
		if !hidden {
			r.out.Environment = append(r.out.Environment, e.EnvVar)
		}
	}
	slices.SortFunc(r.out.Environment, func(a, b EnvVar) int { return strings.Compare(a.Name, b.Name) })
}

// takeVariables applies one name of without.environment: to variables of that
// name or pattern, and to an `unset` entry of that text.
func (r *resolver) takeVariables(rank int, pattern string, take, takeUnset func(string) bool) bool {
	found := takeUnset(pattern)
	if !strings.ContainsAny(pattern, "*?") {
		found = take(pattern) || found
	}
	for _, p := range append(slices.Clone(r.parts), r.dormant...) {
		if p.rank >= rank {
			continue
		}
		for _, item := range p.Environment.Keep.Items {
			if item.Value.V != pattern {
				continue
			}
			found = true
			for name := range r.host.Env {
				if matchWord(pattern, name) {
					take(name)
				}
			}
		}
		for _, e := range p.Environment.Set.Entries {
			found = found || e.Key == pattern
		}
	}
	return found
}

func (r *resolver) namesVariable(name string, after int) bool {
	for _, p := range r.parts {
		if p.rank <= after {
			continue
		}
		for _, e := range p.Environment.Set.Entries {
			if e.Key == name {
				return true
			}
		}
		for _, i := range p.Environment.Keep.Items {
			if i.Value.V == name {
				return true
			}
		}
	}
	return false
}

func validEnvValue(s string) bool { return strings.IndexByte(s, 0) < 0 }

func (r *resolver) checkEnvName(o Origin, key, name string, pattern bool) bool {
	switch {
	case name == "":
		r.fail(o, key, "an empty variable name", "")
	case strings.ContainsAny(name, "=\x00"):
		r.fail(o, key, quote(name)+" is not a variable's name", "a value is given under environment.set, as NAME: value")
	case !pattern && strings.ContainsAny(name, "*?"):
		r.fail(o, key, quote(name)+" is a pattern", "patterns work in keep and unset")
	default:
		return true
	}
	return false
}

// capabilities are those listed, canonical and once each.
func (r *resolver) capabilities() {
	items := mergeList(r, "capabilities",
		func(f *Fragment) *List[Item] { return &f.Capabilities },
		func(f *Fragment) *List[Text] { return &f.Without.Capabilities },
		itemWhen, func(i Item, name string) bool { return capabilityName(i.Value.V) == capabilityName(name) })
	for _, e := range active(items) {
		v := e.item.Value
		if !v.Set {
			continue
		}
		name := capabilityName(v.V)
		if !slices.Contains(capabilityNames[:], name) {
			r.fail(v.Origin, e.key, quote(v.V)+" is not a capability", orElse(didYouMean(name, capabilityNames[:]), "capabilities(7) lists them"))
			continue
		}
		r.out.Capabilities = slices.DeleteFunc(r.out.Capabilities, func(n Named) bool { return n.Name == name })
		r.out.Capabilities = append(r.out.Capabilities, Named{name, v.Origin})
	}
	slices.SortFunc(r.out.Capabilities, func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
}

func capabilityName(s string) string {
	s = strings.ToUpper(s)
	if !strings.HasPrefix(s, "CAP_") {
		s = "CAP_" + s
	}
	return s
}

// capabilityNames is capabilities(7) up to Linux 6.18.
var capabilityNames = [...]string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
	"CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE",
	"CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
	"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM",
}

// A protection is a layer that `enforcement` can name.
type protection struct {
	name, doc string
	// levels are what it can be beside `require`, which every layer can.
	levels []string
	// fix is what to do in place of a level that it cannot have.
	fix string
}

// layers are all of them. A layer that is not here is always required.
var layers = [...]protection{
	{"landlock", "the second barrier on files, by Landlock (Linux 5.19)", []string{"prefer", "off"}, ""},
	{"namespaces", "the namespaces; with prefer the program runs with Landlock alone where none can be had (Linux 6.12), if that gives all that the profile's lines ask for", []string{"prefer"}, "for a machine that lets none be made write prefer"},
	{"seccomp", "the filter of system calls; every kernel that jail runs on can have it", []string{"off"}, "leave it required, or write off for no filter at all"},
	{"limits", "the cgroup limits", []string{"prefer", "off"}, ""},
	{"dbus", "the filter on the message buses; with prefer there is no bus where xdg-dbus-proxy is missing", []string{"prefer"}, "an open bus is a way out of the sandbox; for no bus take what desktop grants on it out"},
	{"hide", "that all names of a hidden file are known; with prefer a file with more hard links than jail finds is warned of", []string{"prefer"}, "take the hide entry out with 'without'"},
	{"egress", "the rules of what may leave the network", nil, "for a network without rules write 'network: {mode: host}'"},
	{"cgroup", "the cgroup namespace", nil, "take cgroup out of namespaces"},
	{"time", "the time namespace (Linux 5.6)", nil, "take time out of namespaces"},
	{"scheduling", "nice, oom-score and cpu-affinity", nil, "take the key out of process"},
	{"groups", "dropping the caller's supplementary groups; where only the user's own ids are mapped the kernel keeps them (user_namespaces(7))", nil, "process.groups names the groups to have"},
}

func (r *resolver) enforcement() {
	names := make([]string, len(layers))
	for i := range layers {
		names[i] = layers[i].name
	}
	merged := map[string]Text{}
	for _, p := range r.parts {
		for i, w := range p.Without.Enforcement.Items {
			if _, ok := merged[w.V]; !ok && w.Set {
				r.failWithout(p, "enforcement", i, w)
			}
			delete(merged, w.V)
		}
		for _, e := range p.Enforcement.Entries {
			key := p.prefix + "enforcement." + e.Key
			switch {
			case !slices.Contains(names, e.Key):
				r.fail(e.KeyOrigin, key, quote(e.Key)+" is not a layer", orElse(didYouMean(e.Key, names), "one of "+strings.Join(names, ", ")))
			case e.Value.V != "require" && e.Value.V != "prefer" && e.Value.V != "off":
				if e.Value.Set {
					r.fail(e.Value.Origin, key, quote(e.Value.V)+" is not a value this key takes", "one of require, prefer, off")
				}
			default:
				l := &layers[slices.Index(names, e.Key)]
				if e.Value.V != "require" && !slices.Contains(l.levels, e.Value.V) {
					r.fail(e.Value.Origin, key, l.name+" cannot be "+e.Value.V, l.fix)
					continue
				}
				merged[e.Key] = e.Value
			}
		}
	}
	for _, name := range names {
		if v, ok := merged[name]; ok && v.V != "require" {
			r.out.Enforcement = append(r.out.Enforcement, Enforcement{name, v.V, v.Origin})
			if name == "seccomp" {
				r.warn(v.Origin, "enforcement.seccomp", "there is no filter of system calls: the program may make every call that this kernel has, and what syscalls says is without effect",
					"take it out; a single call is allowed under syscalls.allow")
			}
		}
	}
}

// level is what `enforcement` says of a layer: require, prefer or off.
func (r *Resolved) level(layer string) string {
	for _, e := range r.Enforcement {
		if e.Layer == layer {
			return e.Level
		}
	}
	return "require"
}
