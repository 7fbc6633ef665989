package gateway

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestSpeed: all processors are in use while much comes in, and one when it has ceased.
func TestSpeed(t *testing.T) {
	if before := runtime.GOMAXPROCS(4); true {
		defer runtime.GOMAXPROCS(before)
	}
	s := newSpeed()
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Fatalf("%d processors at rest", n)
	}
	s.add(fewBytes)
	s.add(bulk / 2)
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d processors for half of what is much", n)
	}
	// However busy this machine is, within one period there is enough of it.
	until(t, 4, func() { s.add(bulk) })
	until(t, 1, func() { s.add(fewBytes + 1); time.Sleep(period / 10) })
}

// until goes on until there are n processors.
func until(t *testing.T, n int, do func()) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); runtime.GOMAXPROCS(0) != n; do() {
		if time.Now().After(end) {
			t.Fatalf("%d processors, not %d", runtime.GOMAXPROCS(0), n)
		}
	}
}

// TestWorkers: everything handed to them is run, however many at once, and few of them stay.
func TestWorkers(t *testing.T) {
	w := &workers{idle: make(chan func())}
	for range 3 {
		var all sync.WaitGroup
		hold := make(chan struct{})
		for range 4 * maxIdle {
			all.Add(1)
			w.run(func() { defer all.Done(); <-hold })
		}
		close(hold)
		all.Wait()
	}
	end := time.Now().Add(30 * time.Second)
	for n := w.waiting.Load(); n != maxIdle; n = w.waiting.Load() {
		if time.Now().After(end) {
			t.Fatalf("%d wait, not %d", n, maxIdle)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestPace: some flows that bring in much have more under way, until they bring in less or end.
func TestPace(t *testing.T) {
	s := newSpeed()
	defer runtime.GOMAXPROCS(s.all)
	sizes := make([]int64, maxFast+2)
	paces := make([]*pace, len(sizes))
	for i := range paces {
		paces[i] = &pace{speed: s, resize: func(size int64) { sizes[i] = size }}
		paces[i].moved(bulk)
		if sizes[i] != 0 {
			t.Fatalf("a flow has %d before it is known to be fast", sizes[i])
		}
	}
	for i, p := range paces {
		p.since = time.Now()
		p.moved(bulk)
		if fast := sizes[i] == fastBuffer; fast != (i < maxFast) {
			t.Errorf("flow %d has %d", i, sizes[i])
		}
	}
	paces[0].since = time.Now().Add(-2 * period)
	paces[0].moved(bulk)
	if sizes[0] != sendBuffer {
		t.Errorf("a flow that slowed down has %d", sizes[0])
	}
	paces[1].end()
	for i, p := range paces[maxFast:] {
		p.since = time.Now()
		p.moved(bulk)
		if sizes[maxFast+i] != fastBuffer {
			t.Errorf("flow %d has %d when there was room again", maxFast+i, sizes[maxFast+i])
		}
	}
	for _, p := range paces {
		p.end()
	}
	if n := s.fast.Load(); n != 0 {
		t.Errorf("%d fast flows when all have ended", n)
	}
}
