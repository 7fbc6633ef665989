package gateway

import "sync/atomic"

// workers run functions in goroutines that wait for the next one when one is done. A connection takes deep calls, and
// a new goroutine's stack would be copied three times on the way down; theirs have grown already.
type workers struct {
	idle    chan func()
	waiting atomic.Int32
}

// maxIdle is how many wait, with 16 to 32 KiB each.
const maxIdle = 16

// run does not wait for f.
func (w *workers) run(f func()) {
	select {
	case w.idle <- f:
	default:
		go w.serve(f)
	}
}

func (w *workers) serve(f func()) {
	for {
		f()
		if w.waiting.Add(1) > maxIdle {
			w.waiting.Add(-1)
			return
		}
		f = <-w.idle
		w.waiting.Add(-1)
	}
}
