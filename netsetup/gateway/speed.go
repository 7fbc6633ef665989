package gateway

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A gateway runs on one processor (GOMAXPROCS) as long as little comes in. One after the other, the steps of a
// connection take half the time that they take on two, where most of it goes to waking the other thread; so do bytes
// that go out. Those that come in by the megabyte are copied from a socket to the device, while the
// answers to them come the other way: that is worth all processors there are (figures: docs/speed.md).
const (
	// bulk is how many bytes have to come in within a period for that.
	bulk   = 2 << 20
	period = 250 * time.Millisecond
)

// speed counts what comes in, and sets the number of processors by it.
type speed struct {
	all   int // processors there are
	bytes atomic.Int64
	on    atomic.Bool // all of them are in use
	mu    sync.Mutex
	timer *time.Timer
	fast  atomic.Int32 // flows with a fastBuffer
}

func newSpeed() *speed {
	s := &speed{all: runtime.GOMAXPROCS(0)}
	runtime.GOMAXPROCS(1)
	return s
}

// add counts bytes. The first ones begin a period.
func (s *speed) add(n int) {
	if n <= fewBytes {
		return // no reason to look at the clock
	}
	now := s.bytes.Add(int64(n))
	if first, much := now == int64(n), now > bulk && !s.on.Load(); first || much {
		s.change(much)
	}
}

func (s *speed) change(much bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if much && s.on.CompareAndSwap(false, true) {
		runtime.GOMAXPROCS(s.all)
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(period, s.end)
	}
}

// end is called at a period's end.
func (s *speed) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	if much := s.bytes.Swap(0) > bulk; !much && s.on.CompareAndSwap(true, false) {
		runtime.GOMAXPROCS(1)
	} else if much {
		s.timer = time.AfterFunc(period, s.end)
	}
}

// What a flow that brings much in may have under way to the sandbox. As much as any other would stop it whenever the
// sandbox's program has no processor (figures: docs/speed.md). maxFast flows have it, which bounds the memory that
// readers can hold by becoming slow: one that stands still has it until it goes on or ends.
const (
	fastBuffer = 1 << 20
	maxFast    = 16
)

// A pace is how fast one flow brings bytes in.
type pace struct {
	speed *speed
	// resize sets what the flow may have under way; nil for one that may not have more than the others.
	resize func(size int64)
	bytes  int
	since  time.Time
	fast   bool
}

// moved is told of bytes that came in.
func (p *pace) moved(n int) {
	p.speed.add(n)
	if p.bytes += n; p.bytes < bulk {
		return
	}
	now := time.Now()
	p.set(now.Sub(p.since) < period)
	p.bytes, p.since = 0, now
}

// end gives back what a fast flow has.
func (p *pace) end() { p.set(false) }

func (p *pace) set(fast bool) {
	switch {
	case fast == p.fast, p.resize == nil:
		return
	case !fast:
		p.speed.fast.Add(-1)
		p.resize(sendBuffer)
	case p.speed.fast.Add(1) > maxFast:
		p.speed.fast.Add(-1)
		return
	default:
		p.resize(fastBuffer)
	}
	p.fast = fast
}
