package names

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"jail/netsetup/egress"
)

// Whatever a program asks and whatever the host's resolver answers: no address that the rules close is handed out, and
// every one that is handed out is leased.
func FuzzAnswer(f *testing.F) {
	question := func(name string, kind uint16) []byte {
		b, err := new(dns.Msg).SetQuestion(name, kind).Pack()
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	answer := func(name string, kind uint16, records ...string) []byte {
		m := new(dns.Msg).SetQuestion(name, kind)
		m.Response = true
		for _, s := range records {
			rr, err := dns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name    string
		kind    uint16
		records []string
	}{
		{"a.good.test.", dns.TypeA, []string{"a.good.test. 60 CNAME b.test.", "b.test. 60 A 203.0.113.1", "b.test. 60 A 10.0.0.1"}},
		{"a.good.test.", dns.TypeAAAA, []string{"a.good.test. 60 AAAA ::ffff:127.0.0.1", "a.good.test. 60 AAAA 64:ff9b::a00:1"}},
		{"a.good.test.", dns.TypeA, []string{"a.good.test. 60 CNAME a.good.test."}},
		{"a.good.test.", dns.TypeHTTPS, []string{"a.good.test. 60 HTTPS 1 . ipv4hint=10.0.0.1"}},
		{"a.good.test.", dns.TypeMX, []string{"a.good.test. 60 MX 5 bad.test."}},
		{"bad.test.", dns.TypeA, nil},
	} {
		f.Add(question(c.name, c.kind), answer(c.name, c.kind, c.records...))
	}
	policy, err := egress.Compile([]egress.Rule{{Action: "deny", Host: "bad.test"}, {Action: "allow", Host: "*.good.test"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query, upstream []byte) {
		leases := &egress.Leases{}
		r := &Resolver{
			Policy: policy, Leases: leases, Upstream: NewUpstream(nil),
			Local:   func(string) []netip.Addr { return nil },
			Own:     func(a netip.Addr) bool { return a == netip.AddrFrom4([4]byte{203, 0, 113, 9}) },
			Refused: func(context.Context, string, egress.Verdict) {},
		}
		asked := new(dns.Msg)
		up := new(dns.Msg)
		if asked.Unpack(query) == nil && len(asked.Question) == 1 && up.Unpack(upstream) == nil {
			if name, err := egress.CleanName(asked.Question[0].Name); err == nil {
				r.Upstream.cache[cacheKey{dns.Fqdn(name), asked.Question[0].Qtype}] = cached{up, time.Now(), time.Now().Add(time.Hour)}
			}
		}
		b := r.Answer(context.Background(), query, true)
		if b == nil {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(b); err != nil {
			t.Fatalf("the answer cannot be read: %v", err)
		}
		for _, rr := range m.Answer {
			var a netip.Addr
			switch t := rr.(type) {
			case *dns.A:
				a, _ = netip.AddrFromSlice(t.A)
			case *dns.AAAA:
				a, _ = netip.AddrFromSlice(t.AAAA)
			default:
				continue
			}
			a = egress.Canonical(a)
			if class, _ := egress.Classify(a); class == egress.Loopback && strings.HasSuffix(strings.ToLower(rr.Header().Name), "localhost.") {
				continue
			}
			names, _ := leases.Names(a, time.Now())
			if v := policy.Decide(egress.Flow{Proto: egress.TCP, Addr: a, Port: 443, Own: r.Own(a), Names: names}); !v.Allow {
				t.Fatalf("%s is handed out and cannot be reached: %s", a, v.Why)
			}
		}
	})
}
