package main

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// An abi is one of the three ways into the kernel that amd64 has. A filter that looks at the number alone is passed by
// using another one: seccomp(2), "Caveats"; CVE-2009-0835.
type abi int

const (
	abiNative abi = iota
	abiI386       // int 0x80: numbers and argument sizes of i386
	abiX32        // the native entry with bit 30 set in the number
)

func (a abi) String() string { return [...]string{"native", "i386", "x32"}[a] }

// x32Bit is __X32_SYSCALL_BIT.
const x32Bit = 0x40000000

// A call is a system call by number.
type call struct {
	nr   uintptr
	args [6]uintptr
}

// grant is what a profile would have to say for the call to be let through.
func (c call) grant(name string, by abi) []string {
	var args [6]uint64
	for i, a := range c.args {
		args[i] = uint64(a)
		if by == abiI386 {
			args[i] &= 0xffffffff
		}
	}
	return []string{check.CallGrant(name, by.String(), args)}
}

func native(c *call) uintptr
func i386(c *call) uintptr

// outcome is how a process ended that made one call.
type outcome struct {
	errno  syscall.Errno // 0 for success
	signal syscall.Signal
	failed error // the process could not be made
}

func (o outcome) String() string {
	switch {
	case o.failed != nil:
		return "no process: " + o.failed.Error()
	case o.signal != 0:
		return "killed by " + unix.SignalName(o.signal)
	case o.errno != 0:
		return errnoName(o.errno)
	}
	return "success"
}

func errnoName(e syscall.Errno) string {
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return fmt.Sprintf("errno %d", int(e))
}

// refused tells whether the call was kept from the code it is about: by a filter, by a missing privilege, or by death.
func (o outcome) refused() bool {
	switch {
	case o.signal != 0:
		return true
	case o.errno == unix.EPERM, o.errno == unix.ENOSYS, o.errno == unix.EACCES:
		return true
	}
	return false
}

// prelude is made first and its result passed over.
var (
	noPrelude  = &call{nr: unix.SYS_GETPID}
	newSession = &call{nr: unix.SYS_SETSID}
)

// try makes one call in a process of its own, which has a single thread and then ends: whatever the call changes, it
// changes for nobody else. Signals are blocked in it, so that the kernel's answer to a bad call is its end.
func try(a abi, prelude *call, c call) outcome {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return outcome{failed: err}
	}
	pid, errno := forkCall(a, prelude, &c)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if errno != 0 {
		return outcome{failed: errno}
	}
	var ws syscall.WaitStatus
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(50 * time.Microsecond) {
		got, err := syscall.Wait4(int(pid), &ws, syscall.WNOHANG|syscall.WALL, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return outcome{failed: err}
		case got != 0 && ws.Signaled():
			return outcome{signal: ws.Signal()}
		case got != 0 && ws.Exited():
			return outcome{errno: syscall.Errno(ws.ExitStatus())}
		case time.Now().After(deadline):
			_ = unix.Kill(int(pid), unix.SIGKILL)
		}
	}
}

// forkCall forks; the child makes the calls and exits with the errno, or 0. It must not grow the stack, allocate or
// return in the child.
//
//go:nosplit
//go:noinline
//go:norace
func forkCall(a abi, prelude, c *call) (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	native(prelude)
	var r uintptr
	if a == abiI386 {
		r = i386(c)
	} else {
		r = native(c)
	}
	status := uintptr(0)
	if r > ^uintptr(4095) {
		status = -r & 0xff
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
	}
}
