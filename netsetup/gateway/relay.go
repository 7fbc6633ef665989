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
	// work runs one direction.
	work   func(func())
	pace   pace // of what comes in
	broken atomic.Bool
}

// fewBytes is how much is taken from a socket without a look at how much there is. A question and its answer, one after
// the other, seldom are more.
const fewBytes = 2 << 10

var fewBuffers = sync.Pool{New: func() any { return new([fewBytes]byte) }}

func (r *relay) run() {
	rc, err := r.conn.SyscallConn()
	if err != nil {
		r.abort()
		return
	}
	var both sync.WaitGroup
	both.Add(1)
	r.work(func() {
		defer both.Done()
		r.outward(rc)
	})
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
	defer r.pace.end()
	few := fewBuffers.Get().(*[fewBytes]byte)
	defer fewBuffers.Put(few)
	src := &socketReader{few: few[:]}
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
				r.pace.moved(int(n))
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
		n, e := send(w.fd, b[done:])
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			w.err = e
			break
		}
		done += n
		w.count.Add(uint64(n))
	}
	return done, w.err
}

// maxChunk is the most that is taken from a socket at a time: whole segments, lest each chunk end in a small one.
const maxChunk = 4 * segmentLen

// socketReader reads from a non-blocking socket into the stack's buffers. The stack wants just as many bytes as Len
// says, and makes its buffers for them: so it is asked first how many there are, and a trickle holds no large buffers.
// Few are read beforehand, which saves the question.
type socketReader struct {
	fd   int
	have int // in rest, or else in the socket
	rest []byte
	few  []byte
	much bool // more than few came last
	end  error
}

// look finds out how much there is. With none it tells apart a socket that has nothing for now (nil), one that is at its end
// (io.EOF), and a broken one.
func (s *socketReader) look(fd uintptr) {
	s.fd, s.end = int(fd), nil
	if s.have = len(s.rest); s.have > 0 {
		return // the stack had no room for it
	}
	if s.much {
		// SIOCINQ of tcp(7), the number of TIOCINQ.
		n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
		if err != nil {
			s.end = err
			return
		}
		if s.have = min(n, maxChunk); s.have > 0 {
			s.much = s.have > len(s.few)
			return
		}
	}
	for {
		n, e := read(s.fd, s.few)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.EAGAIN:
		case e != 0:
			s.end = e
		case n == 0:
			s.end = io.EOF
		default:
			s.rest, s.have, s.much = s.few[:n], n, n == len(s.few)
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
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	for {
		n, e := read(s.fd, b)
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			s.end = e
			return 0, e
		case n == 0:
			s.end = io.ErrUnexpectedEOF
			return 0, s.end
		}
		return n, nil
	}
}
