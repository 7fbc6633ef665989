package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NetworkHolder describes a process that makes a sandbox's network namespace, one more between it and the host, and the
// descriptor that packets leave the second by. It then waits for the first packet, for a while, and becomes the program that takes them.
// Until then it is no program, and costs a start what the kernel takes for the namespaces.
type NetworkHolder struct {
	// Program is what it becomes, Args its command line.
	Program *os.File
	Args    []string
	// Files are its descriptors, from 0 on. The last two are only places, for the one that packets leave by and for the
	// sandbox's network namespace.
	Files []*os.File
	// Control is the number of a socket among them: it is told the namespaces there, in a message with the text
	// Message and the descriptors of the user namespace, the sandbox's network namespace, the way out, and a routing
	// socket in either. When the other end is closed the process ends.
	Control int
	Message string
	// Wake are numbers of others among them where a message makes it become the program, too.
	Wake []int
	// Wait is how long it waits at most; 0 is not at all.
	Wait time.Duration
	// UID and GID are what the caller's own are in the user namespace.
	UID, GID int
	// Device is the name of the TAP device. Where none can be had, the way out is a packet socket, not bound yet.
	Device string
	// Inner and Outer are settings below /proc/sys/net, pairs of name and value, of either network namespace. Those
	// that cannot be written are left alone; should that be so of the first of Inner6, so are the rest of them.
	Inner, Inner6, Outer [][2]string
	// Keep is the capability, over its namespaces, that the program begins with.
	Keep int
	// Slack is how late its timers may be, in nanoseconds: PR_SET_TIMERSLACK, prctl(2).
	Slack int
}

// HeldNetwork is a NetworkHolder's process.
type HeldNetwork struct {
	pid   int
	asm   *assembler
	what  []string
	lost6 *int32
}

// PID is its process id, also once it has become the program.
func (h *HeldNetwork) PID() int { return h.pid }

// Lost6 tells, once the message is there, that the settings of Inner6 could not be made.
func (h *HeldNetwork) Lost6() bool { return atomic.LoadInt32(h.lost6) != 0 }

// Failure is why it could not do its work; nil unless it has ended for that.
func (h *HeldNetwork) Failure() error {
	if h.asm.shared.failed == 0 {
		return nil
	}
	c := h.asm.rows[h.asm.shared.row]
	errno := syscall.Errno(h.asm.shared.errno)
	e := &Error{What: h.what[c.step], Cause: &callError{c.nr, errno}, Exit: 125}
	switch {
	case errno == unix.ENOSPC && c.nr == unix.SYS_UNSHARE:
		e.Hint = "the limit of network namespaces is reached; raise the sysctl user.max_net_namespaces"
	case errno == unix.EPERM || errno == unix.EACCES: // AppArmor lets a user namespace be made and takes the rights in it
		if cause, hint := userNamespaceTrouble(errno, readSysctl); cause != "" {
			e.Cause, e.Hint = fmt.Errorf("%s: %w", cause, errno), hint
		}
	}
	return e
}

// Start makes the process, a child of this one.
func (n *NetworkHolder) Start() (*HeldNetwork, error) {
	held := &HeldNetwork{asm: &assembler{}}
	a := held.asm
	a.shared = allot[report](&a.memory)
	held.lost6 = allot[int32](&a.memory)
	begun := a.table(288)
	a.rows = begun
	// Sources above every number that is given out.
	var sources []int
	defer func() {
		for _, fd := range sources {
			_ = unix.Close(fd)
		}
	}()
	for _, f := range append(slices.Clip(n.Files), n.Program) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 2*len(n.Files))
		if err != nil {
			return nil, fmt.Errorf("hand a descriptor to the process that makes the network: %w", err)
		}
		sources = append(sources, fd)
	}
	n.lower(held, sources)
	if unsafe.SliceData(a.rows) != unsafe.SliceData(begun) { // there were more rows than that
		a.rows = append(a.table(len(a.rows)), a.rows...)
	}
	p := a.processes(2, a.rows, a.shared)
	undo, err := a.keepToItself()
	var failed *callError
	if err = errors.Join(err, a.err); err == nil {
		held.pid, _, failed = fork(p, &cloneArgs{flags: unix.CLONE_NEWUSER, exitSignal: uint64(unix.SIGCHLD)}, true, false)
	}
	undo()
	if err != nil {
		return nil, fmt.Errorf("map memory to share with the process that makes the network: %w", err)
	}
	if failed != nil {
		return nil, (&Plan{clone: unix.CLONE_NEWUSER}).forkError(failed)
	}
	return held, nil
}

// lower writes the process's whole life.
func (n *NetworkHolder) lower(held *HeldNetwork, sources []int) {
	a := held.asm
	step := func(what string) {
		a.step = uint16(len(held.what))
		held.what = append(held.what, what)
	}
	uplink, program := len(n.Files)-2, len(n.Files)

	step("take over what the network's gateway is given")
	for to, from := range sources {
		flags := 0
		if to == program {
			flags = unix.O_CLOEXEC
		}
		a.op(unix.SYS_DUP3, val(from), val(to), val(flags))
	}
	a.op(unix.SYS_CLOSE_RANGE, val(program+1), val(^uint32(0)), val(0))
	writeIDMap{n.UID, os.Geteuid(), n.GID, os.Getegid()}.lower(a)
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_NAME), a.str("jail-network"), val(0), val(0), val(0))
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_TIMERSLACK), val(n.Slack), val(0), val(0), val(0))
	n.leaveTerminal(a)
	a.op(unix.SYS_CHDIR, a.str("/"))

	// Who has left the host's network namespace cannot come back, and the gateway's connections are made in it. So
	// another process makes the others, with the same descriptors, and this one waits (clone(2), CLONE_VFORK).
	pid := a.fd(opFork, val(unix.CLONE_VM|unix.CLONE_VFORK|unix.CLONE_FILES), val(0))
	forked := len(a.rows) - 1
	a.op(unix.SYS_WAIT4, pid, val(0), val(unix.WALL), val(0)).tolerate(unix.EINTR)
	a.op(opGoOn)
	a.op(unix.SYS_CLOSE_RANGE, val(program+1), val(^uint32(0)), val(0))

	step("give up rights over the network")
	keep := capMask(1) << n.Keep
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_SECUREBITS), val(secbitNoRoot), val(0), val(0), val(0))
	a.capset(capSets{effective: keep, permitted: keep, inheritable: keep})
	a.op(unix.SYS_PRCTL, val(unix.PR_CAP_AMBIENT), val(ambientRaise), val(n.Keep), val(0), val(0))

	step("wait for the network's first packet")
	if n.Wait > 0 {
		wait := unix.NsecToTimespec(n.Wait.Nanoseconds())
		polls := []unix.PollFd{{Fd: int32(uplink), Events: unix.POLLIN}, {Fd: int32(n.Control), Events: unix.POLLRDHUP}}
		for _, fd := range n.Wake {
			polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		a.op(unix.SYS_PPOLL, a.bytes(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(polls))), len(polls)*int(unsafe.Sizeof(polls[0])))),
			val(len(polls)), ptr(a, &wait), val(0), val(0)).tolerate(unix.EINTR)
	}

	step("start the network's gateway")
	// Every handler: one of jail's must not run when what came meanwhile is let in.
	action := ptr(a, &[4]uint64{}) // struct kernel_sigaction, all zero: SIG_DFL
	for sig := 1; sig <= 64; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			a.op(unix.SYS_RT_SIGACTION, val(sig), action, val(0), val(8))
		}
	}
	a.op(unix.SYS_RT_SIGPROCMASK, val(unix.SIG_SETMASK), ptr(a, new(uint64)), val(0), val(8))
	execute := []arg{val(program), a.str(""), a.vec(n.Args), a.vec([]string{"GOTRACEBACK=none"}), val(unix.AT_EMPTY_PATH)}
	pause := ptr(a, &unix.Timespec{Nsec: 20_000_000})
	for range 10 {
		// A program that has just been written can still be open for writing for a moment, in a process on its way
		// from fork to exec or to its end.
		a.op(unix.SYS_EXECVEAT, execute...).tolerate(unix.ETXTBSY)
		a.op(unix.SYS_NANOSLEEP, pause, val(0)).tolerate(unix.EINTR)
	}
	a.op(unix.SYS_EXECVEAT, execute...)

	a.rows[forked].args[1] = uintptr(len(a.rows))
	n.lowerSpaces(held, step)
}

// lowerSpaces writes the life of the process that makes the namespaces and the way out.
func (n *NetworkHolder) lowerSpaces(held *HeldNetwork, step func(string)) {
	a := held.asm
	step("make the sandbox's network namespace")
	user := a.fd(unix.SYS_OPENAT, cwd, a.str("/proc/self/ns/user"), val(unix.O_RDONLY|unix.O_CLOEXEC))
	innerRoutes := a.netSpace()
	inner := a.fd(unix.SYS_OPENAT, cwd, a.str("/proc/self/ns/net"), val(unix.O_RDONLY|unix.O_CLOEXEC))
	for _, s := range n.Inner {
		a.setting(s)
	}
	a.op(opPass, a.setting(n.Inner6[0]), val(2)) // over the next two when it could be made
	a.op(opStore, arg{v: uintptr(unsafe.Pointer(held.lost6))}, val(1))
	a.op(opPass, val(0), val(0)) // over the rest
	rest := len(a.rows)
	for _, s := range n.Inner6[1:] {
		a.writeFile("/proc/sys/net/"+s[0], s[1])
	}
	a.rows[rest-1].args[1] = uintptr(len(a.rows) - rest)

	step("make the gateway's network namespace")
	outerRoutes := a.netSpace()
	for _, s := range n.Outer {
		a.setting(s)
	}

	step("make the network's way out")
	parcel := allot[parcel](&a.memory)
	parcel.header = unix.Cmsghdr{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS}
	parcel.header.SetLen(unix.CmsgLen(4 * parcelFDs))
	put := func(i int, fd arg) { a.op(opStore, arg{v: uintptr(unsafe.Pointer(&parcel.fds[i]))}, fd) }
	tap := a.fd(unix.SYS_OPENAT, cwd, a.str("/dev/net/tun"), val(unix.O_RDWR|unix.O_CLOEXEC))
	a.rows[len(a.rows)-1].tolerate(unix.ENOENT, unix.EACCES, unix.EPERM)
	put(2, tap)
	made := a.fd(unix.SYS_IOCTL, tap, val(unix.TUNSETIFF), a.bytes(n.tapRequest()))
	a.rows[len(a.rows)-1].tolerate(unix.EBADF, unix.EACCES, unix.EPERM)
	a.op(opPass, made, val(2))
	// Protocol 0 until it is bound: no frame of another link gets in.
	packets := a.fd(unix.SYS_SOCKET, val(unix.AF_PACKET), val(unix.SOCK_RAW|unix.SOCK_CLOEXEC), val(0))
	put(2, packets)

	step("tell of the network's namespaces")
	put(0, user)
	put(1, inner)
	put(3, innerRoutes)
	put(4, outerRoutes)
	text := a.room(len(n.Message))
	iov, msg := allot[unix.Iovec](&a.memory), allot[unix.Msghdr](&a.memory)
	iov.Base = unsafe.SliceData(text)
	iov.SetLen(copy(text, n.Message))
	msg.Iov, msg.Control = iov, (*byte)(unsafe.Pointer(parcel))
	msg.SetIovlen(1)
	msg.SetControllen(int(unsafe.Sizeof(*parcel)))
	a.op(unix.SYS_SENDMSG, val(n.Control), arg{v: uintptr(unsafe.Pointer(msg))}, val(unix.MSG_NOSIGNAL))
	// Whichever of the two it is.
	a.op(opPass, made, val(2))
	a.op(unix.SYS_DUP3, packets, val(len(n.Files)-2), val(0))
	a.op(opPass, val(0), val(1))
	a.op(unix.SYS_DUP3, tap, val(len(n.Files)-2), val(0))
	a.op(unix.SYS_DUP3, inner, val(len(n.Files)-1), val(0))
	a.op(opExit, val(0))
}

// leaveTerminal takes the process out of reach of the caller's terminal, and that out of its reach. It stays in the caller's
// session where it can: with automatic groups of the scheduler (sched(7)) it would have turns of its own among all
// sessions in another, and a program that waits for its answers would wait for those, too. Signals of the terminal are
// for a group in front (setpgid(2)). Who leads a group cannot begin a session, and who leads no session cannot take a
// terminal (ioctl_tty(2), TIOCSCTTY).
func (n *NetworkHolder) leaveTerminal(a *assembler) {
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		_ = unix.Close(tty)
		fd := a.fd(unix.SYS_OPENAT, cwd, a.str("/dev/tty"), val(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
		a.op(unix.SYS_IOCTL, fd, val(unix.TIOCNOTTY), val(0))
		a.close(fd)
	case !errors.Is(err, unix.ENXIO): // the caller may have a terminal, and no way to give it up
		newSession{}.lower(a)
		return
	}
	a.op(unix.SYS_SETPGID, val(0), val(0))
}

// netSpace moves into a network namespace of its own, and gives a routing socket in it.
func (a *assembler) netSpace() (routes arg) {
	a.op(unix.SYS_UNSHARE, val(unix.CLONE_NEWNET))
	return a.fd(unix.SYS_SOCKET, val(unix.AF_NETLINK), val(unix.SOCK_RAW|unix.SOCK_CLOEXEC), val(unix.NETLINK_ROUTE))
}

// setting writes one below /proc/sys/net where that can be. What it gives is -1 where it cannot.
func (a *assembler) setting(s [2]string) (wrote arg) {
	fd := a.fd(unix.SYS_OPENAT, cwd, a.str("/proc/sys/net/"+s[0]), val(unix.O_WRONLY|unix.O_CLOEXEC))
	a.rows[len(a.rows)-1].tolerate(unix.ENOENT, unix.EACCES, unix.EROFS)
	wrote = a.fd(unix.SYS_WRITE, fd, a.bytes([]byte(s[1])), val(len(s[1])))
	a.rows[len(a.rows)-1].tolerate(unix.EBADF, unix.EINVAL, unix.EPERM)
	a.op(unix.SYS_CLOSE, fd).tolerate(unix.EBADF)
	a.free = append(a.free, uint8(fd.v), uint8(wrote.v)) // used before the next call that keeps a result
	return wrote
}

// tapRequest is struct ifreq for TUNSETIFF.
func (n *NetworkHolder) tapRequest() []byte {
	b := make([]byte, 40)
	copy(b[:unix.IFNAMSIZ-1], n.Device)
	*(*uint16)(unsafe.Pointer(&b[unix.IFNAMSIZ])) = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	return b
}

// parcelFDs is how many descriptors the message brings.
const parcelFDs = 5

// parcel is the control data of the message.
type parcel struct {
	header unix.Cmsghdr
	fds    [parcelFDs + 1]int32 // to a whole number of words: CMSG_SPACE
}
