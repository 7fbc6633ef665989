package gateway

import "golang.org/x/sys/unix"

// servingHere are older names of calls in serving.
var servingHere = []uintptr{unix.SYS_ACCEPT}
