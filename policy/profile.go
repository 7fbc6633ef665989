package policy

import "slices"

// Profile is a profile as written: the chain of files that `extends` leads to,
// base first, and the command line on top.
type Profile struct {
	// Ref is what the profile was asked for by, Name what its file calls it (or
	// the file's own name).
	Ref, Name string
	Layers    []*Layer
	notes     []Problem // what Load has to say beside problems
}

// Layer is one file of a profile, or the command line.
type Layer struct {
	File    string // as Origin.File
	Path    string // on the host; "" for a shipped profile and the command line
	Doc     *Document
	project bool // the file of the working directory
	// tightens marks a project file that nobody approved, see setAside.
	tightens bool
}

// Document is one YAML profile.
type Document struct {
	Version     Number     `key:"version" doc:"The version of the profile language: 1."`
	Name        Text       `key:"name" as:"name" doc:"The profile's name, 1 to 64 of the characters A-Z a-z 0-9 _ . and -. Default: the file's name without .yaml."`
	Description Text       `key:"description" doc:"One or two sentences on what the profile is for, shown by 'jail profiles'."`
	Programs    List[Text] `key:"programs" as:"word" doc:"The programs that are run with this profile when none is named. Default: the one of the file's name. [] for none, as a profile to build others on has it."`
	Extends     List[Text] `key:"extends" doc:"Profiles this one builds on, in order. A name is looked up on the search path; a text that ends in .yaml is a file relative to this one."`
	Fragment
	When List[WhenBlock] `key:"when" doc:"Parts of the profile that count only under a condition. A block counts as the last part of its file."`
}

// Fragment is the part of a document that may also stand in a `when:` block.
type Fragment struct {
	Without      Without              `key:"without" doc:"Takes away, by name, what the profiles under 'extends' grant. It is applied before this file's own entries. A name that takes away nothing is an error."`
	Vars         Map[Text]            `key:"vars" doc:"Variables for use as ${NAME} in this profile and those it extends. They win over the environment; a later file wins over an earlier one."`
	Namespaces   List[NamespaceItem]  `key:"namespaces" doc:"What the program gets for itself instead of sharing it with the host: user, mount, pid, ipc, uts, cgroup, net, time. Default: all but time. The lists of all files add up, and replace the default."`
	Filesystem   List[FilesystemItem] `key:"filesystem" doc:"The program's file tree. It starts empty, with a new /proc, /dev and /tmp; each entry puts one thing at one path."`
	Devices      List[Item]           `key:"devices" doc:"Devices the program may use: the sets gpu, sound, camera, gamepad, input, kvm, fuse, tun, usb, serial (what of a set this machine has), or a path below /dev."`
	Desktop      DesktopSection       `key:"desktop" doc:"What of the desktop session the program gets."`
	Environment  EnvironmentSection   `key:"environment" doc:"The program's environment. It starts with HOME, USER, LOGNAME, PATH and TERM only."`
	Limits       LimitsSection        `key:"limits" doc:"Limits of the whole sandbox, kept by cgroups."`
	Rlimits      Map[RlimitValue]     `key:"rlimits" doc:"Limits of each process (setrlimit(2)), by name without RLIMIT_: a number, a size, unlimited, or {soft, hard}."`
	Capabilities List[Item]           `key:"capabilities" doc:"Capabilities the program keeps, with or without CAP_. Default: none."`
	Syscalls     SyscallsSection      `key:"syscalls" doc:"System calls the program may make. It is a list of what is allowed."`
	Network      NetworkSection       `key:"network" doc:"What the program can reach. Default: nothing but its own loopback."`
	Process      ProcessSection       `key:"process" doc:"How the program is started."`
	Enforcement  Map[Text]            `key:"enforcement" doc:"What to do where a layer of protection cannot be had on a machine: require (refuse to start; the default), prefer (warn and go on), off."`
}

// WhenBlock is one entry of the `when:` list.
type WhenBlock struct {
	Origin Origin
	If     *When    `key:"if" required:"true" doc:"The condition."`
	Then   Fragment `key:"then" required:"true" doc:"What counts when it holds. Every key of a profile but version, name, description, programs, extends and when."`
}

// When is a condition; all of its keys must hold.
type When struct {
	Origin  Origin
	Exists  List[Text] `key:"exists" as:"path" doc:"A path, or a list of paths, that must exist on the host."`
	Env     List[Text] `key:"env" doc:"A variable, or a list of them, that must be set and not empty. NAME=VALUE asks for a value."`
	Command List[Text] `key:"command" as:"word" doc:"A program, or a list of them, that must be found on PATH."`
	Session List[Text] `key:"session" enum:"wayland,x11,none" doc:"The kind of desktop session: wayland, x11, none. A list means one of them."`
	User    Text       `key:"user" enum:"root,ordinary" doc:"Who starts jail: root or ordinary."`
	Arch    List[Text] `key:"arch" as:"word" doc:"The machine, as Go names it: amd64, arm64, ... A list means one of them."`
	Cwd     Text       `key:"cwd" enum:"own" doc:"own: jail is started in a folder of the caller's that can be granted whole: not the home directory or one above it, none of its folders with a leading dot, none that is shared as /tmp is."`
	Not     *When      `key:"not" doc:"A condition that must not hold."`
}

// Item is an entry of a list of words: the word itself, or {value, when}.
type Item struct {
	Origin   Origin
	Value    Text  `key:"value" required:"true" doc:"The entry."`
	Optional Flag  `key:"optional" doc:"Leave the entry out where this machine does not have it (devices only)."`
	When     *When `key:"when" doc:"The entry counts only under this condition."`
}

// NamespaceItem is a namespace: its name, or a mapping for a time namespace.
type NamespaceItem struct {
	Origin    Origin
	Value     Text  `key:"value" required:"true" enum:"user,mount,pid,ipc,uts,cgroup,net,time" doc:"The namespace."`
	Monotonic Text  `key:"monotonic" as:"duration" doc:"time only: what to add to the monotonic clock, as 1h or -30s."`
	Boottime  Text  `key:"boottime" as:"duration" doc:"time only: what to add to the boot-time clock."`
	When      *When `key:"when" doc:"The entry counts only under this condition."`
}

// FilesystemItem is one entry of `filesystem`. Exactly one of mode, persist,
// tmpfs, overlay, content, symlink, dir and hide says what it is.
type FilesystemItem struct {
	Origin   Origin
	Path     Text         `key:"path" required:"true" as:"path" doc:"Where the program finds it: absolute, or from ~. In a hide entry * ? [] and ** are patterns."`
	Mode     Text         `key:"mode" enum:"ro,rw" doc:"Shows the host's file or directory: ro (read-only, through everything mounted below) or rw."`
	Source   Text         `key:"source" as:"path" doc:"The path on the host, where it is not the same as path. With mode or overlay."`
	Persist  Text         `key:"persist" as:"name" doc:"A directory of its own that jail keeps between runs, by name. Profiles that use one name share it."`
	Tmpfs    *TmpfsSpec   `key:"tmpfs" doc:"An empty file system in memory: true, or {size, mode}."`
	Overlay  *OverlaySpec `key:"overlay" doc:"The host's directory with a layer above it that takes what is written: discard, or {keep: DIR}, or {layers: [DIR, ...]}."`
	Content  *ContentSpec `key:"content" doc:"A read-only file with this text, or {text, mode}. Variables are expanded; $${ stands for ${."`
	Symlink  Text         `key:"symlink" as:"path" doc:"A symbolic link to this text."`
	Dir      *DirSpec     `key:"dir" doc:"An empty directory: true, or {mode}."`
	Hide     Flag         `key:"hide" doc:"true: the program finds an empty file or directory here, whatever other entries of this file or those it extends grant."`
	Optional Flag         `key:"optional" doc:"Leave the entry out where the source does not exist."`
	Options  List[Text]   `key:"options" enum:"noexec,nosuid,nodev,nosymfollow,noatime,nodiratime,norecursive" doc:"Mount options: noexec, nosymfollow, noatime, nodiratime; norecursive leaves out what is mounted below the source. nosuid and nodev hold always."`
	When     *When        `key:"when" doc:"The entry counts only under this condition."`
}

// TmpfsSpec is the value of `tmpfs`.
type TmpfsSpec struct {
	Origin Origin
	On     Flag
	Size   Text `key:"size" as:"size" doc:"The most it may hold, as 512M or 1G. Default: half of the memory."`
	Mode   Text `key:"mode" as:"mode" doc:"Permission bits in octal, in quotes: \"1777\". Default: \"0755\"."`
}

// OverlaySpec is the value of `overlay`.
type OverlaySpec struct {
	Origin  Origin
	Discard Flag       `key:"discard" doc:"true: what is written is thrown away at the end. 'overlay: discard' is short for it."`
	Keep    Text       `key:"keep" as:"path" doc:"A directory of the host that keeps what is written."`
	Layers  List[Text] `key:"layers" as:"path" doc:"Directories to lay over each other, the lowest first. Default: the entry's source. Without discard and keep the whole is read-only."`
}

// ContentSpec is the value of `content`.
type ContentSpec struct {
	Origin Origin
	Text   Text `key:"text" required:"true" doc:"The text."`
	Mode   Text `key:"mode" as:"mode" doc:"Permission bits in octal, in quotes. Default: \"0644\"."`
}

// DirSpec is the value of `dir`.
type DirSpec struct {
	Origin Origin
	On     Flag
	Mode   Text `key:"mode" as:"mode" doc:"Permission bits in octal, in quotes. Default: \"0755\"."`
}

// Without is what to take away of what was inherited.
type Without struct {
	Origin       Origin
	Filesystem   List[Text] `key:"filesystem" as:"path" doc:"Entries by their path, hide entries and default mounts (/tmp) too."`
	Devices      List[Text] `key:"devices" doc:"Entries of devices."`
	Namespaces   List[Text] `key:"namespaces" doc:"Namespaces; the program then shares the host's."`
	Desktop      List[Text] `key:"desktop" doc:"Keys of desktop."`
	Environment  List[Text] `key:"environment" doc:"Variables, as set, keep or unset has them."`
	Limits       List[Text] `key:"limits" doc:"Keys of limits."`
	Rlimits      List[Text] `key:"rlimits" doc:"Names of rlimits."`
	Capabilities List[Text] `key:"capabilities" doc:"Capabilities."`
	Syscalls     List[Text] `key:"syscalls" doc:"Calls and groups. A single call is taken out of inherited groups too."`
	Egress       List[Text] `key:"egress" doc:"Rules of network.egress, by their text without allow or deny; 'all' for every rule."`
	Publish      List[Text] `key:"publish" doc:"Entries of network.publish."`
	Process      List[Text] `key:"process" doc:"Keys of process; they go back to their default."`
	Enforcement  List[Text] `key:"enforcement" doc:"Layers; they go back to require."`
}

// DesktopSection is the value of `desktop`.
type DesktopSection struct {
	Origin        Origin
	Wayland       Flag         `key:"wayland" doc:"The session's Wayland display, without what lets a program watch or steer others (screen copies, virtual keyboards): by a security context where the compositor offers one, through a filter where it does not."`
	X11           Text         `key:"x11" enum:"true,false,fallback,shared" doc:"An X11 display: true (a nested server of its own, Xephyr or Xwayland, in a window), fallback (the same, only where there is no Wayland display), shared (the session's own display, where a program reads every key and sees every window), false."`
	PulseAudio    Flag         `key:"pulseaudio" doc:"The PulseAudio socket, for sound in and out."`
	PipeWire      Flag         `key:"pipewire" doc:"The PipeWire socket: sound in and out, and the cameras that PipeWire offers."`
	DBus          *DBusSection `key:"dbus" doc:"Names on the session bus and the system bus, through a filter."`
	Portals       Flag         `key:"portals" doc:"The session's portals over D-Bus: file chooser, settings, notifications, printing, inhibiting sleep. A file the user chooses appears in the program's runtime directory. Opening links is a key of its own."`
	Notifications Flag         `key:"notifications" doc:"Notifications: short for talk to org.freedesktop.Notifications."`
	Keyring       Flag         `key:"keyring" doc:"The session's password store (org.freedesktop.secrets): every password in it, not only the program's own."`
	Links         Flag         `key:"links" doc:"Opening http, https and mailto links in the browser or mail program of the session, outside."`
	Fonts         Flag         `key:"fonts" doc:"Fonts: the system's settings and index, and your own fonts, read-only."`
	Themes        Flag         `key:"themes" doc:"The look of windows: settings of GTK and Qt, icons, cursors and themes of yours, read-only."`
	Locale        Flag         `key:"locale" doc:"Language, formats and time zone of the session."`
	Printing      Flag         `key:"printing" doc:"The printing service CUPS, its socket and settings."`
}

// DBusSection is the value of `desktop.dbus`: rules for the session bus, and
// those for the system bus in a section of their own.
type DBusSection struct {
	Origin Origin
	BusRules
	System *SystemBusSection `key:"system" doc:"The same lists for the system bus."`
}

// SystemBusSection is the value of `desktop.dbus.system`.
type SystemBusSection struct {
	Origin Origin
	BusRules
}

// BusRules say what a program may do on one bus.
type BusRules struct {
	Talk      List[Text] `key:"talk" doc:"Names the program may call, start and hear from, as org.freedesktop.Notifications or org.example.*."`
	Own       List[Text] `key:"own" doc:"Names the program may own."`
	See       List[Text] `key:"see" doc:"Names the program may see, and nothing more."`
	Call      List[Text] `key:"call" doc:"Single calls of a name: NAME=METHOD@PATH, as org.example.App=org.example.App.*@/org/*. Either of METHOD and @PATH may be left out."`
	Broadcast List[Text] `key:"broadcast" doc:"Signals to all that the program may hear: NAME=SIGNAL@PATH, written as in call."`
}

// EnvironmentSection is the value of `environment`.
type EnvironmentSection struct {
	Origin Origin
	Keep   List[Item] `key:"keep" doc:"Variables to take over from the caller, by name or pattern (LC_*)."`
	Set    Map[Text]  `key:"set" doc:"Variables to set. Values may use variables."`
	Unset  List[Item] `key:"unset" doc:"Variables, by name or pattern, that the program does not get, whatever this file or those it extends keep or set."`
}

// RlimitValue is a limit of `rlimits`: one value for both, or soft and hard.
type RlimitValue struct {
	Origin Origin
	Soft   Text `key:"soft" as:"rlimit" doc:"The limit that holds."`
	Hard   Text `key:"hard" as:"rlimit" doc:"The most the program may raise it to. Default: soft."`
}

// LimitsSection is the value of `limits`.
type LimitsSection struct {
	Origin     Origin
	Memory     Text         `key:"memory" as:"limit-size" doc:"The most memory, as 4G; above it the kernel kills. max for no limit."`
	MemoryHigh Text         `key:"memory-high" as:"limit-size" doc:"Above this the program is slowed down and its memory reclaimed. Not above memory."`
	MemoryLow  Text         `key:"memory-low" as:"limit-size" doc:"Memory that is reclaimed only when there is no other way."`
	Swap       Text         `key:"swap" as:"limit-size" doc:"The most swap beside memory. 0 for none."`
	CPU        Text         `key:"cpu" as:"cpu" doc:"Processor time: 200% or 2 for two processors' worth."`
	CPUWeight  Number       `key:"cpu-weight" doc:"The share against others when processors are scarce, 1 to 10000, default 100."`
	CPUs       Text         `key:"cpus" as:"cpuset" doc:"The processors it may run on, as 0-3,8."`
	Mems       Text         `key:"mems" as:"cpuset" doc:"The memory nodes it may use, as 0-1."`
	Pids       Text         `key:"pids" as:"limit-count" doc:"The most processes and threads."`
	IO         List[IOItem] `key:"io" doc:"Limits by block device."`
	IOWeight   Number       `key:"io-weight" doc:"The share of disk time against others, 1 to 10000, default 100."`
	HugePages  Map[Text]    `key:"hugepages" as:"limit-size" doc:"The most huge pages, by page size: {2M: 1G}."`
	OOMGroup   Flag         `key:"oom-group" doc:"true: when memory runs out, all processes are killed together."`
}

// IOItem is one entry of `limits.io`.
type IOItem struct {
	Origin   Origin
	Device   Text   `key:"device" required:"true" as:"path" doc:"A block device, as /dev/sda."`
	Read     Text   `key:"read" as:"rate" doc:"The most read, as 50MB/s."`
	Write    Text   `key:"write" as:"rate" doc:"The most written, as 50MB/s."`
	ReadOps  Text   `key:"read-ops" as:"ops" doc:"The most reads a second, as 1000 or 1000/s."`
	WriteOps Text   `key:"write-ops" as:"ops" doc:"The most writes a second."`
	Weight   Number `key:"weight" doc:"The share on this device, 1 to 10000."`
	When     *When  `key:"when" doc:"The entry counts only under this condition."`
}

// SyscallsSection is the value of `syscalls`.
type SyscallsSection struct {
	Origin        Origin
	Default       Text              `key:"default" as:"action" doc:"The answer to a call that is known but not allowed: an errno such as EPERM (the default), kill, kill-thread, trap, or log (let it pass and log it)."`
	Allow         List[Item]        `key:"allow" doc:"Calls and groups (@default, @basic-io, ...) that are allowed."`
	Deny          List[Item]        `key:"deny" doc:"Calls and groups that are not, whatever this file or those it extends allow."`
	Rules         List[SyscallItem] `key:"rules" doc:"Calls decided by their arguments, or answered in another way."`
	Architectures List[Item]        `key:"architectures" enum:"x86,x86_64,x32,arm,aarch64,riscv64,ppc64le,s390x" doc:"Architectures beyond the machine's own whose calls are let through the same filter."`
}

// SyscallItem is one entry of `syscalls.rules`.
type SyscallItem struct {
	Origin Origin
	Names  List[Text]    `key:"names" required:"true" as:"word" doc:"Calls and groups the rule is for."`
	Args   List[ArgItem] `key:"args" doc:"Comparisons that must all hold for the rule to count."`
	Action Text          `key:"action" required:"true" as:"action" doc:"allow, an errno, kill, kill-thread, trap or log."`
	When   *When         `key:"when" doc:"The entry counts only under this condition."`
}

// ArgItem is one comparison of `syscalls.rules[].args`.
type ArgItem struct {
	Origin Origin
	Index  Number `key:"index" required:"true" doc:"The argument, 0 to 5."`
	Op     Text   `key:"op" enum:"eq,ne,lt,le,gt,ge,masked-eq" doc:"The comparison; default eq."`
	Value  Text   `key:"value" required:"true" as:"word" doc:"A number, or a constant such as AF_UNIX, several joined by |."`
	Mask   Text   `key:"mask" as:"word" doc:"masked-eq only: the bits that are compared."`
}

// NetworkSection is the value of `network`.
type NetworkSection struct {
	Origin    Origin
	Mode      Text              `key:"mode" enum:"none,host,veth,join" doc:"none: its own loopback only (the default). host: the host's network, unfiltered. veth: a network of its own, with egress deciding what it reaches. join: the network of a running sandbox."`
	Name      Text              `key:"name" as:"name" doc:"join: the sandbox whose network to use. veth: a named network, shared with other sandboxes that name it."`
	Egress    List[EgressItem]  `key:"egress" doc:"Rules in order, of which the first that matches decides; what matches none is refused. [] refuses everything."`
	Publish   List[Item]        `key:"publish" doc:"Ports of the host that lead inside: [ADDRESS:]PORT:PORT[/tcp|udp]. Without an address: those of the host's loopback, IPv4 and IPv6."`
	Bandwidth *BandwidthSection `key:"bandwidth" doc:"Limits of speed."`
	DNS       *DNSSection       `key:"dns" doc:"How names are resolved."`
	Uplink    Text              `key:"uplink" enum:"builtin,nat,pasta,slirp4netns" doc:"The way out. builtin (default): connections that jail makes for the program. nat: root only, the kernel forwards packets behind the host's addresses. pasta, slirp4netns: that program, which must be installed, and needs /dev/net/tun."`
	Address   List[Text]        `key:"address" doc:"Root only: the sandbox's own addresses on the bridge, macvlan or ipvlan, as 10.1.2.3/24, one IPv4 and one IPv6 at most."`
	Bridge    Text              `key:"bridge" as:"word" doc:"Root only: the bridge of the host to connect to."`
	MACVLAN   Text              `key:"macvlan" as:"word" doc:"Root only: the link of the host to put a macvlan on."`
	IPVLAN    Text              `key:"ipvlan" as:"word" doc:"Root only: the link of the host to put an ipvlan on."`
	CNI       Text              `key:"cni" as:"word" doc:"Root only: the CNI network, of those in /etc/cni/net.d, to be attached to."`
	MAC       Text              `key:"mac" as:"word" doc:"The hardware address inside."`
	MTU       Number            `key:"mtu" doc:"The largest packet, 1280 to 65520. Default: 65520."`
}

// EgressItem is one entry of `network.egress`: allow or deny.
type EgressItem struct {
	Origin Origin
	Allow  Text  `key:"allow" as:"word" doc:"A destination that may be reached: NAME, *.NAME, ADDRESS or CIDR, or any, private, host; then :PORT or :FIRST-LAST (several with commas), then /tcp, /udp or /icmp."`
	Deny   Text  `key:"deny" as:"word" doc:"A destination that may not."`
	When   *When `key:"when" doc:"The entry counts only under this condition."`
}

// BandwidthSection is the value of `network.bandwidth`.
type BandwidthSection struct {
	Origin Origin
	Down   Text `key:"down" as:"bitrate" doc:"The most that comes in, as 10Mbit/s or 1MB/s; from 8kbit/s to 100Gbit/s."`
	Up     Text `key:"up" as:"bitrate" doc:"The most that goes out."`
	Delay  Text `key:"delay" as:"duration" doc:"What is added to each packet's way, as 50ms; at most 10s."`
}

// DNSSection is the value of `network.dns`.
type DNSSection struct {
	Origin  Origin
	Servers List[Text] `key:"servers" as:"word" doc:"Addresses of resolvers to ask instead of the host's; a port may follow."`
	Search  List[Text] `key:"search" as:"word" doc:"Domains to try for short names."`
	Hosts   Map[Text]  `key:"hosts" doc:"Fixed addresses by name."`
}

// ProcessSection is the value of `process`.
type ProcessSection struct {
	Origin          Origin
	Cwd             Text          `key:"cwd" as:"path" doc:"The working directory inside. Default: the caller's where it can be seen inside, else the home directory, else /."`
	UID             Number        `key:"uid" doc:"The user id as seen inside. Default: the caller's."`
	GID             Number        `key:"gid" doc:"The group id as seen inside. Default: the caller's."`
	Groups          List[Number]  `key:"groups" doc:"Supplementary group ids as seen inside. Default: none. Each must be mapped (see id-ranges)."`
	IDRanges        *IDRangesSpec `key:"id-ranges" doc:"More ids than the caller's own: auto for all of /etc/subuid and /etc/subgid, or {uid: [...], gid: [...]}."`
	Umask           Text          `key:"umask" as:"mode" doc:"The umask in octal, in quotes. Default: the caller's."`
	Hostname        Text          `key:"hostname" as:"hostname" doc:"The host name inside. Needs the uts namespace. Default: jail."`
	Domainname      Text          `key:"domainname" as:"hostname" doc:"The NIS domain name inside. Needs the uts namespace."`
	Nice            Number        `key:"nice" doc:"The niceness, -20 to 19."`
	OOMScore        Number        `key:"oom-score" doc:"How soon the kernel picks it when memory runs out, -1000 to 1000 (oom_score_adj)."`
	CPUAffinity     Text          `key:"cpu-affinity" as:"cpuset" doc:"The processors it starts on, as 0-3,8. Unlike limits.cpus the program can change it."`
	Terminal        Text          `key:"terminal" enum:"auto,always,never" doc:"Whether it gets a terminal of its own: auto (when standard input is one; the default), always, never."`
	DieWithParent   Flag          `key:"die-with-parent" doc:"Whether the sandbox ends when the caller does. Default: true."`
	Timeout         Text          `key:"timeout" as:"duration" doc:"How long it may run, as 90s or 1h."`
	NoNewPrivileges Flag          `key:"no-new-privileges" doc:"Whether set-uid programs and file capabilities are without effect inside. Default: true."`
	NoDump          Flag          `key:"no-dump" doc:"Whether the kernel writes no core file of it and hands none to a program outside (RLIMIT_CORE 1, which it cannot change, core(5)). Default: false."`
	DenyWriteExec   Flag          `key:"memory-deny-write-execute" doc:"Whether memory that was writable can never be executed (PR_SET_MDWE, Linux 6.3). Programs that compile while they run, such as browsers and Java, do not work then. Default: false."`
	CoreScheduling  Flag          `key:"core-scheduling" doc:"Whether no other program runs on the second thread of its processor core at the same time (PR_SCHED_CORE, Linux 5.14). Default: false."`
	Proc            Text          `key:"proc" enum:"all,pid" doc:"What /proc shows: all (the default), or pid: its own processes and nothing of the kernel (subset=pid, Linux 5.8)."`
}

// IDRangesSpec is the value of `process.id-ranges`.
type IDRangesSpec struct {
	Origin Origin
	Auto   Flag
	UID    List[IDRangeItem] `key:"uid" doc:"Ranges of user ids."`
	GID    List[IDRangeItem] `key:"gid" doc:"Ranges of group ids."`
}

// IDRangeItem is one range of ids.
type IDRangeItem struct {
	Origin  Origin
	Inside  Number `key:"inside" required:"true" doc:"The first id inside."`
	Outside Number `key:"outside" required:"true" doc:"The first id on the host, from /etc/subuid or /etc/subgid."`
	Count   Number `key:"count" required:"true" doc:"How many."`
}

// AsksForLimits tells whether any of its files has limits: whoever has to look
// for a way to keep them can begin before Resolve.
func (p *Profile) AsksForLimits() bool {
	return slices.ContainsFunc(p.Layers, func(l *Layer) bool { return l.Doc.Limits.Origin != (Origin{}) })
}
