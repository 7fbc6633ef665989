package sandbox

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventsFD is the number at which every process of the sandbox holds its end of the channel to the supervisor
// until the program is executed.
const eventsFD = 3

// keepDescriptors closes whatever the caller left open, but for the standard streams, the channel to the
// supervisor and the rooms, before anything else is opened: CVE-2024-21626.
type keepDescriptors struct{}

func (keepDescriptors) String() string { return "close every descriptor but 0, 1, 2" }
func (keepDescriptors) lower(a *assembler) {
	a.op(unix.SYS_CLOSE_RANGE, val(a.keepBelow), val(^uint32(0)), val(0))
}

// resetSignals gives the signals their default action that a program would inherit ignored. execve(2) resets
// every handled signal by itself, and the Go runtime handles all but these: SIGHUP and SIGINT where the caller
// ignored them (nohup does), and those that C libraries keep for themselves.
type resetSignals struct{}

func (resetSignals) String() string { return "reset signal actions" }
func (resetSignals) lower(a *assembler) {
	action := ptr(a, &[4]uint64{}) // struct kernel_sigaction, all zero: SIG_DFL
	for _, sig := range []int{int(unix.SIGHUP), int(unix.SIGINT), 32, 33, 34} {
		a.op(unix.SYS_RT_SIGACTION, val(sig), action, val(0), val(8))
	}
}

// dieWithSupervisor has the kernel kill the sandbox when the supervisor goes. The message to the supervisor
// comes second: had it died in between, the write would fail and the sandbox end here.
type dieWithSupervisor struct {
	by unix.Signal // that is waited for, see reap; 0 is SIGKILL
}

func (d dieWithSupervisor) String() string {
	if d.by != 0 {
		return "end with the supervisor, and end what is left"
	}
	return "die with the supervisor"
}

func (d dieWithSupervisor) lower(a *assembler) {
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_PDEATHSIG), val(cmp.Or(d.by, unix.SIGKILL)))
	a.hello('s')
}

// hello sends one byte to the supervisor, which learns the sender's process id from the socket: SO_PASSCRED, unix(7).
func (a *assembler) hello(b byte) {
	a.op(unix.SYS_SENDTO, val(eventsFD), a.bytes([]byte{b}), val(1), val(unix.MSG_NOSIGNAL), val(0), val(0))
}

// writeFile writes a small file of /proc in one write, as those files want.
func (a *assembler) writeFile(path, content string) *call {
	fd := a.fd(unix.SYS_OPENAT, cwd, a.str(path), val(unix.O_WRONLY|unix.O_CLOEXEC))
	b := []byte(content)
	a.op(unix.SYS_WRITE, fd, a.bytes(b), val(len(b)))
	n := len(a.rows) - 1
	a.close(fd)
	return &a.rows[n]
}

// writeIDMap maps the caller's own ids, which a process may do for itself: user_namespaces(7).
type writeIDMap struct{ uidInside, uid, gidInside, gid int }

func (w writeIDMap) String() string {
	return fmt.Sprintf("map uid %d to %d and gid %d to %d", w.uidInside, w.uid, w.gidInside, w.gid)
}

func (w writeIDMap) lower(a *assembler) {
	a.writeFile("/proc/self/uid_map", fmt.Sprintf("%d %d 1\n", w.uidInside, w.uid))
	a.writeFile("/proc/self/setgroups", "deny")
	a.writeFile("/proc/self/gid_map", fmt.Sprintf("%d %d 1\n", w.gidInside, w.gid))
}

// awaitIDMap waits until the supervisor has written the maps, then takes on the sandbox's first user where
// the caller's own id is not mapped and so would own nothing.
type awaitIDMap struct {
	maps   idMaps
	become bool
}

func (w awaitIDMap) String() string {
	return fmt.Sprintf("wait for the supervisor to map uids %s and gids %s", rangesText(w.maps.uids), rangesText(w.maps.gids))
}

func (w awaitIDMap) lower(a *assembler) {
	a.await()
	if w.become {
		becomeFirstUser{w.maps}.lower(a)
	}
}

// becomeFirstUser takes on the first ids that are mapped.
type becomeFirstUser struct{ maps idMaps }

func (b becomeFirstUser) String() string {
	return fmt.Sprintf("become uid %d gid %d", b.maps.uids[0].ContainerID, b.maps.gids[0].ContainerID)
}

func (b becomeFirstUser) lower(a *assembler) {
	gid, uid := val(b.maps.gids[0].ContainerID), val(b.maps.uids[0].ContainerID)
	a.op(unix.SYS_SETRESGID, gid, gid, gid)
	a.op(unix.SYS_SETRESUID, uid, uid, uid)
}

// await waits for the supervisor's word. Should the supervisor be gone there is none to come, and what follows
// fails for want of what was waited for.
func (a *assembler) await() {
	a.op(unix.SYS_RECVFROM, val(eventsFD), a.bytes(make([]byte, 1)), val(1), val(0), val(0), val(0))
}

// denyUserNamespaces sets the limit of nested user namespaces to none: a second lock behind the system-call
// filter (namespaces(7), /proc/sys/user). Where /proc/sys is read-only, as in a container, the filter stands alone.
type denyUserNamespaces struct{}

func (denyUserNamespaces) String() string { return "allow no user namespace below this one" }
func (denyUserNamespaces) lower(a *assembler) {
	fd := a.fd(unix.SYS_OPENAT, cwd, a.str("/proc/sys/user/max_user_namespaces"), val(unix.O_WRONLY|unix.O_CLOEXEC))
	a.rows[len(a.rows)-1].tolerate(unix.EROFS, unix.EACCES, unix.ENOENT)
	a.op(unix.SYS_WRITE, fd, a.bytes([]byte("0")), val(1)).tolerate(unix.EBADF)
	a.op(unix.SYS_CLOSE, fd).tolerate(unix.EBADF)
	a.free = append(a.free, uint8(fd.v))
}

// newCgroupNamespace makes the sandbox's own cgroup the root of what it can see: cgroup_namespaces(7).
type newCgroupNamespace struct{}

func (newCgroupNamespace) String() string     { return "make a cgroup namespace" }
func (newCgroupNamespace) lower(a *assembler) { a.op(unix.SYS_UNSHARE, val(unix.CLONE_NEWCGROUP)) }

// newSession leaves the caller's session, so that no controlling terminal of the caller's is in reach.
type newSession struct{}

func (newSession) String() string     { return "start a session of its own" }
func (newSession) lower(a *assembler) { a.op(unix.SYS_SETSID) }

// hideSelf makes pid 1, which still runs jail's code, unreadable: no process of the sandbox can trace it or read its
// memory or descriptors (ptrace(2), dumpable). Jail's environment and command line are not in it: memory.keepToItself.
type hideSelf struct{}

func (hideSelf) String() string { return "hide pid 1's memory and descriptors" }
func (hideSelf) lower(a *assembler) {
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_DUMPABLE), val(0), val(0), val(0), val(0))
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_NAME), a.str("jail-init"), val(0), val(0), val(0))
}

// writeTimeOffsets opens a time namespace for the program: time_namespaces(7).
type writeTimeOffsets struct{ text string }

func (w writeTimeOffsets) String() string {
	return "make a time namespace with offsets " + strings.ReplaceAll(strings.TrimSpace(w.text), "\n", ", ")
}

func (w writeTimeOffsets) lower(a *assembler) {
	a.op(unix.SYS_UNSHARE, val(unix.CLONE_NEWTIME))
	if w.text != "" {
		a.writeFile("/proc/self/timens_offsets", w.text)
	}
}

type oomScore struct{ adj int }

func (o oomScore) String() string     { return fmt.Sprintf("set the OOM score adjustment to %d", o.adj) }
func (o oomScore) lower(a *assembler) { a.writeFile("/proc/self/oom_score_adj", fmt.Sprint(o.adj)) }

type hostName struct{ name string }

func (h hostName) String() string { return "set the host name to " + h.name }
func (h hostName) lower(a *assembler) {
	a.op(unix.SYS_SETHOSTNAME, a.bytes([]byte(h.name)), val(len(h.name)))
}

type domainName struct{ name string }

func (d domainName) String() string { return "set the NIS domain name to " + d.name }
func (d domainName) lower(a *assembler) {
	a.op(unix.SYS_SETDOMAINNAME, a.bytes([]byte(d.name)), val(len(d.name)))
}

// loopbackUp brings up lo in a network namespace of the sandbox's own: netdevice(7).
type loopbackUp struct{}

func (loopbackUp) String() string { return "bring the loopback interface up" }
func (loopbackUp) lower(a *assembler) {
	req := make([]byte, 40) // struct ifreq
	copy(req, "lo")
	binary.NativeEndian.PutUint16(req[16:], unix.IFF_UP|unix.IFF_RUNNING|unix.IFF_LOOPBACK)
	fd := a.fd(unix.SYS_SOCKET, val(unix.AF_INET), val(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), val(0))
	a.op(unix.SYS_IOCTL, fd, val(unix.SIOCSIFFLAGS), a.bytes(req))
	a.close(fd)
}

// pingGroups lets the program's group send ICMP echo without a capability, icmp(7), ping_group_range: only in
// a network namespace of the sandbox's own.
type sysctl struct{ key, value string }

func (s sysctl) String() string { return fmt.Sprintf("set sysctl %s to %s", s.key, s.value) }
func (s sysctl) lower(a *assembler) {
	a.writeFile("/proc/sys/"+strings.ReplaceAll(s.key, ".", "/"), s.value)
}

// openTerminal makes a pseudo-terminal on the sandbox's own devpts, sends the master to the supervisor and
// makes the slave the controlling terminal of the session. The caller's terminal is then out of reach:
// CVE-2017-5226, CVE-2019-10063.
type openTerminal struct {
	console bool
	ptmx    string // where the host's own are made; "" is the sandbox's devpts
}

func (openTerminal) String() string {
	return "make a terminal of the sandbox's own for those of 0, 1, 2 that are terminals"
}

func (t openTerminal) lower(a *assembler) {
	master := a.fd(unix.SYS_OPENAT, cwd, a.str(cmp.Or(t.ptmx, "/dev/pts/ptmx")), val(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW))
	a.op(unix.SYS_IOCTL, master, val(unix.TIOCSPTLCK), ptr(a, new(int32)))
	slave := a.fd(unix.SYS_IOCTL, master, val(unix.TIOCGPTPEER), val(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))

	control := a.room(unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	a.op(opStore, address(control[unix.CmsgLen(0):]), master)
	text, iov := a.room(1), allot[unix.Iovec](&a.memory)
	text[0] = 't'
	iov.Base = &text[0]
	iov.SetLen(1)
	msg := &unix.Msghdr{Iov: iov, Iovlen: 1, Control: &control[0]}
	msg.SetControllen(len(control))
	a.op(unix.SYS_SENDMSG, val(eventsFD), ptr(a, msg), val(unix.MSG_NOSIGNAL))
	a.close(master)

	// As the caller's terminal is set, so is this one, before the program can look.
	a.op(unix.SYS_IOCTL, slave, val(unix.TCSETS), ptr(a, &a.console.settings))
	a.op(unix.SYS_IOCTL, slave, val(unix.TIOCSWINSZ), ptr(a, &a.console.size))
	a.op(unix.SYS_IOCTL, slave, val(unix.TIOCSCTTY), val(0))
	for fd, replaced := range a.console.replaced {
		if replaced {
			a.op(unix.SYS_DUP3, slave, val(fd), val(0))
		}
	}
	if t.console {
		m := a.fd(unix.SYS_OPEN_TREE, slave, a.str(""), val(cloneTree))
		a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), cwd, a.str("/dev/console"), val(fromFD))
		a.close(m)
	}
	a.terminal = slave
}

// forkProgram parts the program from pid 1, whose memory it shares until it is executed. A program with a time namespace
// of its own cannot: before Linux 6.2 it enters that as it is forked, and must share no memory then (EINVAL, copy_process
// in kernel/fork.c); later kernels have it enter with its execution.
type forkProgram struct{ ownMemory bool }

func (forkProgram) String() string { return "fork the program; pid 1 stays to reap" }
func (f forkProgram) lower(a *assembler) {
	flags := unix.CLONE_VM | int(unix.SIGCHLD)
	if f.ownMemory {
		flags = int(unix.SIGCHLD)
	}
	a.program = a.fd(opFork, val(flags), val(0))
	a.forkRow = len(a.rows) - 1
}

// reapAll is pid 1 for the rest of its life.
type reapAll struct{ joining, alone bool }

func (r reapAll) String() string {
	if r.alone {
		return "drop everything, reap, and when the program goes end all that is left"
	}
	return "drop everything, reap, and go when the program goes"
}
func (r reapAll) lower(a *assembler) {
	last := eventsFD
	if r.joining {
		last = leashFD
	}
	tty := arg{v: ^uintptr(0)}
	if a.terminal.slot {
		last++
		tty = val(last)
		a.op(unix.SYS_DUP3, a.terminal, tty, val(unix.O_CLOEXEC)).tolerate(unix.EINVAL) // already that number
	}
	a.op(unix.SYS_CLOSE_RANGE, val(last+1), val(^uint32(0)), val(0))
	a.op(unix.SYS_CLOSE_RANGE, val(0), val(2), val(0))
	a.capset(capSets{})
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_NO_NEW_PRIVS), val(1), val(0), val(0), val(0))
	const wake = 1 // FUTEX_WAKE
	alone := arg{v: uintptr(unsafe.Pointer(&a.shared.alone))}
	a.op(opStore, alone, val(1))
	a.op(unix.SYS_FUTEX, alone, val(wake), val(1))
	all := 0
	if r.alone {
		all = 1
	}
	a.op(opReap, a.program, val(eventsFD), tty, val(all))
}

// subreaper has what loses its parent inside become a child of the first process, where there is no pid namespace to see
// to that: PR_SET_CHILD_SUBREAPER(2const).
type subreaper struct{}

func (subreaper) String() string { return "be the parent of what loses its own" }
func (subreaper) lower(a *assembler) {
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_CHILD_SUBREAPER), val(1), val(0), val(0), val(0))
}

// foreground puts the program into a process group of its own and gives that group the terminal. Its parent
// stays in another group of the same session, so the group is not orphaned and can be stopped: setpgid(2),
// credentials(7).
type foreground struct{ terminal bool }

func (f foreground) String() string {
	if f.terminal {
		return "lead a process group of its own, in the foreground of the terminal"
	}
	return "lead a process group of its own"
}

func (f foreground) lower(a *assembler) {
	// The group is there before the supervisor may signal it.
	a.op(unix.SYS_SETPGID, val(0), val(0))
	a.hello('p')
	if f.terminal && !a.console.background {
		pid := a.fd(unix.SYS_GETPID)
		group := ptr(a, new(int32))
		a.op(opStore, group, pid)
		a.op(unix.SYS_IOCTL, a.terminal, val(unix.TIOCSPGRP), group)
	}
}

// awaitOthers waits until pid 1 has dropped what it held, so that nothing runs beside a pid 1 that could not, and until
// the supervisor passes signals on, so that none sent from the program's first moment is lost. Both ready themselves while
// the sandbox is set up, so there is hardly ever anything to wait for.
type awaitOthers struct{}

func (awaitOthers) String() string {
	return "wait until pid 1 has dropped everything and the supervisor passes signals on"
}
func (awaitOthers) lower(a *assembler) {
	for _, word := range []*uint32{&a.shared.alone, &a.shared.ready} {
		a.op(unix.SYS_FUTEX, arg{v: uintptr(unsafe.Pointer(word))}, val(0), val(0), val(0)).tolerate(unix.EAGAIN) // FUTEX_WAIT while 0
	}
}

type workDir struct{ path string }

func (w workDir) String() string     { return "change to " + w.path }
func (w workDir) lower(a *assembler) { a.op(unix.SYS_CHDIR, a.str(w.path)) }

type umask struct{ mask int }

func (u umask) String() string     { return fmt.Sprintf("set the umask to %03o", u.mask) }
func (u umask) lower(a *assembler) { a.op(unix.SYS_UMASK, val(u.mask)) }

type nice struct{ value int }

func (n nice) String() string { return fmt.Sprintf("set the nice value to %d", n.value) }
func (n nice) lower(a *assembler) {
	a.op(unix.SYS_SETPRIORITY, val(unix.PRIO_PROCESS), val(0), val(n.value))
}

type affinity struct{ set unix.CPUSet }

func (s affinity) String() string { return fmt.Sprintf("run on %d cpus", s.set.Count()) }
func (s affinity) lower(a *assembler) {
	a.op(unix.SYS_SCHED_SETAFFINITY, val(0), val(unsafe.Sizeof(s.set)), ptr(a, &s.set))
}

type rlimit struct {
	name     string
	resource int
	limit    unix.Rlimit
}

func (r rlimit) String() string {
	return fmt.Sprintf("set %s to %s, at most %s", r.name, limitText(r.limit.Cur), limitText(r.limit.Max))
}

func limitText(v uint64) string {
	if v == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

func (r rlimit) lower(a *assembler) {
	a.op(unix.SYS_PRLIMIT64, val(0), val(r.resource), ptr(a, &r.limit), val(0))
}

// execute runs the program: each candidate in turn, as execvp(3) searches PATH.
type execute struct {
	candidates []string
	args, env  []string
}

func (e execute) String() string {
	if len(e.candidates) > 1 {
		return fmt.Sprintf("execute %s, found on PATH", e.args[0])
	}
	return "execute " + e.candidates[0]
}

func (e execute) lower(a *assembler) {
	// The signal mask goes last: until here no signal may run into a half-made process.
	argv, envp := a.vec(e.args), a.vec(e.env)
	a.op(unix.SYS_RT_SIGPROCMASK, val(unix.SIG_SETMASK), ptr(a, new(uint64)), val(0), val(8))
	a.execRow = len(a.rows)
	for i, c := range e.candidates {
		row := a.op(unix.SYS_EXECVE, a.str(c), argv, envp)
		if i < len(e.candidates)-1 {
			row.tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		}
	}
}
