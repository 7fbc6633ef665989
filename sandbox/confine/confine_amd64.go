package confine

import "golang.org/x/sys/unix"

// Arch is what the kernel calls this processor in struct seccomp_data: seccomp(2).
const Arch = unix.AUDIT_ARCH_X86_64

var goRuntimeHere = []uintptr{unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL, unix.SYS_TIME}
