//go:build amd64

package faults

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminal makes one for a run and notes its settings.
func (t *tracer) terminal() (slave *os.File, err error) {
	if t.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	fd := int(t.master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, err
	}
	if slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		t.settings = *settings
	}
	return slave, err
}

// settingsLeft tells whether a run has left the terminal in other settings than it found it.
func (t *tracer) settingsLeft(slave *os.File) string {
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	switch {
	case err != nil:
		return "the terminal: " + err.Error()
	case *after != t.settings:
		return fmt.Sprintf("the terminal's settings are %+v and were %+v", *after, t.settings)
	}
	return ""
}
