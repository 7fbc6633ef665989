package sandbox

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// callName names a system call of the table for a message.
func callName(nr uintptr) string {
	names := map[uintptr]string{
		unix.SYS_OPENAT2: "openat2", unix.SYS_OPEN_TREE: "open_tree", unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_MOUNT_SETATTR: "mount_setattr",
		unix.SYS_FSOPEN: "fsopen", unix.SYS_FSCONFIG: "fsconfig", unix.SYS_FSMOUNT: "fsmount", unix.SYS_CLOSE_RANGE: "close_range",
		unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_UMOUNT2: "umount2", unix.SYS_OPENAT: "openat", unix.SYS_WRITE: "write",
		unix.SYS_MKDIRAT: "mkdirat", unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_PRCTL: "prctl", unix.SYS_CAPSET: "capset",
		unix.SYS_SETRESUID: "setresuid", unix.SYS_SETRESGID: "setresgid", unix.SYS_SETGROUPS: "setgroups", unix.SYS_SECCOMP: "seccomp",
		unix.SYS_PRLIMIT64: "prlimit64", unix.SYS_CHDIR: "chdir", unix.SYS_SETHOSTNAME: "sethostname", unix.SYS_SETDOMAINNAME: "setdomainname",
		unix.SYS_SETPRIORITY: "setpriority", unix.SYS_SCHED_SETAFFINITY: "sched_setaffinity", unix.SYS_UNSHARE: "unshare", unix.SYS_IOCTL: "ioctl",
		unix.SYS_SETSID: "setsid", unix.SYS_SETPGID: "setpgid", unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_KEYCTL: "keyctl",
		unix.SYS_EXECVE: "execve", unix.SYS_DUP3: "dup3", unix.SYS_SOCKET: "socket", unix.SYS_RECVFROM: "recvfrom", unix.SYS_FCHDIR: "fchdir",
		unix.SYS_RT_SIGACTION: "rt_sigaction", unix.SYS_RT_SIGPROCMASK: "rt_sigprocmask", unix.SYS_UMASK: "umask", unix.SYS_CLOSE: "close",
		opFork: "clone",
	}
	if n, ok := names[nr]; ok {
		return n
	}
	return fmt.Sprintf("system call %d", nr)
}

// forkError says why no sandbox could be made and what to type about it.
func (p *Plan) forkError(failed *callError) error {
	if failed.nr == unix.SYS_PRCTL {
		return &Error{What: "have jail die with its caller", Cause: failed, Exit: 125,
			Hint: "a filter around jail refuses the call; where it cannot be changed, process.die-with-parent: false does without"}
	}
	errno := failed.errno
	e := &Error{What: p.cloneText(), Cause: errno, Exit: 125}
	if errno == syscall.EPERM && readLine("/proc/self/uid_map") == "" {
		e.What, e.Cause = "make a user namespace", fmt.Errorf("jail's own user id is not mapped in the user namespace it runs in: %w", errno)
		e.Hint = "start that one with a mapping, as in: unshare --user --map-current-user"
		return e
	}
	if p.clone&unix.CLONE_NEWUSER != 0 {
		if cause, hint := userNamespaceTrouble(errno, readSysctl); cause != "" {
			e.What, e.Cause, e.Hint = "make a user namespace", fmt.Errorf("%s: %w", cause, errno), hint
		}
	}
	return e
}

// userNamespaceTrouble finds what keeps an ordinary user from a user namespace and the remedy, from the
// kernel's settings (user_namespaces(7); Debian's and Ubuntu's own sysctls).
func userNamespaceTrouble(errno syscall.Errno, sysctl func(string) string) (cause, hint string) {
	switch {
	case sysctl("user.max_user_namespaces") == "0":
		return "user namespaces are switched off by the sysctl user.max_user_namespaces=0",
			"sudo sysctl -w user.max_user_namespaces=15000 (in a container or in another sandbox it is that one which allows none)"
	case sysctl("kernel.unprivileged_userns_clone") == "0":
		return "user namespaces of ordinary users are switched off by the sysctl kernel.unprivileged_userns_clone=0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" && (errno == syscall.EACCES || errno == syscall.EPERM):
		return "AppArmor lets only programs with a profile use user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)",
			"install jail's AppArmor profile (it comes with the Debian package), or: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errno == syscall.ENOSPC:
		return "the limit of nested or of all user namespaces is reached (sysctl user.max_user_namespaces, at most 32 levels)", "sudo sysctl -w user.max_user_namespaces=15000"
	case errno == syscall.EPERM:
		return "this system or container does not allow user namespaces",
			"in a container, run it with a system-call filter that allows clone with CLONE_NEWUSER (podman run --security-opt seccomp=unconfined, docker run --security-opt seccomp=unconfined), and outside a chroot"
	case errno == syscall.EINVAL:
		return "this kernel is built without one of the namespaces the profile asks for", "check CONFIG_USER_NS and the other CONFIG_*_NS options of the kernel"
	case errno == syscall.EAGAIN:
		return "the limit of processes of this user is reached", "see `ulimit -u` and the pids limit of the session's cgroup"
	}
	return "", ""
}

// readSysctl reads one value of /proc/sys, or "" where it is not to be had. The plain calls spare a start the
// runtime's poller.
func readSysctl(key string) string { return readLine("/proc/sys/" + strings.ReplaceAll(key, ".", "/")) }

func readLine(file string) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

// failureHint knows the failures that people meet.
func failureHint(s step, errno syscall.Errno) string {
	switch s := s.(type) {
	case newMount:
		if s.fstype == "proc" && errno == unix.EPERM {
			return "the /proc of this container is masked, so the kernel allows no new one; run the container with an unmasked /proc (podman run --security-opt unmask=/proc/*)"
		}
		if s.layers != nil && (errno == unix.EPERM || errno == unix.EINVAL) {
			return "overlays of an ordinary user need Linux 5.11 and directories on a file system that overlayfs takes as layers"
		}
	case writeIDMap:
		if errno == unix.EPERM || errno == unix.EACCES {
			if cause, hint := userNamespaceTrouble(syscall.EPERM, readSysctl); cause != "" {
				return cause + "; " + hint
			}
		}
	case privateMounts:
		if errno == unix.ENOSYS {
			return "jail needs Linux 5.12 or later (mount_setattr)"
		}
		if errno == unix.EPERM || errno == unix.EACCES {
			if readSysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" {
				_, hint := userNamespaceTrouble(syscall.EPERM, readSysctl)
				return hint
			}
		}
	case bindMount:
		if errno == unix.ELOOP {
			return "a symbolic link appeared on the way after it was looked at: something is changing these paths"
		}
	case rlimit:
		if errno == unix.EPERM {
			return "an ordinary user cannot raise a hard limit; see `ulimit -H`"
		}
	case denyWriteExec:
		if errno == unix.EINVAL {
			return "process.memory-deny-write-execute needs Linux 6.3 or later; take it out of the profile"
		}
	case coreScheduling:
		if errno == unix.EINVAL {
			return "process.core-scheduling needs Linux 5.14 or later with CONFIG_SCHED_CORE; take it out of the profile"
		}
	case workDir:
		if errno == unix.ENOENT {
			return "the directory does not exist inside; grant it or choose another with process.cwd or --cwd"
		}
	}
	return ""
}
