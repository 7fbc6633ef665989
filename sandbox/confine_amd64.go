package sandbox

import "golang.org/x/sys/unix"

// supervisingHere are older names of calls in supervising.
var supervisingHere = []uintptr{
	unix.SYS_POLL, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_OPEN, unix.SYS_ACCESS, unix.SYS_READLINK,
	unix.SYS_RMDIR, unix.SYS_UNLINK, unix.SYS_GETPGRP, unix.SYS_DUP2, unix.SYS_PIPE,
}
