package audit

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/audit/check"
	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

// Promises tells for each check whether a spec means it to go through, in the words of a profile, and "" where the spec
// promises that it does not. landlock is the version of the kernel's Landlock; alone says that the machine lets no
// namespaces be made and the spec does without.
func Promises(spec *specs.Spec, bait *check.Bait, landlock int, alone bool) func(check.Check) string {
	p := &promises{spec: spec, bait: bait, landlock: landlock, numbers: map[string]uint32{}, tables: map[string]*rules.Table{}}
	p.readFilter()
	return func(c check.Check) string {
		if alone && lostAlone(c) {
			return "enforcement: {namespaces: prefer}, and this machine lets none be made"
		}
		for _, g := range c.Grant {
			if reason := p.granted(g); reason != "" {
				return reason
			}
		}
		return ""
	}
}

type promises struct {
	spec     *specs.Spec
	bait     *check.Bait
	landlock int
	numbers  map[string]uint32       // of the calls that the filter names
	tables   map[string]*rules.Table // what the filter answers, by the way into the kernel
}

func (p *promises) granted(key string) string {
	kind, what, _ := strings.Cut(key, ":")
	switch kind {
	case "ns":
		if !p.has(specs.LinuxNamespaceType(what)) {
			return "namespaces: " + what + " is not listed"
		}
	case "net":
		return p.network(what)
	case "abstract":
		if !p.has(specs.NetworkNamespace) && (p.landlock < 6 || p.level("landlock") == "off") {
			return "network: {mode: host}, where nothing shuts abstract sockets off (Landlock of Linux 6.12)"
		}
	case "call":
		return p.call(what)
	case "seccomp":
		if p.spec.Linux == nil || p.spec.Linux.Seccomp == nil {
			return "enforcement: {seccomp: off}"
		}
	case "landlock":
		switch level := p.level("landlock"); {
		case level == "off":
			return "enforcement: {landlock: off}"
		case p.landlock < 2 && level == "prefer":
			return "enforcement: {landlock: prefer}, and this kernel has none that serves"
		}
	case "caps", "cap":
		return p.capability(what)
	case "nnp":
		if !p.spec.Process.NoNewPrivileges {
			return "process: {no-new-privileges: false}"
		}
	case "groups":
		// user_namespaces(7): the kernel lets no groups be dropped where one's own id is all that is mapped.
		if p.has(specs.UserNamespace) && len(p.spec.Linux.UIDMappings) == 1 && p.spec.Linux.UIDMappings[0].Size == 1 {
			return "nothing: the kernel lets an ordinary user drop no groups (docs/threat-model.md)"
		}
	case "root":
		if p.bait.UID == 0 {
			return "jail itself was started as root"
		}
	case "terminal":
		if p.spec.Annotations["dev.jail.terminal"] == "never" {
			return "process: {terminal: never}"
		}
	case "read", "write":
		return p.file(p.path(what), kind == "write")
	case "below":
		return p.below(p.path(what))
	case "device", "devices":
		return p.device(what)
	case "env":
		for _, e := range p.spec.Process.Env {
			if strings.HasPrefix(e, what+"=") {
				return "environment: " + what
			}
		}
	case "limit":
		return p.limit(what)
	case "rlimit":
		if !slices.ContainsFunc(p.spec.Process.Rlimits, func(r specs.POSIXRlimit) bool { return r.Type == what }) {
			return "no rlimits: " + strings.ToLower(strings.TrimPrefix(what, "RLIMIT_"))
		}
	}
	return ""
}

// lostAlone tells whether it takes namespaces to keep a program from what a check tries. All else is promised without
// them, too: to see a process is one thing, to signal it another.
func lostAlone(c check.Check) bool {
	name := strings.TrimPrefix(c.ID, c.Group+"/")
	switch c.Group {
	case check.Files:
		return name == "list-home" || name == "run" // both ask whether a name is there
	case check.Mounts:
		return slices.Contains([]string{"root", "suid", "dev", "rw-usr", "shared", "debugfs", "mountinfo"}, name)
	case check.Namespaces:
		return slices.Contains([]string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "hostname"}, name)
	case check.Kernel:
		return strings.HasPrefix(name, "read-/proc/") || name == "pid-list"
	case check.Terminal:
		return name == "pts"
	case check.Processes:
		return slices.Contains([]string{"pidfd-signal", "scheduler", "all", "parent"}, name) // all of them look
	case check.Privileges:
		return name == "CapBnd" || name == "securebits" // an ordinary user can drop neither
	case check.IPC:
		return strings.HasPrefix(name, "list-")
	case check.Cgroups:
		return name == "path" || name == "other-groups" // the second asks whether a name is there
	}
	return false
}

func (p *promises) has(kind specs.LinuxNamespaceType) bool {
	return p.spec.Linux != nil && slices.ContainsFunc(p.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// level is what the profile says of a layer of protection; "" is required.
func (p *promises) level(layer string) string {
	levels := map[string]string{}
	_ = json.Unmarshal([]byte(p.spec.Annotations["dev.jail.enforcement"]), &levels) // a bundle made elsewhere has none
	return levels[layer]
}

func (p *promises) network(mode string) string {
	var annotation struct {
		Mode string `json:"mode"`
	}
	_ = json.Unmarshal([]byte(p.spec.Annotations["dev.jail.network"]), &annotation)
	switch {
	case mode == "host" && !p.has(specs.NetworkNamespace):
		return "network: {mode: host}"
	case mode == "veth" && annotation.Mode != "" && annotation.Mode != "none" && annotation.Mode != "host":
		return "network: {mode: " + annotation.Mode + "}; where it leads, its egress rules say"
	}
	return ""
}

// call tells whether the filter lets a call with its arguments through.
func (p *promises) call(what string) string {
	if p.spec.Linux == nil || p.spec.Linux.Seccomp == nil {
		return "enforcement: {seccomp: off}"
	}
	name, abi, args, ok := check.ReadCall(what)
	table := p.tables[abi]
	if !ok || table == nil {
		return ""
	}
	switch table.Verdict(p.numbers[name], &args) & bpf.RetActionMask {
	case bpf.RetAllow, bpf.RetLog:
		return "syscalls: allows " + name + " by the " + abi + " interface"
	}
	return ""
}

// readFilter reads the rules of the spec for each way into the kernel. Which numbers the calls have does not matter
// here: each name gets one.
func (p *promises) readFilter() {
	if p.spec.Linux == nil || p.spec.Linux.Seccomp == nil {
		return
	}
	set, err := rules.Read(p.spec.Linux.Seccomp)
	if err != nil {
		return // and such a spec is not run
	}
	tables, err := set.Tables(func(name string, _ rules.Arch) (uint32, bool) {
		if _, ok := p.numbers[name]; !ok {
			p.numbers[name] = uint32(len(p.numbers)) + 1
		}
		return p.numbers[name], true
	})
	if err != nil {
		return
	}
	for i, t := range tables {
		abi := "native"
		switch t.Arch.Name {
		case specs.ArchX86:
			abi = "i386"
		case specs.ArchX32:
			abi = "x32"
		}
		p.tables[abi] = &tables[i]
	}
}

func (p *promises) capability(name string) string {
	caps := p.spec.Process.Capabilities
	if caps == nil {
		return ""
	}
	all := slices.Concat(caps.Bounding, caps.Effective)
	if name == "" && len(all) > 0 || name != "" && slices.Contains(all, "CAP_"+name) {
		return "capabilities: " + strings.Join(caps.Effective, ", ")
	}
	return ""
}

// path turns the words that checks use into a path of the outside.
func (p *promises) path(what string) string {
	switch {
	case what == "temp":
		return p.bait.Temp
	case what == "varTemp":
		return p.bait.VarTemp
	case what == "shm":
		return p.bait.ShmFile
	case what == "stderr":
		return p.bait.Stderr
	case what == "runtime":
		return p.bait.Runtime
	case what == "~" || strings.HasPrefix(what, "~/"):
		return path.Join(p.bait.Home, strings.TrimPrefix(what, "~"))
	}
	return what
}

// file tells whether a mount shows a file of the host's under its own path.
func (p *promises) file(at string, write bool) string {
	if p.spec.Linux != nil && slices.Contains(p.spec.Linux.MaskedPaths, at) {
		return ""
	}
	var found *specs.Mount
	for i, m := range p.spec.Mounts {
		if below(m.Destination, at) && (found == nil || len(m.Destination) >= len(found.Destination)) {
			found = &p.spec.Mounts[i]
		}
	}
	switch {
	case found == nil && p.spec.Root != nil && p.spec.Root.Path == "/" && !(write && p.spec.Root.Readonly):
		return "filesystem: the machine's root"
	case found == nil:
		return ""
	case found.Type == "sysfs" && !write:
		return "filesystem: " + found.Destination
	case found.Type != "bind" && found.Type != "none" && !slices.Contains(found.Options, "rbind"):
		return ""
	case path.Join(found.Source, strings.TrimPrefix(at, found.Destination)) != path.Clean(at):
		return ""
	case write && (slices.Contains(found.Options, "ro") || slices.Contains(found.Options, "rro")):
		return ""
	}
	return "filesystem: " + found.Destination
}

// below tells whether a file lies below a folder that is shown, though something else may be mounted over it inside:
// Landlock's rules go by the folder.
func (p *promises) below(file string) string {
	for _, m := range p.spec.Mounts {
		if path.IsAbs(m.Source) && (m.Type == "bind" || slices.Contains(m.Options, "rbind")) && below(m.Source, file) {
			return "filesystem: " + m.Destination + "; Landlock knows no exception for what is mounted over a part of it"
		}
	}
	return ""
}

func below(dir, file string) bool {
	return dir == "/" || file == dir || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}

func (p *promises) device(name string) string {
	for _, m := range p.spec.Mounts {
		if m.Type == "bind" && strings.HasPrefix(m.Source, "/dev/") && (name == "" || m.Source == name || below(m.Source, name)) {
			return "devices: " + m.Source
		}
		if m.Type == "bind" && m.Source == "/dev" {
			return "filesystem: /dev"
		}
	}
	if name != "" {
		return p.file(name, false)
	}
	return ""
}

func (p *promises) limit(what string) string {
	var r *specs.LinuxResources
	if p.spec.Linux != nil {
		r = p.spec.Linux.Resources
	}
	given := r != nil && (what == "memory" && r.Memory != nil && r.Memory.Limit != nil ||
		what == "pids" && r.Pids != nil || what == "cpu" && r.CPU != nil && r.CPU.Quota != nil ||
		r.Unified[what+".max"] != "")
	switch {
	case !given:
		return fmt.Sprintf("no limits: %s", what)
	case p.level("limits") == "prefer" || p.level("limits") == "off":
		return "enforcement: {limits: " + p.level("limits") + "}"
	}
	return ""
}
