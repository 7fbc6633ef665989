package gateway

import (
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
				case w.err == unix.EAGAIN:
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
	src := &socketReader{size: minChunk}
	for {
		var end tcpip.Error
		err := rc.Read(func(fd uintptr) bool {
			src.fd = int(fd)
			for {
				var n int64
				src.begin()
				n, end = r.ep.Write(src, tcpip.WriteOptions{})
				r.in.Add(uint64(n))
				switch {
				case end != nil || src.end != nil:
					return true
				case src.empty && n == 0:
					return false
				}
			}
		})
		switch {
		case err != nil:
			r.abort()
			return
		case isBlock(end):
			<-writable
		case end == nil && src.end == io.EOF:
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

const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
)

// socketReader reads from a non-blocking socket into the stack's buffers. size
// follows what the socket gives: buffers are made before it is known how much
// comes, and a trickle must not hold large ones.
type socketReader struct {
	fd    int
	size  int
	got   int
	empty bool // the socket has no more for now
	end   error
}

func (s *socketReader) begin() { s.got, s.empty, s.end = 0, false, nil }

// Len implements tcpip.Payloader.
func (s *socketReader) Len() int { return s.size }

// Read implements io.Reader.
func (s *socketReader) Read(b []byte) (int, error) {
	if s.empty || s.end != nil {
		return 0, io.EOF
	}
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			s.adapt()
			return 0, io.EOF
		case err != nil:
			s.end = err
			return 0, io.EOF
		case n == 0:
			s.end = io.EOF
			return 0, io.EOF
		}
		s.got += n
		if n < len(b) {
			s.adapt()
		} else if s.got >= s.size {
			s.size = min(2*s.size, maxChunk)
		}
		return n, nil
	}
}

// adapt is called when the socket had less than there was room for.
func (s *socketReader) adapt() {
	s.empty = true
	if s.got < s.size/4 {
		s.size = max(s.size/2, minChunk)
	}
}
