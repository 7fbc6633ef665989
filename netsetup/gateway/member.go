package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"jail/netsetup"
	"jail/netsetup/egress"
	"jail/netsetup/link"
	"jail/netsetup/names"
)

// member is a sandbox on the gateway: its addresses, its rules, its reports.
type member struct {
	g      *gateway
	name   string
	config netsetup.Config
	plan   *netsetup.Plan
	policy *egress.Policy
	leases egress.Leases
	space  *link.Space // nil when its links were made already
	netns  spaceID     // its network namespace
	outer  string

	resolver *names.Resolver

	tcp, udp, pings, streams atomic.Int32

	flows     flows
	reports   reports
	listeners []*netsetup.Listener // its published ports
}

// proposal is a flow before it is allowed: where it is to go on the host's network.
type proposal struct {
	dial []netip.AddrPort // tried in order
	name string           // what the address was handed out for
}

// decide asks the policy about a flow, and reports a refusal. from is the port inside.
func (m *member) decide(proto egress.Proto, from uint16, dst netip.AddrPort) (proposal, bool) {
	f := egress.Flow{Proto: proto, Addr: egress.Canonical(dst.Addr()), Port: dst.Port()}
	if dst.Addr() == m.plan.Host4 || dst.Addr() == m.plan.Host6 {
		f.Host = true
	} else {
		f.Own, f.Broadcast = m.g.own.look(f.Addr)
		f.Names, f.Pinned = m.leases.Names(f.Addr, time.Now())
	}
	v := m.policy.Decide(f)
	if v.Allow && (m.plan.Up4.Contains(f.Addr) || m.plan.Up6.Contains(f.Addr)) {
		v = egress.Verdict{Why: "it is an address of the way out, " + m.config.Uplink + ", which leads to the host"}
	}
	if !v.Allow {
		m.refused(proto, from, f, v)
		return proposal{}, false
	}
	var p proposal
	if len(f.Names) > 0 {
		p.name = f.Names[0]
	}
	if f.Host {
		p.name = netsetup.HostName
		p.dial = []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dst.Port()),
			netip.AddrPortFrom(netip.IPv6Loopback(), dst.Port()),
		}
		return p, true
	}
	p.dial = []netip.AddrPort{netip.AddrPortFrom(f.Addr, dst.Port())}
	return p, true
}

// ownAgain is asked when a connection stands: its two ends having one address
// means that the host itself answers there, on an address that it was given
// after the list was read, or by a rule of its firewall.
func (m *member) ownAgain(proto egress.Proto, from uint16, local, remote netip.AddrPort) bool {
	if local.Addr().Unmap() != remote.Addr().Unmap() || remote.Addr().IsLoopback() {
		return false
	}
	f := egress.Flow{Proto: proto, Addr: egress.Canonical(remote.Addr()), Port: remote.Port(), Own: true}
	f.Names, f.Pinned = m.leases.Names(f.Addr, time.Now())
	v := m.policy.Decide(f)
	if !v.Allow {
		m.refused(proto, from, f, v)
	}
	return !v.Allow
}

// barred reports that the host's kernel refuses to send to an address, by EACCES of connect(2): the address is one of
// broadcast, and no socket here has SO_BROADCAST, or a route of the host's is of the type "prohibit".
func (m *member) barred(proto egress.Proto, from uint16, dst netip.AddrPort) {
	f := egress.Flow{Proto: proto, Addr: egress.Canonical(dst.Addr()), Port: dst.Port()}
	f.Names, f.Pinned = m.leases.Names(f.Addr, time.Now())
	m.refused(proto, from, f, egress.Verdict{Why: "no program may send to " + f.Addr.String() + ": the host has it for a broadcast address, or its routes prohibit it"})
}

func (m *member) refused(proto egress.Proto, from uint16, f egress.Flow, v egress.Verdict) {
	e := netsetup.Event{Kind: "flow", Proto: proto.String(), Addr: f.Addr, Port: f.Port, Why: v.Why, Write: v.Write}
	if f.Host {
		e.Addr, e.Name = netip.Addr{}, netsetup.HostName
	} else if len(f.Names) > 0 {
		e.Name = f.Names[0]
	}
	if v.Rule != nil {
		e.Rule = v.Rule.String()
	}
	m.report(e, func() string { return m.whose(proto, from) })
}

// reports holds what was reported, for each is reported once.
type reports struct {
	underway atomic.Int32
	mu       sync.Mutex
	seen     map[reportKey]struct{}
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

// report tells the supervisor of an event, once. whose, if any, finds out the program; it
// is asked only for what is told.
func (m *member) report(e netsetup.Event, whose func() string) {
	k := reportKey{e.Kind, e.Proto, e.Name, e.Why, e.Addr, e.Port}
	r := &m.reports
	r.underway.Add(1)
	defer r.underway.Add(-1)
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
		return
	}
	if n == maxReports {
		e = netsetup.Event{Kind: "notice", Why: "more refusals are not reported: there were 1024 different ones"}
	}
	if whose != nil {
		e.Program = whose()
	}
	e.Time, e.Sandbox = time.Now(), m.name
	send(e)
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

func (m *member) close() {
	m.flows.closeAll()
	for _, l := range m.listeners {
		l.Close()
	}
}
