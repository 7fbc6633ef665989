// Package names is the resolver of a sandbox: it answers only for names that the
// egress rules allow, follows their CNAMEs, and leases the addresses it hands
// out, which is what opens them.
package names

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"jail/netsetup/egress"
)

// Resolver answers for one sandbox.
type Resolver struct {
	Policy *egress.Policy
	Leases *egress.Leases
	// Upstream asks the host's resolvers.
	Upstream *Upstream
	// Fixed are addresses of the profile, Local those of the gateway and of
	// other members; Local names need no rule, for rules guard the addresses. An
	// empty list of Local is for a name that is nobody's here and is not asked for
	// elsewhere: whoever answers there would stand in for a member.
	Fixed map[string][]netip.Addr
	Local func(name string) []netip.Addr
	// Own tells the host's own addresses.
	Own func(netip.Addr) bool
	// Refused reports a name that is not answered, to somebody who asked with the
	// context of Answer.
	Refused func(ctx context.Context, name string, v egress.Verdict)
}

const (
	// localTTL is for what only this resolver knows and can change.
	localTTL = 5
	// askTimeout bounds one lookup, retries and all.
	askTimeout = 8 * time.Second
)

// Answer answers one query in wire format; nil for what deserves no answer. max is
// the largest answer that the way it came can take (512 for plain UDP).
func (r *Resolver) Answer(ctx context.Context, query []byte, udp bool) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil || q.Response {
		return nil
	}
	m := r.answer(ctx, q)
	m.RecursionAvailable = true
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
	}
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(4096, false)
		if udp {
			size = min(max(int(o.UDPSize()), dns.MinMsgSize), 4096)
		}
	}
	m.Truncate(size)
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func reply(q *dns.Msg, code int) *dns.Msg { return new(dns.Msg).SetRcode(q, code) }

func (r *Resolver) answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		return reply(q, dns.RcodeNotImplemented)
	}
	question := q.Question[0]
	name, err := egress.CleanName(question.Name)
	if err != nil {
		return reply(q, dns.RcodeNameError)
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return r.local(q, loopbacks, nil) // RFC 6761, section 6.3
	}
	if addrs := r.Local(name); len(addrs) > 0 {
		return r.local(q, addrs, nil)
	} else if addrs != nil && r.Fixed[name] == nil {
		return reply(q, dns.RcodeNameError)
	}
	v := r.Policy.Name(name)
	if !v.Allow {
		// Reverse lookups are made by programs of their own accord: no report.
		if !strings.HasSuffix(name, ".arpa") {
			r.Refused(ctx, name, v)
		}
		return reply(q, dns.RcodeNameError)
	}
	if addrs, ok := r.Fixed[name]; ok {
		return r.local(q, addrs, func(a netip.Addr) { r.Leases.Pin(name, a) })
	}
	switch question.Qtype {
	case dns.TypeHTTPS, dns.TypeSVCB:
		// Their hints are addresses that were not leased.
		return reply(q, dns.RcodeSuccess)
	case dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR:
		return reply(q, dns.RcodeNotImplemented)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	up, err := r.Upstream.Ask(ctx, dns.Fqdn(name), question.Qtype)
	if err != nil {
		return reply(q, dns.RcodeServerFailure)
	}
	return r.admit(ctx, q, name, up)
}

var loopbacks = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// local answers from addresses at hand.
func (r *Resolver) local(q *dns.Msg, addrs []netip.Addr, lease func(netip.Addr)) *dns.Msg {
	m := reply(q, dns.RcodeSuccess)
	for _, a := range addrs {
		if lease != nil {
			lease(a)
		}
		h := dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Ttl: localTTL}
		switch {
		case q.Question[0].Qtype == dns.TypeA && a.Is4():
			h.Rrtype = dns.TypeA
			m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
		case q.Question[0].Qtype == dns.TypeAAAA && a.Is6():
			h.Rrtype = dns.TypeAAAA
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	return m
}

// admit takes over an answer of the host's resolver: the chain of CNAMEs that
// begins at the name, and at its end the records that were asked for. What does
// not belong to it is left out, and so is every address that no rule would let
// the program reach.
func (r *Resolver) admit(ctx context.Context, q *dns.Msg, name string, up *dns.Msg) *dns.Msg {
	m := reply(q, up.Rcode)
	if up.Rcode != dns.RcodeSuccess {
		m.Ns = soaOnly(up.Ns)
		return m
	}
	at, found, dropped := dns.Fqdn(name), 0, egress.Verdict{}
	for range 16 { // a longer chain is a loop
		next := ""
		for _, rr := range up.Answer {
			if !strings.EqualFold(rr.Header().Name, at) || empty(rr) {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok && next == "" {
				m.Answer = append(m.Answer, rr)
				next = c.Target
			}
			if rr.Header().Rrtype != q.Question[0].Qtype || rr.Header().Rrtype == dns.TypeCNAME {
				continue
			}
			found++
			if v := r.lease(name, rr); v.Allow {
				m.Answer = append(m.Answer, rr)
			} else {
				dropped = v
			}
		}
		if next == "" {
			break
		}
		if clean, err := egress.CleanName(next); err == nil {
			if rule := r.Policy.Refuses(clean); rule != nil {
				r.Refused(ctx, name, egress.Verdict{Rule: rule, Why: "it leads to " + clean + ", which is refused"})
				return reply(q, dns.RcodeNameError)
			}
		}
		at = next
	}
	if found > 0 && dropped.Why != "" {
		r.Refused(ctx, name, dropped)
	}
	if len(m.Answer) == 0 {
		if found > 0 {
			return reply(q, dns.RcodeNameError)
		}
		m.Ns = soaOnly(up.Ns)
	}
	return m
}

// lease hands an address out, if any rule lets the program reach it.
func (r *Resolver) lease(name string, rr dns.RR) egress.Verdict {
	var a netip.Addr
	switch t := rr.(type) {
	case *dns.A:
		a, _ = netip.AddrFromSlice(t.A)
	case *dns.AAAA:
		a, _ = netip.AddrFromSlice(t.AAAA)
	default:
		return egress.Verdict{Allow: true}
	}
	a = egress.Canonical(a)
	names, pinned := r.Leases.Names(a, time.Now())
	f := egress.Flow{Proto: egress.TCP, Addr: a, Port: 443, Own: r.Own(a), Names: append(names, name), Pinned: pinned}
	if !r.Policy.Usable(f) {
		class, _ := egress.Classify(a)
		v := egress.Verdict{Why: "it leads to " + a.String() + ", a " + class.String() + " address", Write: a.String()}
		switch {
		case class == egress.Unroutable:
			v = egress.Verdict{Why: "it leads to " + a.String() + ", to which no program may send"}
		case class == egress.Loopback:
			v.Write = egress.HostRule
			fallthrough
		case f.Own:
			v.Why = "it leads to " + a.String() + ", an address of the host itself"
		case class == egress.Public:
			v.Why = "it leads to " + a.String() + ", which is refused"
		}
		return v
	}
	r.Leases.Add(name, a, time.Duration(rr.Header().Ttl)*time.Second, time.Now())
	return egress.Verdict{Allow: true}
}

// soaOnly keeps what a negative answer is cached by (RFC 2308).
func soaOnly(rrs []dns.RR) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeSOA && !empty(rr) {
			out = append(out, rr)
		}
	}
	return out
}

// empty: a record without its data, which means something in an update alone
// (RFC 2136, section 2.4). It is read as one whose fields are all nought, and
// what that is written as cannot be read.
func empty(rr dns.RR) bool { return rr.Header().Rdlength == 0 }
