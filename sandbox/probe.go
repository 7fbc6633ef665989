package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ProbeUserNamespaces tries whether this user can make the namespaces of a sandbox, with the rights inside that a set-up
// needs. The error is an *Error with the remedy. It runs program, which must do nothing, in them.
func ProbeUserNamespaces(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		Chroot:      "/", // needs a capability: AppArmor's restriction lets the namespace be made and takes those
	}
	err := cmd.Run()
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) {
		return err
	}
	e := &Error{What: "make a user namespace", Cause: errno, Exit: 125}
	if cause, hint := userNamespaceTrouble(errno, readSysctl); cause != "" {
		e.Cause, e.Hint = fmt.Errorf("%s: %w", cause, errno), hint
	}
	return e
}

// LackingNamespaces tries whether this user can have the namespaces that a configuration asks for, with the rights
// inside that a set-up begins with: nil where it can. What may be otherwise a moment later is an error: it must not
// decide how a program is held.
func LackingNamespaces(spec *specs.Spec) (*Lack, error) {
	a := &assembler{}
	defer a.unmap()
	var flags uint64
	if spec.Linux != nil {
		for _, ns := range spec.Linux.Namespaces {
			if ns.Path == "" {
				flags |= cloneFlags[ns.Type]
			}
		}
	}
	const what = "make namespaces"
	if flags&unix.CLONE_NEWUSER != 0 {
		writeIDMap{os.Getuid(), os.Getuid(), os.Getgid(), os.Getgid()}.lower(a)
	}
	if flags&unix.CLONE_NEWNS != 0 {
		privateMounts{}.lower(a) // AppArmor lets a user namespace be made and takes the rights in it
	}
	err := a.once(flags, what)
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) {
		return nil, err
	}
	switch errno {
	case unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EINVAL, unix.ENOSYS, unix.EUSERS:
	default:
		return nil, err
	}
	cause, hint := userNamespaceTrouble(errno, readSysctl)
	if flags&unix.CLONE_NEWUSER == 0 || cause == "" {
		return &Lack{fmt.Sprintf("this system lets none be made (%v)", errno), failureHint(privateMounts{}, errno)}, nil
	}
	return &Lack{cause, hint}, nil
}

// A Lack is why something cannot be had on this machine, and what to do about it where that is known.
type Lack struct{ Cause, Remedy string }

// ProbeSeccomp tells whether the kernel takes system-call filters: seccomp(2), SECCOMP_GET_ACTION_AVAIL.
func ProbeSeccomp() error {
	action := uint32(0x80000000) // SECCOMP_RET_KILL_PROCESS
	const getActionAvail = 2
	if _, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		return errno
	}
	return nil
}

// ProbeLandlock gives the version of Landlock's interface: landlock_create_ruleset(2). ENOSYS is a kernel without
// it, EOPNOTSUPP one that was not told to use it at boot.
func ProbeLandlock() (abi int, err error) {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	r, _, errno := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
