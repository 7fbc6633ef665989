package sandbox

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A channel is the supervisor's end of the socket to the sandbox's own processes, until they execute the
// program. The kernel says who sent a message: with SO_PASSCRED each carries the sender's process id as seen
// from here, unix(7).
//
//	first process  's'                 it dies with the supervisor now
//	first process  't' + descriptor    the master of the sandbox's terminal
//	program        'p'                 about to become the program
//	pid 1          4 bytes             wait status of a program that stopped
//	supervisor     'm'                 what was waited for is done: the cgroup joined, the id maps written
type channel struct {
	fd      int
	program atomic.Int32 // process id of the program as seen here, 0 until it has said 'p'
}

// A message is one of those above, with what came along.
type message struct {
	kind   byte
	file   *os.File           // with 't'
	status syscall.WaitStatus // with a stop, kind 'w'
}

// next receives a message; flags as of recvmsg(2). The error is io.EOF when the last sender is gone, EAGAIN when there is
// none and it was not to wait.
func (c *channel) next(flags int) (message, error) {
	var text [4]byte
	oob := make([]byte, unix.CmsgSpace(4)+unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, oobn, _, _, err := unix.Recvmsg(c.fd, text[:], oob, flags|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return message{}, fmt.Errorf("hear from the sandbox: recvmsg: %w", err)
		}
		if n == 0 {
			return message{}, io.EOF
		}
		m := message{kind: text[0]}
		pid := int32(0)
		control, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range control {
			if cred, err := unix.ParseUnixCredentials(&control[i]); err == nil {
				pid = cred.Pid
			}
			if fds, err := unix.ParseUnixRights(&control[i]); err == nil {
				for _, fd := range fds {
					m.file = os.NewFile(uintptr(fd), "terminal")
				}
			}
		}
		switch {
		case n == 4:
			m.kind, m.status = 'w', syscall.WaitStatus(binary.NativeEndian.Uint32(text[:]))
		case m.kind == 'p':
			c.program.Store(pid)
		}
		return m, nil
	}
}

// drain takes what has arrived and is not waited for by anybody else.
func (c *channel) drain() {
	for {
		if _, err := c.next(unix.MSG_DONTWAIT); err != nil {
			return
		}
	}
}

// tell lets a waiting process go on.
func (c *channel) tell(kind byte) error {
	if err := unix.Send(c.fd, []byte{kind}, unix.MSG_NOSIGNAL); err != nil {
		return &Error{What: "tell the sandbox to go on", Cause: err, Exit: 125}
	}
	return nil
}

func (c *channel) close() { _ = unix.Close(c.fd) }
