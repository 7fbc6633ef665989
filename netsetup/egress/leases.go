package egress

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of leases. A program may go on using an address for a while after its
// record's TTL (browsers keep answers for a minute), and a sandbox that looks
// up names without end must not fill the gateway's memory.
const (
	minLease  = time.Minute
	maxLease  = 24 * time.Hour
	maxLeases = 65536
)

// Leases are the addresses handed out, with the names they were handed out
// for. It is safe for use by several goroutines.
type Leases struct {
	mu     sync.Mutex
	byAddr map[netip.Addr][]lease
	count  int
}

type lease struct {
	name   string
	until  time.Time
	pinned bool
}

// Add leases an address under a name for a record's TTL.
func (l *Leases) Add(name string, a netip.Addr, ttl time.Duration, now time.Time) {
	l.add(lease{name: name, until: now.Add(min(max(ttl, minLease), maxLease))}, a, now)
}

// Pin leases an address that the profile itself gave a name, for good.
func (l *Leases) Pin(name string, a netip.Addr) {
	l.add(lease{name: name, pinned: true}, a, time.Time{})
}

func (l *Leases) add(n lease, a netip.Addr, now time.Time) {
	a = Canonical(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddr == nil {
		l.byAddr = map[netip.Addr][]lease{}
	}
	for i, have := range l.byAddr[a] {
		if have.name == n.name {
			if !have.pinned && (n.pinned || n.until.After(have.until)) {
				l.byAddr[a][i] = n
			}
			return
		}
	}
	if l.count >= maxLeases && !n.pinned {
		l.sweep(now)
	}
	l.byAddr[a] = append(l.byAddr[a], n)
	l.count++
}

// sweep drops what has run out, and if that is too little the half that runs
// out first.
func (l *Leases) sweep(now time.Time) {
	l.dropBefore(now)
	if l.count < maxLeases {
		return
	}
	var ends []time.Time
	for _, ls := range l.byAddr {
		for _, e := range ls {
			if !e.pinned {
				ends = append(ends, e.until)
			}
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	l.dropBefore(ends[len(ends)/2].Add(1))
}

func (l *Leases) dropBefore(t time.Time) {
	for a, ls := range l.byAddr {
		kept := slices.DeleteFunc(ls, func(e lease) bool { return !e.pinned && e.until.Before(t) })
		l.count -= len(ls) - len(kept)
		if len(kept) == 0 {
			delete(l.byAddr, a)
		} else {
			l.byAddr[a] = kept
		}
	}
}

// Names gives the names an address is leased under now, and those of them that
// are pinned.
func (l *Leases) Names(a netip.Addr, now time.Time) (names, pinned []string) {
	a = Canonical(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.byAddr[a] {
		if e.pinned {
			pinned = append(pinned, e.name)
		}
		if e.pinned || now.Before(e.until) {
			names = append(names, e.name)
		}
	}
	return names, pinned
}
