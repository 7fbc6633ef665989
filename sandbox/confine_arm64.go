package sandbox

import (
	"golang.org/x/sys/unix"

	"jail/sandbox/confine"
)

// supervisingHere and changingHere are empty: the processor has no older names of calls.
var supervisingHere, changingHere []uintptr

// opensHere lets files be opened for reading.
var opensHere = []confine.Guard{confine.Opens(unix.SYS_OPENAT, 2)}
