package console

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoTerminal is what Open answers when none of the streams is a terminal.
var ErrNoTerminal = errors.New("none of standard input, output and error is a terminal")

// terminal is the caller's terminal, through a descriptor of our own.
type terminal struct {
	fd          int
	controlling bool // job control applies: it is our session's terminal
}

// openTerminal opens the terminal behind fd anew. The caller's descriptor is
// shared with the shell and with whatever else runs on that terminal, and
// O_NONBLOCK belongs to the open file description (fcntl(2)), so setting it
// there would break their reads.
func openTerminal(fd int, controlling bool) (*terminal, error) {
	const flags = unix.O_RDWR | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	path := "/dev/tty"
	if !controlling {
		path = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	own, err := unix.Open(path, flags, 0)
	if err != nil {
		// The terminal may belong to another user (su) and be none of our
		// session's. Our duplicate then blocks when the terminal is stopped
		// with Ctrl-S, which is bearable; changing the caller's is not.
		own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, fmt.Errorf("open the caller's terminal (descriptor %d): %w", fd, err)
		}
		return &terminal{fd: own, controlling: controlling}, nil
	}
	if own > 2 {
		return &terminal{fd: own, controlling: controlling}, nil
	}
	// jail was started with a closed stream, and its number must stay closed
	// for the program.
	high, err := unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 3)
	_ = unix.Close(own)
	if err != nil {
		return nil, fmt.Errorf("duplicate the caller's terminal: %w", err)
	}
	return &terminal{fd: high, controlling: controlling}, nil
}

// foreground reports whether jail may read from the terminal and set it. A
// terminal that is not our session's has no job control over us.
func (t *terminal) foreground() bool {
	if !t.controlling {
		return true
	}
	group, err := unix.IoctlGetUint32(t.fd, unix.TIOCGPGRP)
	return err == nil && int(group) == unix.Getpgrp()
}

// gone tells a terminal that was closed for good from one that merely refuses
// a background process: every request to a hung-up terminal fails.
func (t *terminal) gone() bool {
	_, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
	return err != nil
}

// controls reports whether fd is the controlling terminal of our session. For
// any other terminal tcgetsid(3) fails with ENOTTY. Device numbers would not
// tell: two devpts instances use the same ones.
func controls(fd int) bool {
	session, err := unix.IoctlGetUint32(fd, unix.TIOCGSID)
	if err != nil {
		return false
	}
	own, err := unix.Getsid(0)
	return err == nil && int(session) == own
}

// stream is what Open finds out about one of the caller's standard streams.
type stream struct {
	fd       int // -1 when closed
	terminal bool
	pipe     bool // a pipe or a socket: somebody may sit at the other end
}

func lookAt(f *os.File) stream {
	s := stream{fd: -1}
	if f == nil {
		return s
	}
	// Not f.Fd(), which clears O_NONBLOCK on the caller's description.
	conn, err := f.SyscallConn()
	if err != nil {
		return s
	}
	_ = conn.Control(func(fd uintptr) {
		var st unix.Stat_t
		if unix.Fstat(int(fd), &st) != nil {
			return
		}
		s.fd = int(fd)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFIFO, unix.S_IFSOCK:
			s.pipe = true
		case unix.S_IFCHR:
			_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
			s.terminal = err == nil
		}
	})
	return s
}

// raw gives the settings under which the terminal passes every byte through
// unchanged, in both directions (cfmakeraw(3)).
func raw(t unix.Termios) unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP |
		unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN] = 1
	t.Cc[unix.VTIME] = 0
	return t
}

// doubles reports whether two terminals in a row turn a newline into too many
// characters.
func doubles(outer, inner *unix.Termios) bool {
	const both = unix.OPOST | unix.ONLCR
	return outer.Oflag&inner.Oflag&both == both
}

// undoNewlines takes back, in place, what ONLCR did inside, for an outer
// terminal that does it too. Every newline there came out as two characters, so
// what is left is what the program wrote.
func undoNewlines(b []byte) []byte {
	n := 0
	for _, ch := range b {
		if ch == '\n' && n > 0 && b[n-1] == '\r' {
			b[n-1] = ch
			continue
		}
		b[n] = ch
		n++
	}
	return b[:n]
}
