package gateway

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"jail/netsetup"
)

// flows are a member's connections that stand.
type flows struct {
	mu     sync.Mutex
	all    map[*flow]struct{}
	closed bool
}

type flow struct {
	info    netsetup.FlowInfo
	out, in atomic.Uint64
	// stop ends it.
	stop func()
}

// add enters a flow; false when the member is leaving, and the flow is stopped.
func (f *flows) add(x *flow) bool {
	x.info.Since = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		x.stop()
		return false
	}
	if f.all == nil {
		f.all = map[*flow]struct{}{}
	}
	f.all[x] = struct{}{}
	return true
}

func (f *flows) remove(x *flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, x)
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

func (f *flows) list(sandbox string) []netsetup.FlowInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []netsetup.FlowInfo
	for x := range f.all {
		i := x.info
		i.Sandbox, i.Out, i.In = sandbox, x.out.Load(), x.in.Load()
		out = append(out, i)
	}
	return out
}

// ownAddrs are the host's addresses, read again when they are older than a second.
type ownAddrs struct {
	mu   sync.Mutex
	at   time.Time
	have map[netip.Addr]struct{}
}

func (o *ownAddrs) contains(a netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.have == nil || time.Since(o.at) > time.Second {
		addrs, err := net.InterfaceAddrs()
		if err == nil {
			o.have, o.at = make(map[netip.Addr]struct{}, len(addrs)), time.Now()
			for _, n := range addrs {
				if p, err := netip.ParsePrefix(n.String()); err == nil {
					o.have[p.Addr().Unmap()] = struct{}{}
				}
			}
		}
	}
	_, own := o.have[a]
	return own
}
