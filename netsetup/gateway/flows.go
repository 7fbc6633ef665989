package gateway

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"jail/netsetup"
)

// maxTotals bounds the destinations that are counted one by one.
const maxTotals = 4096

// flows are a member's connections: those that stand, and what those that ended have carried.
type flows struct {
	mu     sync.Mutex
	all    map[*flow]struct{}
	ended  map[destination]netsetup.Total
	closed bool
}

// destination is what flows are counted by. Of a flow that came in by a published port it is the other side's
// address and the port inside.
type destination struct {
	proto, name string
	addr        netip.Addr
	port        uint16
	published   bool
}

type flow struct {
	to      destination
	out, in atomic.Uint64
	// stop ends it.
	stop func()
}

// add enters a flow; false when the member is leaving, and the flow is stopped.
func (f *flows) add(x *flow) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		x.stop()
		return false
	}
	if f.all == nil {
		f.all, f.ended = map[*flow]struct{}{}, map[destination]netsetup.Total{}
	}
	f.all[x] = struct{}{}
	return true
}

func (f *flows) remove(x *flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.all[x]; !there {
		return
	}
	delete(f.all, x)
	t, known := f.ended[x.to]
	if !known && len(f.ended) >= maxTotals {
		x.to = destination{}
		t = f.ended[x.to]
	}
	t.Flows++
	t.Out += x.out.Load()
	t.In += x.in.Load()
	f.ended[x.to] = t
}

func (f *flows) closeAll() {
	f.mu.Lock()
	all := f.all
	f.all, f.closed = nil, true
	f.mu.Unlock()
	for x := range all {
		x.stop()
	}
}

// count counts a flow that the kernel carries.
func (f *flows) count(to destination) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.all, f.ended = map[*flow]struct{}{}, map[destination]netsetup.Total{}
	}
	t, known := f.ended[to]
	if !known && len(f.ended) >= maxTotals {
		to = destination{}
		t = f.ended[to]
	}
	t.Flows++
	f.ended[to] = t
}

// totals sums up by destination. standing is what the kernel carries: flows that were
// counted when they began.
func (f *flows) totals(standing map[destination]netsetup.Total) []netsetup.Total {
	f.mu.Lock()
	defer f.mu.Unlock()
	sums := map[destination]netsetup.Total{}
	maps.Copy(sums, f.ended)
	for to, s := range standing {
		t := sums[to]
		t.Open += s.Open
		t.Flows = max(t.Flows, t.Open)
		t.Out += s.Out
		t.In += s.In
		sums[to] = t
	}
	for x := range f.all {
		t := sums[x.to]
		t.Open++
		t.Flows++
		t.Out += x.out.Load()
		t.In += x.in.Load()
		sums[x.to] = t
	}
	out := make([]netsetup.Total, 0, len(sums))
	for to, t := range sums {
		t.Proto, t.Name, t.Addr, t.Port, t.Published = to.proto, to.name, to.addr, to.port, to.published
		out = append(out, t)
	}
	return out
}
