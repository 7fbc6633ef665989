package sandbox

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"jail/sandbox/confine"
)

// supervising are the calls that a supervisor makes once its sandbox runs: it waits, passes signals and bytes on, reads
// counters, keeps sealed memory for those who ask, and takes its control group away. supervisingHere are those that this
// processor has besides.
//
// What is not among them: to execute anything, to make namespaces, mounts and sockets other than unix ones, to trace, and
// all that @default of a profile leaves out; nor, for one that has no control group to take away, to open a file for writing
// or to make or remove one. It stays dumpable, as jail ps needs (package running).
var supervising = []uintptr{
	unix.SYS_PPOLL, unix.SYS_TGKILL, unix.SYS_PRLIMIT64,

	// Files: what is open already, and more to read: /proc, counters.
	unix.SYS_CLOSE_RANGE, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX,
	unix.SYS_STATFS, unix.SYS_FSTATFS, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_READV, unix.SYS_WRITEV,
	unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_GETDENTS64, unix.SYS_FTRUNCATE,
	unix.SYS_FLOCK, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_SPLICE, unix.SYS_SENDFILE,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_PSELECT6, unix.SYS_IOCTL, unix.SYS_MEMFD_CREATE, unix.SYS_GETCWD, unix.SYS_GETXATTR,

	// Processes: the sandbox's and the terminal's watcher, which is forked when the terminal is taken.
	unix.SYS_KILL, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_PRCTL, unix.SYS_GETRUSAGE,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETPGID, unix.SYS_SETPGID, unix.SYS_GETSID, unix.SYS_SETSID,

	// Sockets that are there, and new ones of the unix family.
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_ACCEPT4, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT,
	unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_CONNECT,
}

// changing are calls of a supervisor that has a control group besides: it writes to files there, and removes folders.
var changing = []uintptr{unix.SYS_OPENAT, unix.SYS_UNLINKAT}

// Confine leaves this process, all of its threads and what it may fork, the calls that a supervisor needs once its
// sandbox runs; all others are EPERM from then on. It cannot be undone, and sets no_new_privs. A bug in what reads
// the sandbox's messages then has no program to start with, and no file to change but those of its control group and what
// else the user may change when it has one.
//
// Root's supervisor gives up all capabilities but CAP_KILL, by which it passes signals on to a program with another uid, and
// with a control group CAP_DAC_OVERRIDE.
func Confine(hasCgroup bool) error {
	if os.Geteuid() == 0 {
		keep := uint32(1 << unix.CAP_KILL)
		if hasCgroup {
			keep |= 1 << unix.CAP_DAC_OVERRIDE // the folders above may be read-only by their mode
		}
		if err := confine.Capabilities(keep); err != nil {
			return fmt.Errorf("confine the supervisor: %w", err)
		}
	}
	if err := confine.Threads(supervisorCalls(hasCgroup)); err != nil {
		return fmt.Errorf("confine the supervisor: %w", err)
	}
	return nil
}

func supervisorCalls(hasCgroup bool) ([]uintptr, []confine.Guard) {
	guards := []confine.Guard{confine.Sockets(unix.AF_UNIX), confine.Forks}
	if hasCgroup {
		return slices.Concat(supervising, supervisingHere, changing, changingHere), guards
	}
	return slices.Concat(supervising, supervisingHere), append(guards, opensHere...)
}
