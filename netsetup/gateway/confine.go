package gateway

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"jail/netsetup/procfs"
	"jail/sandbox/confine"
)

// serving are the calls of a gateway once its first member is connected: packets, connections, timers, and a look at
// /proc for the program behind a refusal.
//
// What is not among them: to execute anything, to trace or signal another process, to make or change files. AF_UNIX is no
// family of its sockets, for the abstract sockets of the session are in the network namespace of the host, in which its
// threads are.
var serving = []uintptr{
	// Sockets.
	unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT4, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG,
	unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
	unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_SPLICE, unix.SYS_SENDFILE, unix.SYS_PIPE2, unix.SYS_IOCTL,
	unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME,

	// Files below /proc; memory files that come with a message.
	unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_READLINKAT,
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_GETDENTS64, unix.SYS_GETCWD,

	// The program that is the way out, where there is one.
	unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRUSAGE,
}

// confine gives up what the set-up needed: capabilities, every file but those of proc(5), most system calls. Whoever took
// over this process through a packet would then have the user's network, and could read what the user may see of /proc.
func (g *gateway) confine() error {
	if err := procfs.MakeRoot(); err != nil {
		return fmt.Errorf("confine the gateway: %w", err)
	}
	if err := confine.Capabilities(g.keeps()); err != nil {
		return fmt.Errorf("confine the gateway: %w", err)
	}
	return g.filter()
}

// filter leaves the gateway the calls that it makes from now on.
func (g *gateway) filter() error {
	if err := confine.Threads(slices.Concat(serving, servingHere), g.guards()); err != nil {
		return fmt.Errorf("confine the gateway: %w", err)
	}
	return nil
}

// guards are the calls that depend on an argument.
func (g *gateway) guards() []confine.Guard {
	const setVMA = 0x53564d41 // PR_SET_VMA: the runtime gives memory names
	guards := []confine.Guard{
		confine.Sockets(unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK), confine.Forks,
		{Call: unix.SYS_PRCTL, Mask: ^uint32(0), Values: []uint32{setVMA}},
		{Call: unix.SYS_TGKILL, Mask: ^uint32(0), Values: []uint32{uint32(os.Getpid())}}, // preemption
	}
	if !g.shared {
		return append(guards, confine.Opens(unix.SYS_OPENAT, 2))
	}
	// Members that come later get namespaces of their own, and settings below /proc/sys/net.
	return append(guards, confine.Guard{Call: unix.SYS_OPENAT, Values: []uint32{0}}, // with no bit looked at: whatever it opens
		confine.Guard{Call: unix.SYS_UNSHARE, Mask: ^uint32(0), Values: []uint32{unix.CLONE_NEWNET}})
}
