package sandbox

import "golang.org/x/sys/unix"

// aloneCallsHere are older names of calls in aloneCalls, and of setting a file's times.
var aloneCallsHere = []uintptr{
	unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT,
}
