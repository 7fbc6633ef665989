// Package procfs finds proc(5) where this process has it: at /proc, or at / once it has made that its root.
package procfs

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var isRoot atomic.Bool

// Path is where a file of proc(5), given from there, is found.
func Path(elem string) string {
	if isRoot.Load() {
		return "/" + elem
	}
	return "/proc/" + elem
}

// MakeRoot makes /proc the root and the working directory of this process, all of its threads included, which leaves it
// no other file: chroot(2). It needs CAP_SYS_CHROOT, which must be given up afterwards, as must every descriptor of a
// directory that lies elsewhere.
//
// What is below /proc leads on, by the links root, cwd and fd of other processes, only to those whose user namespace this
// process has rights in: ptrace(2), PTRACE_MODE_READ. For an ordinary user's process in a user namespace of its own those
// are the processes of namespaces below it, and none of the user's session.
func MakeRoot() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc", &fs); err != nil {
		return fmt.Errorf("make /proc the root: %w", err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return errors.New("make /proc the root: it is no proc file system")
	}
	if err := unix.Chroot("/proc"); err != nil {
		return fmt.Errorf("make /proc the root: chroot: %w", err)
	}
	isRoot.Store(true)
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("make /proc the root: chdir: %w", err)
	}
	return nil
}
