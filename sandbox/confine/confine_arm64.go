package confine

import "golang.org/x/sys/unix"

// Arch is what the kernel calls this processor in struct seccomp_data: seccomp(2).
const Arch = unix.AUDIT_ARCH_AARCH64

var goRuntimeHere []uintptr
