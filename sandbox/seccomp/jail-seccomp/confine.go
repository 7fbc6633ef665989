//go:build cgo

package main

import (
	"fmt"
	"time"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// Bounds for a run: the worst spec that rules.Read lets pass needs a fraction.
const (
	maxSeconds = 10
	maxMemory  = 512 << 20
)

// confine leaves the process what Go and malloc need to compute, and read and
// write on the descriptors it has: no file, no socket, no other process, no
// new code, no new privileges.
// Preconditions: nothing of the spec was looked at.
func confine() error {
	// The runtime opens its poller with the first timer, and sets one of its own
	// after a garbage collection; it dies if it may not. (A timer with a channel
	// would wait for somebody to receive from it.)
	time.AfterFunc(time.Hour, func() {})
	limits := []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_CPU, maxSeconds},
		{unix.RLIMIT_DATA, maxMemory},
		{unix.RLIMIT_NOFILE, 0},
	}
	for _, l := range limits {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("setrlimit %d: %w", l.what, err)
		}
	}
	filter, err := ownFilter()
	if err != nil {
		return err
	}
	defer filter.Release()
	// Load sets no_new_privs first (SCMP_FLTATR_CTL_NNP is on by default), and
	// binds all threads that the runtime has started (the binding asks for
	// SECCOMP_FILTER_FLAG_TSYNC, which is as old as seccomp(2) itself).
	if err := filter.Load(); err != nil {
		return fmt.Errorf("load own filter: %w", err)
	}
	return nil
}

// ownCalls are open without a look at their arguments. All others answer EPERM
// rather than kill: the runtime asks for things that it can do without, such
// as names for its mappings, and no call is needed to be refused loudly.
var ownCalls = []string{
	"read", "write", "close", "epoll_pwait", "epoll_ctl",
	"munmap", "madvise", "mremap", "brk", "futex",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "sched_yield", "sched_getaffinity",
	"nanosleep", "clock_nanosleep", "clock_gettime", "getrandom",
	"getpid", "gettid", "tgkill", "set_robust_list", "rseq", "exit", "exit_group", "restart_syscall",
}

// ownMasked are open when the bits of Mask in an argument are those of Want.
var ownMasked = []struct {
	name       string
	argument   uint
	mask, want uint64
}{
	{"mmap", 2, unix.PROT_EXEC, 0},
	{"mprotect", 2, unix.PROT_EXEC, 0},
	{"clone", 0, unix.CLONE_VM | unix.CLONE_THREAD, unix.CLONE_VM | unix.CLONE_THREAD},
}

func ownFilter() (*libseccomp.ScmpFilter, error) {
	filter, err := libseccomp.NewFilter(libseccomp.ActErrno.SetReturnCode(int16(unix.EPERM)))
	if err != nil {
		return nil, fmt.Errorf("own filter: %w", err)
	}
	for _, name := range ownCalls {
		call, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			return nil, fmt.Errorf("own filter: %s: %w", name, err)
		}
		if err := filter.AddRule(call, libseccomp.ActAllow); err != nil {
			return nil, fmt.Errorf("own filter: %s: %w", name, err)
		}
	}
	for _, m := range ownMasked {
		call, err := libseccomp.GetSyscallFromName(m.name)
		if err != nil {
			return nil, fmt.Errorf("own filter: %s: %w", m.name, err)
		}
		cond := libseccomp.ScmpCondition{Argument: m.argument, Op: libseccomp.CompareMaskedEqual, Operand1: m.mask, Operand2: m.want}
		if err := filter.AddRuleConditional(call, libseccomp.ActAllow, []libseccomp.ScmpCondition{cond}); err != nil {
			return nil, fmt.Errorf("own filter: %s: %w", m.name, err)
		}
	}
	// glibc falls back to clone, whose flags can be seen.
	clone3, err := libseccomp.GetSyscallFromName("clone3")
	if err != nil {
		return nil, fmt.Errorf("own filter: clone3: %w", err)
	}
	if err := filter.AddRule(clone3, libseccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS))); err != nil {
		return nil, fmt.Errorf("own filter: clone3: %w", err)
	}
	return filter, nil
}
