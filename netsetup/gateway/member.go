package gateway

import (
	"net/netip"
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
	found     found
	listeners []*netsetup.Listener // its published ports
}

// proposal is a flow before it is allowed: where it is to go on the host's network.
type proposal struct {
	// dial is tried in order. Of UDP the first alone counts: a datagram that nobody answers does not tell that nobody listens.
	dial []netip.AddrPort
	name string // what the address was handed out for
}

// judge asks the policy about a flow. from is the port inside. It gives the flow's way, or why it may not be.
func (m *member) judge(proto egress.Proto, from uint16, dst netip.AddrPort) (proposal, *refusal) {
	f := egress.Flow{Proto: proto, Addr: egress.Canonical(dst.Addr()), Port: dst.Port()}
	if dst.Addr() == m.plan.Host4 || dst.Addr() == m.plan.Host6 {
		f.Host = true
	} else {
		f.Own, f.Broadcast = m.g.own.look(proto, netip.AddrPortFrom(f.Addr, f.Port))
		if m.g.router != nil && dst.Addr() != f.Addr { // the kernel forwards what came, NAT64's wrapping and all
			own, broadcast := m.g.own.look(proto, dst)
			f.Own, f.Broadcast = f.Own || own, f.Broadcast || broadcast
		}
		f.Names, f.Pinned = m.leases.Names(f.Addr, time.Now())
	}
	v := m.policy.Decide(f)
	if v.Allow && (m.plan.Up4.Contains(f.Addr) || m.plan.Up6.Contains(f.Addr)) {
		v = egress.Verdict{Why: "it is an address of the way out, " + m.config.Uplink + ", which leads to the host"}
	}
	if !v.Allow {
		return proposal{}, &refusal{proto, from, f, v}
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
		return p, nil
	}
	p.dial = []netip.AddrPort{netip.AddrPortFrom(f.Addr, dst.Port())}
	return p, nil
}

// judgeOwn is asked when a connection stands: its two ends having one address
// means that the host itself answers there, on an address that it was given
// after the list was read, or by a rule of its firewall.
func (m *member) judgeOwn(proto egress.Proto, from uint16, local, remote netip.AddrPort) *refusal {
	if local.Addr().Unmap() != remote.Addr().Unmap() || remote.Addr().IsLoopback() {
		return nil
	}
	f := egress.Flow{Proto: proto, Addr: egress.Canonical(remote.Addr()), Port: remote.Port(), Own: true}
	f.Names, f.Pinned = m.leases.Names(f.Addr, time.Now())
	v := m.policy.Decide(f)
	if v.Allow {
		return nil
	}
	return &refusal{proto, from, f, v}
}

// barred is why a flow may not be that the host's kernel refuses to send, by EACCES of connect(2): the address is one of
// broadcast, and no socket here has SO_BROADCAST, or a route of the host's is of the type "prohibit".
func (m *member) barred(proto egress.Proto, from uint16, dst netip.AddrPort) *refusal {
	f := egress.Flow{Proto: proto, Addr: egress.Canonical(dst.Addr()), Port: dst.Port()}
	f.Names, f.Pinned = m.leases.Names(f.Addr, time.Now())
	return &refusal{proto, from, f, egress.Verdict{Why: "no program may send to " + f.Addr.String() + ": the host has it for a broadcast address, or its routes prohibit it"}}
}

// decide judges a flow for a goroutine that serves this flow only: a refusal is given when the program behind it is
// known. The reader of packets, which all members share, must not wait for that and calls judge and refuse.
func (m *member) decide(proto egress.Proto, from uint16, dst netip.AddrPort) (proposal, bool) {
	p, no := m.judge(proto, from, dst)
	if no != nil {
		m.refuseAndWait(no)
	}
	return p, no == nil
}

// ownAgain is judgeOwn for such a goroutine.
func (m *member) ownAgain(proto egress.Proto, from uint16, local, remote netip.AddrPort) bool {
	no := m.judgeOwn(proto, from, local, remote)
	if no != nil {
		m.refuseAndWait(no)
	}
	return no != nil
}

func (m *member) refuseAndWait(no *refusal) {
	known := make(chan struct{})
	m.refuse(no, func() { close(known) })
	<-known
}

func (m *member) close() {
	m.flows.closeAll()
	for _, l := range m.listeners {
		l.Close()
	}
}
