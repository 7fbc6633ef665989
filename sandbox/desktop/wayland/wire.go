package wayland

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// display is the object that every client has from the start, as wl_display.
const display = 1

// Numbers of requests and events in their interfaces (wayland.xml, security-context-v1.xml).
const (
	displaySync         = 0
	displayGetRegistry  = 1
	displayError        = 0 // event
	registryBind        = 0
	registryGlobal      = 0 // event
	registryRemove      = 1 // event
	callbackDone        = 0 // event
	managerListener     = 1
	contextSetEngine    = 1
	contextSetApp       = 2
	contextSetInstance  = 3
	contextCommit       = 4
	securityManagerName = "wp_security_context_manager_v1"
)

// headerSize is what comes before the arguments of each message.
const headerSize = 8

// maxFDs is how many descriptors libwayland takes with one message of the socket (connection.c, MAX_FDS_OUT).
const maxFDs = 28

// A message is one request or event, header included.
type message []byte

func (m message) object() uint32 { return binary.NativeEndian.Uint32(m) }
func (m message) opcode() uint16 { return uint16(binary.NativeEndian.Uint32(m[4:])) }
func (m message) args() args     { return args{rest: m[headerSize:]} }

// next takes the first message off b; ok is false where b holds no whole one.
func next(b []byte) (m message, rest []byte, ok bool, err error) {
	if len(b) < headerSize {
		return nil, b, false, nil
	}
	size := int(binary.NativeEndian.Uint32(b[4:]) >> 16)
	if size < headerSize || size%4 != 0 {
		return nil, b, false, fmt.Errorf("a message of %d bytes", size)
	}
	if len(b) < size {
		return nil, b, false, nil
	}
	return message(b[:size]), b[size:], true, nil
}

// args reads the arguments of a message. Reading beyond its end gives zero values and sets short.
type args struct {
	rest  []byte
	short bool
}

func (a *args) word() uint32 {
	if len(a.rest) < 4 {
		a.rest, a.short = nil, true
		return 0
	}
	v := binary.NativeEndian.Uint32(a.rest)
	a.rest = a.rest[4:]
	return v
}

// text reads a string: its length with the NUL at its end, then the bytes, filled up to whole words.
func (a *args) text() string {
	n := int64(a.word())
	padded := (n + 3) &^ 3
	if n == 0 || padded > int64(len(a.rest)) || a.rest[n-1] != 0 {
		a.rest, a.short = nil, true
		return ""
	}
	s := string(a.rest[:n-1])
	a.rest = a.rest[padded:]
	return s
}

// A builder writes one message.
type builder struct{ b []byte }

func newMessage(object uint32, opcode uint16) *builder {
	b := &builder{}
	b.word(object)
	b.word(uint32(opcode))
	return b
}

func (b *builder) word(v uint32) *builder {
	b.b = binary.NativeEndian.AppendUint32(b.b, v)
	return b
}

func (b *builder) text(s string) *builder {
	b.word(uint32(len(s) + 1))
	b.b = append(append(b.b, s...), 0)
	for len(b.b)%4 != 0 {
		b.b = append(b.b, 0)
	}
	return b
}

// bytes gives the message with its size in the header.
func (b *builder) bytes() []byte {
	binary.NativeEndian.PutUint32(b.b[4:], uint32(len(b.b))<<16|binary.NativeEndian.Uint32(b.b[4:]))
	return b.b
}

// A conn is a stream socket that carries descriptors beside its bytes. It belongs to the runtime's poller, so
// waiting costs no thread.
type conn struct{ f *os.File }

func newConn(fd int) (*conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &conn{os.NewFile(uintptr(fd), "wayland")}, nil
}

// dial connects to a socket by its path.
func dial(path string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return newConn(fd)
}

func (c *conn) close() { _ = c.f.Close() }

var errTruncated = errors.New("more descriptors at once than the protocol allows")

// read waits for bytes and what descriptors come with them. At the end of the stream n is 0.
func (c *conn) read(b []byte) (n int, fds []int, err error) {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	oob := make([]byte, unix.CmsgSpace(maxFDs*4))
	var oobn, flags int
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, rerr = unix.Recvmsg(int(fd), b, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
	})
	if err = errors.Join(err, rerr); err != nil {
		return 0, nil, err
	}
	control, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range control {
		if got, err := unix.ParseUnixRights(&control[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errTruncated
	}
	if err != nil {
		closeAll(fds)
		return 0, nil, err
	}
	return n, fds, nil
}

// write sends all of b, with descriptors beside its first byte.
func (c *conn) write(b []byte, fds []int) error {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for len(b) > 0 {
		var n int
		var werr error
		err := raw.Write(func(fd uintptr) bool {
			n, werr = unix.SendmsgN(int(fd), b, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			return !errors.Is(werr, unix.EAGAIN) && !errors.Is(werr, unix.EINTR)
		})
		if err = errors.Join(err, werr); err != nil {
			return err
		}
		b, oob = b[n:], nil
	}
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
