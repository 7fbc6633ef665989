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
