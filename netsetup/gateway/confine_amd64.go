package gateway

import "golang.org/x/sys/unix"

// servingHere are older names of calls in serving.
var servingHere = []uintptr{
	unix.SYS_POLL, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_READLINK, unix.SYS_DUP2, unix.SYS_PIPE, unix.SYS_ACCEPT, unix.SYS_ACCESS,
}
