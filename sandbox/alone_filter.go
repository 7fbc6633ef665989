package sandbox

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"jail/sandbox/confine"
)

// aloneCalls are refused to a program that runs without namespaces, whatever its profile's own filter lets through: what
// Landlock does not know of, and what mounts and namespaces keep elsewhere. aloneCallsHere are those that this processor
// has besides.
//
// The profile's filter is an allow-list and stays in force. So a call that a later kernel brings is not among what
// these have to name.
var aloneCalls = []uintptr{
	// Of any file of the user's, granted or not: landlock(7), "Known limitations". A read-only mount refuses them, too.
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT, unix.SYS_FILE_SETATTR,
	// They tell the names of files in any folder.
	unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK,
	// The user's own keys: keyrings(7).
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	// It makes sockets, among other things, behind the filter's back: io_uring_enter(2).
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
}

// hostIPC are the objects of the host's ipc namespace, which have no path: ipc_namespaces(7).
var hostIPC = []uintptr{
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SHMDT, unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL,
	unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL,
	unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK, unix.SYS_MQ_TIMEDSEND, unix.SYS_MQ_TIMEDRECEIVE, unix.SYS_MQ_NOTIFY, unix.SYS_MQ_GETSETATTR,
}

// ofItself are calls that act on any process of the user's, unless they name none: their first argument must be 0.
var ofItself = []uintptr{unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETSCHEDULER}

// ofKind are such calls with the kind of what is named in front, which must be the one given, and 0 then.
var ofKind = []struct {
	call uintptr
	kind uint32
}{{unix.SYS_SETPRIORITY, unix.PRIO_PROCESS}, {unix.SYS_IOPRIO_SET, 1}} // IOPRIO_WHO_PROCESS

// Kinds of ioctl(2), the second byte of the request. Landlock restricts those on devices; on a file or folder that can
// be read they change attributes, or make and remove what is in it.
const (
	ioctlTerminal, ioctlSocket = 'T', 0x89
)

var ioctlFiles = []uint32{'f', 'v', 'X', 'r', 0x94, 0x97, 0xcf, 0xf5} // ext4 and all, ext2, xfs, fat, btrfs, ceph, cifs, f2fs

// aloneFilter puts a filter in force that closes what Landlock leaves open.
type aloneFilter struct {
	wanted  wanted
	devices bool // the profile grants some, and calls on them
}

func (f aloneFilter) String() string {
	s := "install a filter of what Landlock leaves open: files' modes, owners and attributes, watches, keys, other processes, "
	if f.wanted.ipc {
		s += "the host's IPC, "
	}
	if f.wanted.network {
		return s + "all sockets but pairs"
	}
	return s + "local sockets but pairs"
}

func (f aloneFilter) lower(a *assembler) {
	p := f.program()
	a.op(unix.SYS_SECCOMP, val(unix.SECCOMP_SET_MODE_FILTER), val(0),
		a.fprog(unsafe.Slice((*byte)(unsafe.Pointer(&p[0])), len(p)*int(unsafe.Sizeof(p[0])))))
}

// devices tells whether more devices are granted than every program gets.
func (g *grants) devices() bool {
	for at, rights := range g.rights {
		if rights&deviceRights != 0 && !slices.Contains([]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}, at) {
			return true
		}
	}
	return false
}

// program is the filter as classic BPF. Arguments are compared by their low halves where the kernel takes an int.
func (f aloneFilter) program() []unix.SockFilter {
	const offNumber, offArch, x32Bit = 0, 4, 0x40000000
	deny := bpfReturn(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	p := []unix.SockFilter{
		bpfLoad(offArch), bpfEqual(confine.Arch, 1, 0), bpfReturn(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
		bpfLoad(offNumber), bpfAtLeast(x32Bit, 0, 1), bpfReturn(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}
	closed := slices.Concat(aloneCalls, aloneCallsHere)
	if f.wanted.ipc {
		closed = append(closed, hostIPC...)
	}
	if f.wanted.network {
		closed = append(closed, unix.SYS_SOCKET)
	}
	for i, nr := range closed { // each on to the last line but one
		p = append(p, bpfEqual(uint32(nr), uint8(len(closed)-i), 0))
	}
	p = append(p, bpfJump(1), deny)
	// on adds what decides about one call, ending in an answer on every way.
	on := func(nr uintptr, decide ...unix.SockFilter) {
		p = append(append(p, bpfEqual(uint32(nr), 0, uint8(len(decide)))), decide...)
	}
	allow := bpfReturn(unix.SECCOMP_RET_ALLOW)
	if !f.wanted.network {
		on(unix.SYS_SOCKET, bpfLoad(arg32(0)), bpfEqual(unix.AF_UNIX, 0, 1), deny, allow)
	}
	// One end of a pair of datagram sockets can be connected elsewhere, to any path (unix(7)). The other types cannot.
	on(unix.SYS_SOCKETPAIR, bpfLoad(arg32(1)), bpfAnd(0xf), bpfEqual(unix.SOCK_STREAM, 1, 0), bpfEqual(unix.SOCK_SEQPACKET, 0, 1), allow, deny)
	// Without a path it means an open file: utimensat(2).
	on(unix.SYS_UTIMENSAT, bpfLoad(arg32(1)), bpfEqual(0, 0, 3), bpfLoad(arg32(1)+4), bpfEqual(0, 0, 1), allow, deny)
	for _, nr := range ofItself {
		on(nr, bpfLoad(arg32(0)), bpfEqual(0, 0, 1), allow, deny)
	}
	for _, k := range ofKind {
		on(k.call, bpfLoad(arg32(0)), bpfEqual(k.kind, 0, 3), bpfLoad(arg32(1)), bpfEqual(0, 0, 1), allow, deny)
	}
	on(unix.SYS_IOCTL, f.ioctls()...)
	return append(p, allow)
}

// ioctls decides by the kind of a request. ENOTTY is what a file system says that does not know one.
func (f aloneFilter) ioctls() []unix.SockFilter {
	kinds, listed, other := []uint32{ioctlTerminal, ioctlSocket}, bpfReturn(unix.SECCOMP_RET_ALLOW), bpfReturn(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOTTY))
	if f.devices {
		kinds, listed, other = ioctlFiles, other, listed
	}
	p := []unix.SockFilter{bpfLoad(arg32(1)), bpfAnd(0xff00)}
	for i, k := range kinds {
		p = append(p, bpfEqual(k<<8, uint8(len(kinds)-i), 0))
	}
	return append(p, other, listed)
}

// arg32 is the place of the low half of an argument in struct seccomp_data, little-endian.
func arg32(n uint32) uint32 { return 16 + 8*n }

func bpfLoad(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func bpfAnd(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func bpfEqual(k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func bpfAtLeast(k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func bpfJump(over uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: over}
}

func bpfReturn(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
