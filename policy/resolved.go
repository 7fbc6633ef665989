package policy

import (
	"io/fs"
	"time"
)

// Resolved is a profile with nothing left to decide: files merged, conditions
// and variables gone, globs expanded, defaults filled in, sources looked up on
// the host. Translating it to an OCI spec needs no further look at the machine.
type Resolved struct {
	Name        Text
	Description Text
	Files       []string // the chain of profile files, base first

	Namespaces []Namespace

	// Root is the entry for "/": KindTmpfs by default. It is not in Filesystem.
	Root Entry
	// Filesystem has one entry a path, parents before children. Devices, desktop
	// sockets and the default mounts (/proc, /dev, ...) are in it too.
	Filesystem []Entry
	// Hidden is what `hide` covers: globs expanded, at every path inside that
	// shows the same file of the host.
	Hidden []Hidden
	// Protected says which paths inside are covered whatever the profile grants,
	// because they show jail's own directories. The covers themselves are in
	// Filesystem and Hidden, so a compiler has nothing to do for them.
	Protected []Protected
	// HostDirs are folders to make on the host before the start.
	HostDirs []HostDir

	Environment []EnvVar // sorted by name, final values

	Limits  Limits
	Rlimits []Rlimit

	Capabilities []Named // canonical names (CAP_NET_RAW), sorted, no doubles
	Syscalls     Syscalls

	Network Network
	Desktop Desktop
	Process Process

	// Enforcement has the layers that are not at their default, `require`.
	Enforcement []Enforcement

	// Warnings are things the user should know though nothing is wrong.
	Warnings []Problem

	host *Host
}

// Named is a name and where it was written.
type Named struct {
	Name   string
	Origin Origin
}

// Namespace is one namespace the program gets for itself.
type Namespace struct {
	Kind   string // user, mount, pid, ipc, uts, cgroup, net, time
	Origin Origin
	// Monotonic and Boottime are the clock offsets of a time namespace.
	Monotonic, Boottime time.Duration
}

// Kind says what an Entry puts at its path.
type Kind string

// The kinds of Entry.
const (
	KindRO      Kind = "ro"      // bind mount of Source, read-only through all its submounts
	KindRW      Kind = "rw"      // bind mount of Source
	KindDevice  Kind = "device"  // bind mount of the device node or folder Source, devices usable
	KindPersist Kind = "persist" // bind mount, read-write, of a folder of jail's own (in HostDirs)
	KindTmpfs   Kind = "tmpfs"
	KindOverlay Kind = "overlay"
	KindContent Kind = "content" // a read-only file with the bytes of Content
	KindSymlink Kind = "symlink" // to Target
	KindDir     Kind = "dir"     // an empty directory, read-only unless its parent is writable
	KindProc    Kind = "proc"    // a new procfs; the host's, bound, where there is no pid namespace
	KindDev     Kind = "dev"     // a tmpfs with the minimal device nodes
	KindPts     Kind = "devpts"
	KindMqueue  Kind = "mqueue"
	// KindRoom is a folder in memory, read-only inside, in which a helper outside
	// offers its sockets. Source is the room's name.
	KindRoom Kind = "room"
)

// Entry is one thing in the program's file tree.
type Entry struct {
	// Path is the destination: absolute, clean, and free of symlinks as far as
	// they are known (entries of this profile and trees of the host).
	Path string
	// Written is the destination as the profile has it, variables expanded.
	Written string
	Kind    Kind

	// Source is the path on the host, absolute, symlinks resolved.
	Source string
	// SourceType is the type of Source: fs.ModeDir, 0 for a regular file,
	// fs.ModeSocket, fs.ModeNamedPipe, fs.ModeDevice[|fs.ModeCharDevice].
	SourceType fs.FileMode

	// Options are mount options beyond the kind's own, OCI names, sorted:
	// noexec, nosymfollow, noatime, nodiratime. nosuid is always meant and nodev for
	// all but KindDevice, so they are not listed.
	Options []string
	// Recursive is false where the profile asks to leave submounts of Source out.
	Recursive bool

	Size int64       // KindTmpfs: bytes, 0 for the kernel's default (half the memory)
	Mode fs.FileMode // KindTmpfs, KindDir, KindContent: permission bits with sticky and such; 0 for the default

	Overlay *Overlay
	Content []byte
	Target  string

	// Reason is set where no line of a profile asked for the entry: "default
	// mount", "keeps jail's profiles from being written", "device set gpu".
	Reason string
	Origin Origin
}

// IsDir tells whether the entry's path is a directory inside.
func (e *Entry) IsDir() bool {
	switch e.Kind {
	case KindRO, KindRW, KindDevice:
		return e.SourceType.IsDir()
	case KindContent, KindSymlink:
		return false
	}
	return true
}

// HostBacked tells whether the entry shows files of the host at Source.
func (e *Entry) HostBacked() bool {
	switch e.Kind {
	case KindRO, KindRW, KindDevice, KindPersist:
		return true
	}
	return false
}

// Overlay is the layers of a KindOverlay entry. All are directories of the
// host, absolute, symlinks resolved, not escaped.
type Overlay struct {
	Lower []string // the top layer first, as the kernel's lowerdir option
	// Keep is the folder that keeps what is written, with Upper and Work in it
	// (both in HostDirs); "" otherwise.
	Keep, Upper, Work string
	// Discard says that writes go to a layer that ends with the sandbox. With
	// neither Keep nor Discard the overlay is read-only.
	Discard bool
}

// Hidden is one path inside that the program finds empty.
type Hidden struct {
	Path    string // absolute inside
	Dir     bool
	Pattern string // as the profile has it, variables expanded
	Origin  Origin
}

// Protected is a path inside at which one of jail's own directories would have
// been writable or visible. What protects it is already in Filesystem or Hidden;
// the list is for plans and explanations.
type Protected struct {
	Path   string // absolute inside
	Source string // the directory on the host
	// How is "ro" (a KindRO entry covers it), "hide" (in Hidden) or "pin" (a
	// KindRW entry binds a parent directory onto itself, because a mount point
	// cannot be renamed: rename(2), EBUSY).
	How    string
	Reason string // what is protected: "jail's profiles"
}

// HostDir is a folder that jail makes on the host before the start.
type HostDir struct {
	Path   string // absolute
	Mode   fs.FileMode
	Origin Origin
}

// EnvVar is one variable of the program's environment.
type EnvVar struct {
	Name, Value string
	Kept        bool // taken over from the caller, not set by the profile
	Origin      Origin
}

// IDMapping maps ids inside to ids of the host.
type IDMapping struct {
	Inside, Outside, Count uint32
}

// Process is how the program is started.
type Process struct {
	Cwd             Text // absolute inside; set also when default
	UID, GID        Value[uint32]
	Groups          []Value[uint32]
	UIDMap, GIDMap  []IDMapping // filled whenever there is a user namespace
	SubIDs          bool        // the maps hold more than the caller's own id: newuidmap is needed
	Umask           Value[uint32]
	Hostname        Text
	Domainname      Text
	Nice            Number
	OOMScore        Number
	CPUAffinity     Text // a list as 0-3,8
	Terminal        Text // auto, always, never
	DieWithParent   Flag
	Timeout         Value[time.Duration]
	NoNewPrivileges Flag
	NoDump          Flag
	DenyWriteExec   Flag
	CoreScheduling  Flag
	Proc            Text // all, pid
}

// Enforcement says what to do where a layer cannot be had.
type Enforcement struct {
	Layer  string
	Level  string // prefer, off
	Origin Origin
}
