package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"jail/netsetup"
	"jail/netsetup/egress"
)

// reports is what a member's supervisor is told, each thing once. Nobody who has something to report waits for the
// supervisor, which may be stopped or wait for its own output; and only who wants to waits for the search through /proc,
// whose length is the member's to choose. Both would otherwise hold up all members of a network.
type reports struct {
	// underway counts what is not told yet.
	underway atomic.Int32
	mu       sync.Mutex
	seen     map[reportKey]struct{}
	// Of the first only the programs are found out, so that a supervisor that does not read keeps no program waiting for
	// its answer. Neither gets longer than maxReports and two notices.
	naming, telling line
	unnamed         sync.Once
	// send carries an event to the supervisor.
	send func(netsetup.Event)
}

type reportKey struct {
	kind, proto, name, why string
	addr                   netip.Addr
	port                   uint16
}

// maxReports bounds what is remembered, and with it what a program that scans
// can make jail print.
const maxReports = 1024

// report has the supervisor told of an event, once, and does not wait. whose, if any, finds out the program; it is
// asked only for what is told.
func (m *member) report(e netsetup.Event, whose search) { m.reportThen(e, whose, func() {}) }

// reportThen calls then when the program is known or need not be: what waits for an answer until then is still there to
// be found.
func (m *member) reportThen(e netsetup.Event, whose search, then func()) {
	r := &m.reports
	r.underway.Add(1)
	k := reportKey{e.Kind, e.Proto, e.Name, e.Why, e.Addr, e.Port}
	r.mu.Lock()
	if r.seen == nil {
		r.seen = map[reportKey]struct{}{}
	}
	_, again := r.seen[k]
	n := len(r.seen)
	if !again && n <= maxReports {
		r.seen[k] = struct{}{}
	}
	send := r.send
	r.mu.Unlock()
	if again || n > maxReports || send == nil {
		r.underway.Add(-1)
		then()
		return
	}
	if n == maxReports {
		e = netsetup.Event{Kind: "notice", Why: "more refusals are not reported: there were 1024 different ones"}
	}
	e.Time, e.Sandbox = time.Now(), m.name
	// The time in the line counts: however many wait there, none waits longer.
	until := e.Time.Add(whosePatience)
	r.naming.add(func() {
		late := false
		if whose != nil {
			e.Program, late = whose(until)
		}
		then()
		r.telling.add(func() {
			defer r.underway.Add(-1)
			send(e)
			if late {
				r.unnamed.Do(func() {
					send(netsetup.Event{Time: time.Now(), Sandbox: m.name, Kind: "notice",
						Why: "some refusals do not say whose they are: finding the programs took too long"})
				})
			}
		})
	})
}

// refusal is a flow that may not be, and the port inside that it would come from.
type refusal struct {
	proto   egress.Proto
	from    uint16
	flow    egress.Flow
	verdict egress.Verdict
}

// refuse reports a refusal, and calls answer when the program may hear of it.
func (m *member) refuse(r *refusal, answer func()) {
	f, v := r.flow, r.verdict
	e := netsetup.Event{Kind: "flow", Proto: r.proto.String(), Addr: f.Addr, Port: f.Port, Why: v.Why, Write: v.Write}
	if f.Host {
		e.Addr, e.Name = netip.Addr{}, netsetup.HostName
	} else if len(f.Names) > 0 {
		e.Name = f.Names[0]
	}
	if v.Rule != nil {
		e.Rule = v.Rule.String()
	}
	m.reportThen(e, m.whose(r.proto, r.from), answer)
}

// lastPatience bounds the wait for what is to be told at the end: somewhat more than the search for a program.
const lastPatience = whosePatience + 50*time.Millisecond

// tellLast waits until what the program has sent before its end is dealt with, so that it is reported if it is refused.
func (m *member) tellLast() {
	until := time.Now().Add(lastPatience)
	for m.g.device != nil && (!m.g.device.idle() || m.reports.underway.Load() > 0) && time.Now().Before(until) {
		time.Sleep(time.Millisecond)
	}
}

// tellPending waits until what is to be reported already is told.
func (m *member) tellPending() {
	for until := time.Now().Add(lastPatience); m.reports.underway.Load() > 0 && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
}

// line runs functions one after the other, in a goroutine that is there as long as there are some.
type line struct {
	mu      sync.Mutex
	waiting []func()
	running bool
}

// add does not wait for f.
func (l *line) add(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, f)
	if !l.running {
		l.running = true
		go l.run()
	}
}

func (l *line) run() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.waiting, l.running = nil, false
			l.mu.Unlock()
			return
		}
		f := l.waiting[0]
		l.waiting[0] = nil // what it holds may be freed
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		f()
	}
}
