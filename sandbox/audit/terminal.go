package audit

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// terminal is a pseudo-terminal to start a sandbox from, as a shell would: pty(7).
type terminal struct {
	master, slave *os.File
	id            check.FileID
}

// openTerminal gives nil where the machine has no /dev/ptmx.
func openTerminal() *terminal {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	t := &terminal{master: os.NewFile(uintptr(fd), "/dev/ptmx")}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.master.Close()
		return nil
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.master.Close()
		return nil
	}
	t.slave = os.NewFile(slave, "terminal")
	var st unix.Stat_t
	if unix.Fstat(int(slave), &st) == nil {
		t.id = check.FileID{Dev: st.Dev, Ino: st.Ino}
	}
	// What is echoed is read, so that nobody waits.
	go func() { _, _ = io.Copy(io.Discard, t.master) }()
	return t
}

func (t *terminal) close() {
	t.slave.Close()
	t.master.Close()
}
