package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// relay carries a TCP connection between an endpoint of the stack and a socket of
// the host until both directions are closed. Each direction ends on its own
// (half-close); a reset of one side resets the other.
//
// Bytes are not copied on the way: what the stack holds is written to the socket
// from where it lies, and what comes in is read straight into the stack's buffers.
type relay struct {
	ep   tcpip.Endpoint
	wq   *waiter.Queue
	conn *net.TCPConn
	// out and in count the sandbox's bytes.
	out, in *atomic.Uint64
	broken  atomic.Bool
}

func (r *relay) run() {
	rc, err := r.conn.SyscallConn()
	if err != nil {
		r.abort()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.outward(rc) })
	r.inward(rc)
	both.Wait()
	if r.broken.Load() {
		r.abort()
		return
	}
	r.ep.Close()
	r.conn.Close()
}

// abort resets both sides.
func (r *relay) abort() {
	r.broken.Store(true)
	r.ep.Abort()
	_ = r.conn.SetLinger(0)
	_ = r.conn.Close()
}

// outward carries what the sandbox sends.
func (r *relay) outward(rc syscall.RawConn) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	r.wq.EventRegister(&entry)
	defer r.wq.EventUnregister(&entry)
	w := &socketWriter{count: r.out}
	for {
		var end tcpip.Error
		// The function is called again when the socket can take more.
		err := rc.Write(func(fd uintptr) bool {
			w.fd, w.err = int(fd), nil
			for {
				_, end = r.ep.Read(w, tcpip.ReadOptions{})
				switch {
				case errors.Is(w.err, unix.EAGAIN):
					return false
				case end != nil || w.err != nil:
					return true
				}
			}
		})
		switch {
		case err != nil || w.err != nil:
			r.abort()
			return
		case isBlock(end):
			<-readable
		case isClosed(end):
			_ = r.conn.CloseWrite()
			return
		default:
			r.abort()
			return
		}
	}
}

// inward carries what the sandbox receives.
func (r *relay) inward(rc syscall.RawConn) {
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	r.wq.EventRegister(&entry)
	defer r.wq.EventUnregister(&entry)
	src := &socketReader{}
	for {
		var end tcpip.Error
		err := rc.Read(func(fd uintptr) bool {
			for {
				end = nil
				if src.look(fd); src.end != nil {
					return true
				}
				if src.have == 0 {
					return false
				}
				var n int64
				n, end = r.ep.Write(src, tcpip.WriteOptions{})
				r.in.Add(uint64(n))
				if end != nil || src.end != nil {
					return true
				}
			}
		})
		switch {
		case err != nil:
			r.abort()
			return
		case isBlock(end):
			<-writable
		case end == nil && errors.Is(src.end, io.EOF):
			_ = r.ep.Shutdown(tcpip.ShutdownWrite)
			return
		default:
			r.abort()
			return
		}
	}
}

func isBlock(e tcpip.Error) bool { _, ok := e.(*tcpip.ErrWouldBlock); return ok }

func isClosed(e tcpip.Error) bool { _, ok := e.(*tcpip.ErrClosedForReceive); return ok }

// socketWriter writes to a non-blocking socket. It is used under the endpoint's
// lock, so it must not wait.
type socketWriter struct {
	fd    int
	err   error
	count *atomic.Uint64
}

// Write implements io.Writer.
func (w *socketWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		// MSG_NOSIGNAL: a closed peer is an error, not the end of the process.
		n, err := unix.SendmsgN(w.fd, b[done:], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			w.err = err
			break
		}
		done += n
		w.count.Add(uint64(n))
	}
	return done, w.err
}

// maxChunk is the most that is taken from a socket at a time.
const maxChunk = 256 << 10

// socketReader reads from a non-blocking socket into the stack's buffers. The stack
// wants just as many bytes as Len says, and makes its buffers for them: so it is
// asked first how many there are, and a trickle holds no large buffers.
type socketReader struct {
	fd   int
	have int
	end  error
}

// look finds out how much the socket has (SIOCINQ of tcp(7), the number of TIOCINQ). With none it tells apart a socket that
// has nothing for now (nil), one that is at its end (io.EOF), and a broken one.
func (s *socketReader) look(fd uintptr) {
	s.fd, s.end = int(fd), nil
	n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
	if err != nil {
		s.have, s.end = 0, err
		return
	}
	if s.have = min(n, maxChunk); s.have > 0 {
		return
	}
	var b [1]byte
	for {
		n, _, err := unix.Recvfrom(s.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
		case err != nil:
			s.end = err
		case n == 0:
			s.end = io.EOF
		default:
			s.have = n // came in between
		}
		return
	}
}

// Len implements tcpip.Payloader.
func (s *socketReader) Len() int { return s.have }

// Read implements io.Reader. It is the only reader of the socket, so what look saw
// is there.
func (s *socketReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			s.end = err
			return 0, err
		}
		return n, nil
	}
}
