package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// atSecure is the auxiliary vector's AT_SECURE, see getauxval(3).
const atSecure = 23

var errElevated = &hinted{
	err:  errors.New("refusing to run set-user-id, set-group-id or with file capabilities"),
	hint: "jail needs no privileges of its own; as root: chmod ug-s FILE, setcap -r FILE",
}

// refuseElevated is the first thing that jail does. Whoever starts a privileged jail chooses its
// profile, environment and arguments, and nothing here is written to withstand that: set-uid
// sandboxes have been a road to root again and again (CVE-2022-31214). The kernel sets AT_SECURE when
// an exec changed the ids or added capabilities from the file, permitted ones too; the ids are
// compared as well because a caller may have had a mixed set of them before the exec. Capabilities
// that a caller hands on as ambient ones are the caller's own and are no reason to refuse.
func refuseElevated() error {
	auxv, err := unix.Auxv()
	if err != nil {
		return errElevated
	}
	for _, entry := range auxv {
		if entry[0] == atSecure && entry[1] != 0 {
			return errElevated
		}
	}
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return errElevated
	}
	return nil
}
