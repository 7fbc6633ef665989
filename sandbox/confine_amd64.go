package sandbox

import (
	"golang.org/x/sys/unix"

	"jail/sandbox/confine"
)

// supervisingHere are older names of calls in supervising.
var supervisingHere = []uintptr{
	unix.SYS_POLL, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS, unix.SYS_READLINK,
	unix.SYS_GETPGRP, unix.SYS_DUP2, unix.SYS_PIPE,
}

// changingHere are older names of calls in changing.
var changingHere = []uintptr{unix.SYS_OPEN, unix.SYS_RMDIR, unix.SYS_UNLINK}

// opensHere let files be opened for reading.
var opensHere = []confine.Guard{confine.Opens(unix.SYS_OPENAT, 2), confine.Opens(unix.SYS_OPEN, 1)}
