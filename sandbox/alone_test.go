package sandbox

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox/confine"
	"jail/sandbox/seccomp/bpf"
)

// aloneBundle is a profile that prefers namespaces, on a machine without, and asks for nothing that takes them.
func aloneBundle() *Bundle {
	b := profileBundle("")
	b.NoNamespaces = &Lack{"none here", "sudo make some"}
	b.Tree, b.Spec.Hostname = nil, "jail"
	b.Spec.Annotations[annotationEnforcement] = `{"namespaces":"prefer"}`
	b.Spec.Annotations[annotationOrigins] = `{"/root":"default","/hostname":"default","/mounts/0":"p.yaml:1:1","/mounts/1":"default","/mounts/2":"default",` +
		`"/mounts/3":"default","/mounts/4":"p.yaml:2:1","/mounts/5":"p.yaml:3:1","/root/x":"p.yaml:4:1","/linux/maskedPaths/1":"p.yaml:5:1","/linux/namespaces/0":"p.yaml:6:1",` +
		`"/linux/namespaces/5":"p.yaml:7:1","/annotations/dev.jail.enforcement/namespaces":"p.yaml:8:1","/process":"p.yaml:9:1","/linux/seccomp":"p.yaml:10:1"}`
	b.Spec.Linux.MaskedPaths = []string{"/proc/kcore"}
	b.Spec.Mounts[4] = specs.Mount{Destination: "/home/ann/work", Type: "bind", Source: "/home/ann/work", Options: []string{"rbind", "nosuid", "nodev"}}
	b.Spec.Process.Cwd = "/data/ann/work"
	return b
}

// grantsOf are the rules of a plan as "path rights", with r, w and x.
func grantsOf(t *testing.T, b *Bundle) map[string]string {
	t.Helper()
	plan, err := Compile(b, fakeFacts())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range rulesOf(plan).Rules {
		var s string
		for _, right := range []struct {
			bit uint64
			as  string
		}{{unix.LANDLOCK_ACCESS_FS_READ_FILE, "r"}, {unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "w"}, {unix.LANDLOCK_ACCESS_FS_EXECUTE, "x"},
			{unix.LANDLOCK_ACCESS_FS_READ_DIR, "d"}, {unix.LANDLOCK_ACCESS_FS_MAKE_REG, "m"}} {
			if r.Rights&right.bit != 0 {
				s += right.as
			}
		}
		got[r.Path] = s
	}
	return got
}

// What the profile grants is what Landlock grants, and around what is hidden it goes by what lies beside.
func TestAloneGrantsWhatTheMountsWouldShow(t *testing.T) {
	devices := map[string]string{"/dev/null": "rw", "/dev/zero": "rw", "/dev/full": "rw", "/dev/random": "rw", "/dev/urandom": "rw", "/dev/tty": "rw"}
	readOnly := func(b *Bundle) { b.Spec.Mounts[4].Options = append(b.Spec.Mounts[4].Options, "ro") }
	for name, c := range map[string]struct {
		change func(*Bundle)
		want   map[string]string
	}{
		"as it is":  {func(*Bundle) {}, map[string]string{"/usr": "rxd", "/proc": "rxd", "/data/ann/work": "rwxdm"}},
		"read-only": {readOnly, map[string]string{"/usr": "rxd", "/proc": "rxd", "/data/ann/work": "rxd"}},
		"no execution": {func(b *Bundle) { b.Spec.Mounts[4].Options = append(b.Spec.Mounts[4].Options, "noexec") },
			map[string]string{"/usr": "rxd", "/proc": "rxd", "/data/ann/work": "rwdm"}},
		"a hidden file": {func(b *Bundle) {
			readOnly(b)
			b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/home/ann/work/.env")
		}, map[string]string{"/usr": "rxd", "/proc": "rxd", "/data/ann/work": "d", "/data/ann/work/keys": "rxd"}},
		"a hidden folder, whose names are hidden with it": {func(b *Bundle) {
			readOnly(b)
			b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/home/ann/work/keys")
		}, map[string]string{"/usr": "rxd", "/proc": "rxd", "/data/ann/work/.env": "rx"}},
		"all is hidden": {func(b *Bundle) {
			b.Spec.Linux.MaskedPaths = append(b.Spec.Linux.MaskedPaths, "/home/ann/work")
		}, map[string]string{"/usr": "rxd", "/proc": "rxd"}},
		"the whole machine, but for what jail has of its own": {func(b *Bundle) {
			b.Spec.Mounts[4] = specs.Mount{Destination: "/", Type: "bind", Source: "/", Options: []string{"rbind", "ro", "nodev"}}
		}, map[string]string{"/usr": "rxd", "/proc": "rxd", "/data": "rxd", "/home": "rxd", "/srv": "rxd"}},
		"a device": {func(b *Bundle) { b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kvm"}} },
			map[string]string{"/usr": "rxd", "/proc": "rxd", "/data/ann/work": "rwxdm", "/dev/kvm": "rw"}},
	} {
		b := aloneBundle()
		c.change(b)
		maps.Copy(c.want, devices)
		if got := grantsOf(t, b); !maps.Equal(got, c.want) {
			t.Errorf("%s:\n%v, want\n%v", name, got, c.want)
		}
	}
}

// A line of the profile that takes a namespace refuses the start, with its place and what to do.
func TestAloneRefuses(t *testing.T) {
	mount := func(m specs.Mount) func(*Bundle, *Facts) {
		return func(b *Bundle, _ *Facts) { b.Spec.Mounts = append(b.Spec.Mounts, m) }
	}
	for _, c := range []struct {
		want   string
		change func(*Bundle, *Facts)
	}{
		{"p.yaml:8:1: enforcement.namespaces: without namespaces Landlock has to hold alone, and this kernel has none", func(_ *Bundle, f *Facts) { f.Landlock = 0 }},
		{"p.yaml:8:1: enforcement.namespaces: without namespaces Landlock has to hold alone, and version 5", func(_ *Bundle, f *Facts) { f.Landlock = 5 }},
		{"p.yaml:8:1: enforcement.namespaces: without namespaces Landlock has to hold alone, and the profile switches", func(b *Bundle, _ *Facts) {
			b.Spec.Annotations[annotationEnforcement] = `{"namespaces":"prefer","landlock":"off"}`
		}},
		{"p.yaml:10:1: syscalls: without namespaces a filter has to close", func(b *Bundle, _ *Facts) { b.Spec.Linux.Seccomp = nil }},
		{"p.yaml:10:1: syscalls: without namespaces a filter has to close", func(b *Bundle, _ *Facts) { b.Spec.Linux.Seccomp.DefaultAction = specs.ActLog }},
		{"p.yaml:10:1: syscalls: without namespaces only this machine's own interface", func(b *Bundle, _ *Facts) {
			b.Spec.Linux.Seccomp.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86}
		}},
		{"p.yaml:10:1: syscalls: the profile lets the program mount", func(b *Bundle, _ *Facts) {
			b.Spec.Linux.Seccomp.Syscalls[0].Names = []string{"mount", "clone3", "unshare", "clone"}
		}},
		{"p.yaml:9:1: process.no-new-privileges: without namespaces set-uid programs", func(b *Bundle, _ *Facts) { b.Spec.Process.NoNewPrivileges = false }},
		{"p.yaml:9:1: process.uid: without a user namespace the program is uid 1000", func(b *Bundle, _ *Facts) { b.Spec.Process.User.UID = 0 }},
		{"p.yaml:9:1: process.gid: without a user namespace the program has gid 1000", func(b *Bundle, _ *Facts) { b.Spec.Process.User.GID = 0 }},
		{"p.yaml:9:1: process.groups: ", func(b *Bundle, _ *Facts) { b.Spec.Process.User.AdditionalGids = []uint32{4} }},
		{"process.uid-map: ", func(b *Bundle, _ *Facts) {
			b.Spec.Linux.UIDMappings = append(b.Spec.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: 100000, Size: 10})
		}},
		{"p.yaml:9:1: capabilities: ", func(b *Bundle, _ *Facts) {
			b.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}
		}},
		{"p.yaml:6:1: process.hostname: ", func(b *Bundle, _ *Facts) { b.Spec.Annotations[annotationOrigins] = `{"/hostname":"p.yaml:6:1"}` }},
		{"process.domainname: ", func(b *Bundle, _ *Facts) { b.Spec.Domainname = "x" }},
		{"the offset of the boottime clock", func(b *Bundle, _ *Facts) {
			b.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
		}},
		{"sysctl kernel.sem: ", func(b *Bundle, _ *Facts) { b.Spec.Linux.Sysctl = map[string]string{"kernel.sem": "1"} }},
		{"p.yaml:6:1: namespaces: the user namespace /x cannot be joined", func(b *Bundle, _ *Facts) { b.Spec.Linux.Namespaces[0].Path = "/x" }},
		{"p.yaml:7:1: network: a network with rules of its own", func(b *Bundle, _ *Facts) { b.GivenNetwork = true }},
		{"desktop: what helpers outside connect", func(b *Bundle, _ *Facts) { b.Spec.Annotations[annotationRooms] = `[{"name":"bus","path":"/run/bus"}]` }},
		{"file /etc/hosts: ", func(b *Bundle, _ *Facts) { b.Overlays = []Overlay{{Path: "/etc/hosts"}} }},
		{"p.yaml:9:1: process.terminal: there is no /dev/ptmx", func(b *Bundle, _ *Facts) { b.Spec.Process.Terminal = true }},
		{"p.yaml:3:1: bind /usr at /opt: a source at another path", mount(specs.Mount{Destination: "/opt", Type: "bind", Source: "/usr", Options: []string{"rbind", "nodev"}})},
		{"p.yaml:3:1: bind content/0 at /etc/x: a file of the profile's own", mount(specs.Mount{Destination: "/etc/x", Type: "bind", Source: "content/0", Options: []string{"bind", "nodev"}})},
		{"p.yaml:3:1: bind /usr at /usr: what is mounted below it can be left out", mount(specs.Mount{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"bind", "nodev"}})},
		{"p.yaml:3:1: bind /usr at /usr: nosymfollow", mount(specs.Mount{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "nodev", "nosymfollow"}})},
		{"p.yaml:3:1: bind /usr at /usr: whether the devices below a path", mount(specs.Mount{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind"}})},
		{"p.yaml:3:1: bind /dev/kvm at /dev/kvm: whether the devices", mount(specs.Mount{Destination: "/dev/kvm", Type: "bind", Source: "/dev/kvm", Options: []string{"bind", "nodev"}})},
		{"p.yaml:3:1: bind /run/s at /run/s: without a mount namespace no socket", mount(specs.Mount{Destination: "/run/s", Type: "bind", Source: "/run/s", Options: []string{"bind", "nodev"}})},
		{"p.yaml:3:1: mount at /home/ann: a tmpfs needs a mount namespace", mount(specs.Mount{Destination: "/home/ann", Type: "tmpfs"})},
		{"p.yaml:3:1: mount at /usr: an overlay, whose writes must not reach the host, needs", mount(specs.Mount{Destination: "/usr", Type: "overlay", Options: []string{"lowerdir=/usr"}})},
		{"p.yaml:3:1: process.proc: ", mount(specs.Mount{Destination: "/proc", Type: "proc", Options: []string{"subset=pid"}})},
		{"p.yaml:3:1: /data/ann/work/keys: must have fewer rights", mount(specs.Mount{Destination: "/data/ann/work/keys", Type: "bind", Source: "/data/ann/work/keys", Options: []string{"rbind", "ro", "nodev"}})},
		{"p.yaml:4:1: content of /x: ", func(b *Bundle, _ *Facts) { b.Tree = []TreeEntry{{Path: "rootfs/x"}} }},
		{"p.yaml:4:1: directory /x: ", func(b *Bundle, _ *Facts) { b.Tree = []TreeEntry{{Path: "rootfs/x", Mode: fs.ModeDir}} }},
		{"p.yaml:4:1: link /x: the host has no such link", func(b *Bundle, _ *Facts) {
			b.Tree = []TreeEntry{{Path: "rootfs/x", Mode: fs.ModeSymlink, Target: "usr"}}
		}},
		{"link /usr/x: the host has no such link", func(b *Bundle, _ *Facts) {
			b.Spec.Annotations[annotationSymlinks] = `[{"path":"/usr/x","target":"bin"}]`
		}},
		{"p.yaml:5:1: hide /proc/kcore: of /proc Landlock can grant all", func(b *Bundle, _ *Facts) { b.Spec.Linux.MaskedPaths = []string{"/proc/sys", "/proc/kcore"} }},
		{"p.yaml:5:1: /data/ann/work/.env: must not be reached, and lies below what can be written", func(b *Bundle, _ *Facts) { b.Spec.Linux.MaskedPaths = []string{"/proc/kcore", "/data/ann/work/.env"} }},
		{"root /srv/root: another root", func(b *Bundle, _ *Facts) { b.Spec.Root.Path = "/srv/root" }},
		{"p.yaml:2:1: /data/ann/work/keys: must have fewer rights than", func(b *Bundle, _ *Facts) {
			b.Own = []OwnPath{{Path: "/data/ann/work/keys", What: "jail's own"}}
			setOrigin(b, "/mounts", "p.yaml:2:1")
		}},
		{"device /dev/none: is no device", func(b *Bundle, _ *Facts) { b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/none"}} }},
	} {
		b, f := aloneBundle(), fakeFacts()
		f.Files.(fakeFiles)["/run/s"] = "socket"
		c.change(b, f)
		_, err := Compile(b, f)
		var refused Refusals
		if !errors.As(err, &refused) || !slices.ContainsFunc(refused, func(e *Error) bool { return strings.Contains(e.Error(), c.want) && e.Hint != "" }) {
			t.Errorf("want %q with a hint, got %v", c.want, err)
		}
	}
}

func setOrigin(b *Bundle, pointer, origin string) {
	b.Spec.Annotations[annotationOrigins] = strings.Replace(b.Spec.Annotations[annotationOrigins], "{", `{"`+pointer+`":"`+origin+`",`, 1)
}

// All of it at once, and none of it where namespaces are required or can be had.
func TestAloneIsForThoseWhoPreferIt(t *testing.T) {
	b := aloneBundle()
	b.Spec.Domainname, b.Spec.Process.User.GID = "x", 0
	var refused Refusals
	if _, err := Compile(b, fakeFacts()); !errors.As(err, &refused) || len(refused) != 2 {
		t.Errorf("want two refusals: %v", err)
	}
	for name, change := range map[string]func(*Bundle){
		"required": func(b *Bundle) { b.Spec.Annotations[annotationEnforcement] = `{}` },
		"there":    func(b *Bundle) { b.NoNamespaces = nil },
	} {
		b := aloneBundle()
		change(b)
		if plan, err := Compile(b, fakeFacts()); err != nil || plan.Alone() || plan.clone&unix.CLONE_NEWUSER == 0 || len(plan.Warnings) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	plan, err := Compile(aloneBundle(), fakeFacts())
	if err != nil || !plan.Alone() || plan.clone != 0 || len(plan.Warnings) != 1 || !strings.Contains(plan.Warnings[0], "none here. The program runs with Landlock alone: it sees the host's processes") {
		t.Errorf("%v %v", plan, err)
	}
}

// TestAloneFilter runs the filter over what it decides on.
func TestAloneFilter(t *testing.T) {
	const denied, noIoctl, unknown = bpf.RetErrno | uint32(unix.EPERM), bpf.RetErrno | uint32(unix.ENOTTY), bpf.RetErrno | uint32(unix.ENOSYS)
	closed, shared := aloneFilter{wanted: wanted{network: true, ipc: true}}, aloneFilter{devices: true}
	for _, c := range []struct {
		f    aloneFilter
		nr   uintptr
		args [6]uint64
		want uint32
	}{
		{closed, unix.SYS_OPENAT, [6]uint64{}, bpf.RetAllow},
		{closed, unix.SYS_EXECVE, [6]uint64{}, bpf.RetAllow},
		{closed, unix.SYS_OPENAT | 0x40000000, [6]uint64{}, unknown}, // x32
		{closed, unix.SYS_SOCKET, [6]uint64{unix.AF_INET}, denied},
		{closed, unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX}, denied},
		{shared, unix.SYS_SOCKET, [6]uint64{unix.AF_INET}, bpf.RetAllow},
		{shared, unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX}, denied},
		{shared, unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX | 1<<32}, denied}, // an int to the kernel
		{closed, unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, bpf.RetAllow},
		{closed, unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET}, bpf.RetAllow},
		{closed, unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX, unix.SOCK_DGRAM | unix.SOCK_NONBLOCK}, denied},
		{closed, unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX, unix.SOCK_RAW}, denied}, // the same as datagrams: unix_create
		{closed, unix.SYS_UTIMENSAT, [6]uint64{3, 0}, bpf.RetAllow},
		{closed, unix.SYS_UTIMENSAT, [6]uint64{3, 1 << 32}, denied},
		{closed, unix.SYS_UTIMENSAT, [6]uint64{3, 8}, denied},
		{closed, unix.SYS_PRLIMIT64, [6]uint64{0, 1}, bpf.RetAllow},
		{closed, unix.SYS_PRLIMIT64, [6]uint64{7, 1}, denied},
		{closed, unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 0, 5}, bpf.RetAllow},
		{closed, unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 7, 5}, denied},
		{closed, unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_USER, 0, 5}, denied},
		{closed, unix.SYS_IOPRIO_SET, [6]uint64{3, 0}, denied},
		{closed, unix.SYS_IOPRIO_SET, [6]uint64{1, 0}, bpf.RetAllow},
		{closed, unix.SYS_IOCTL, [6]uint64{0, unix.TCGETS}, bpf.RetAllow},
		{closed, unix.SYS_IOCTL, [6]uint64{0, 0x40086602}, noIoctl}, // FS_IOC_SETFLAGS
		{closed, unix.SYS_IOCTL, [6]uint64{0, 0x40086602 | 1<<32}, noIoctl},
		{closed, unix.SYS_IOCTL, [6]uint64{0, 0xc0106407}, noIoctl}, // DRM_IOCTL_SET_VERSION
		{shared, unix.SYS_IOCTL, [6]uint64{0, 0xc0106407}, bpf.RetAllow},
		{shared, unix.SYS_IOCTL, [6]uint64{0, 0x40086602}, noIoctl},
		{shared, unix.SYS_IOCTL, [6]uint64{0, 0x5000940e}, noIoctl}, // BTRFS_IOC_SUBVOL_CREATE
		{closed, unix.SYS_SHMGET, [6]uint64{}, denied},
		{shared, unix.SYS_SHMGET, [6]uint64{}, bpf.RetAllow},
		{shared, unix.SYS_KEYCTL, [6]uint64{}, denied},
		{shared, unix.SYS_IO_URING_SETUP, [6]uint64{}, denied},
	} {
		call := bpf.Call{Number: uint32(c.nr), Arch: confine.Arch, Args: c.args}
		if got := runFilter(t, c.f.program(), &call); got != c.want {
			t.Errorf("%+v: call %d %v: %#x, want %#x", c.f, c.nr, c.args, got, c.want)
		}
	}
	for _, nr := range slices.Concat(aloneCalls, aloneCallsHere, hostIPC) {
		if got := runFilter(t, closed.program(), &bpf.Call{Number: uint32(nr), Arch: confine.Arch}); got != denied {
			t.Errorf("call %d: %#x", nr, got)
		}
	}
	if got := runFilter(t, closed.program(), &bpf.Call{Number: unix.SYS_OPENAT, Arch: unix.AUDIT_ARCH_I386}); got != unknown {
		t.Errorf("another interface: %#x", got)
	}
}

// runFilter runs a filter of jail's own in an interpreter.
func runFilter(t *testing.T, filter []unix.SockFilter, call *bpf.Call) uint32 {
	t.Helper()
	var code []byte
	for _, i := range filter {
		code = binary.NativeEndian.AppendUint16(code, i.Code)
		code = append(code, i.Jt, i.Jf)
		code = binary.NativeEndian.AppendUint32(code, i.K)
	}
	program, err := bpf.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	return program.Run(call)
}
