package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// rules reads "allow TARGET[:PORTS][/PROTO]" lines; targets with colons in brackets.
func rules(t *testing.T, lines ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, l := range lines {
		action, rest, _ := strings.Cut(l, " ")
		r := Rule{Action: action, Text: rest}
		if i := strings.LastIndexByte(rest, '/'); i >= 0 && slices.Contains([]string{"tcp", "udp", "icmp"}, rest[i+1:]) {
			r.Proto, rest = rest[i+1:], rest[:i]
		}
		if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
			r.Ports, rest = strings.Split(rest[i+1:], ","), rest[:i]
		}
		rest = strings.Trim(rest, "[]")
		switch {
		case rest == "any" || rest == "private" || rest == "host":
			r.Group = rest
		case strings.ContainsAny(rest, ":/") || rest[len(rest)-1] >= '0' && rest[len(rest)-1] <= '9':
			r.Prefix = rest
		default:
			r.Host = rest
		}
		out = append(out, r)
	}
	return out
}

func compile(t *testing.T, lines ...string) *Policy {
	t.Helper()
	p, err := Compile(rules(t, lines...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func flow(s string) Flow {
	f := Flow{Proto: TCP}
	addr, proto, _ := strings.Cut(s, "/")
	switch proto {
	case "udp":
		f.Proto = UDP
	case "icmp":
		f.Proto = ICMP
	}
	if port, ok := strings.CutPrefix(addr, "host:"); ok {
		ap := netip.MustParseAddrPort("127.0.0.1:" + port)
		f.Host, f.Addr, f.Port = true, ap.Addr(), ap.Port()
		return f
	}
	if f.Proto == ICMP {
		f.Addr = netip.MustParseAddr(addr)
		return f
	}
	ap := netip.MustParseAddrPort(addr)
	f.Addr, f.Port = ap.Addr(), ap.Port()
	return f
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name      string
		rules     []string
		flow      string
		names     string
		pinned    string
		own       bool
		broadcast bool
		want      string // "allow RULE" or the reason
	}{
		{name: "an empty list allows nothing", flow: "203.0.113.1:443", want: "no rule allows it"},
		{name: "a leased name on its port", rules: []string{"allow a.example:443"}, flow: "203.0.113.1:443", names: "a.example", want: "allow a.example:443"},
		{name: "another port of a leased name", rules: []string{"allow a.example:443"}, flow: "203.0.113.1:80", names: "a.example", want: "no rule allows it"},
		{name: "an address that was not handed out", rules: []string{"allow a.example:443"}, flow: "203.0.113.1:443", want: "no rule allows it"},
		{name: "ports without a protocol cover udp", rules: []string{"allow a.example:443"}, flow: "203.0.113.1:443/udp", names: "a.example", want: "allow a.example:443"},
		{name: "a protocol excludes the other", rules: []string{"allow a.example:443/tcp"}, flow: "203.0.113.1:443/udp", names: "a.example", want: "no rule allows it"},
		{name: "ports do not cover icmp", rules: []string{"allow a.example:443"}, flow: "203.0.113.1/icmp", names: "a.example", want: "no rule allows it"},
		{name: "no ports and no protocol cover icmp", rules: []string{"allow a.example"}, flow: "203.0.113.1/icmp", names: "a.example", want: "allow a.example"},
		{name: "a star covers names below", rules: []string{"allow *.example:443"}, flow: "203.0.113.1:443", names: "x.y.example", want: "allow *.example:443"},
		{name: "a star does not cover the name itself", rules: []string{"allow *.a.example:443"}, flow: "203.0.113.1:443", names: "a.example", want: "no rule allows it"},
		{name: "a star does not cover a longer label", rules: []string{"allow *.a.example:443"}, flow: "203.0.113.1:443", names: "bada.example", want: "no rule allows it"},
		{name: "the first match decides: allow", rules: []string{"allow 203.0.113.1", "deny any"}, flow: "203.0.113.1:443", want: "allow 203.0.113.1"},
		{name: "the first match decides: deny", rules: []string{"deny 203.0.113.0/24", "allow any"}, flow: "203.0.113.1:443", want: "refused by a rule"},
		{name: "an address shared with a refused name", rules: []string{"deny bad.example", "allow good.example:443"}, flow: "203.0.113.1:443", names: "good.example bad.example", want: "refused by a rule"},
		{name: "a rebound name: private", rules: []string{"allow a.example:443"}, flow: "192.168.1.1:443", names: "a.example", want: "it is a private address"},
		{name: "a rebound name: loopback", rules: []string{"allow a.example:443"}, flow: "127.0.0.1:443", names: "a.example", want: "it is a loopback address"},
		{name: "a rebound name: metadata", rules: []string{"allow a.example:80"}, flow: "169.254.169.254:80", names: "a.example", want: "it is a link-local address"},
		{name: "a rebound name: the host", rules: []string{"allow a.example:80"}, flow: "203.0.113.1:80", names: "a.example", own: true, want: "it is an address of the host itself"},
		{name: "a pinned name", rules: []string{"allow a.example:80"}, flow: "10.0.0.1:80", names: "a.example", pinned: "a.example", want: "allow a.example:80"},
		{name: "a pinned name: loopback through NAT64", rules: []string{"allow a.example:80"}, flow: "[64:ff9b::7f00:1]:80", names: "a.example", pinned: "a.example", want: "it is a loopback address"},
		{name: "the loopback by its address, through NAT64", rules: []string{"allow 127.0.0.1"}, flow: "[64:ff9b::7f00:1]:80", own: true, want: "it is a loopback address"},
		{name: "any is the internet", rules: []string{"allow any"}, flow: "[2001:db8::1]:443", want: "allow any"},
		{name: "any is not private", rules: []string{"allow any"}, flow: "10.0.0.1:443", want: "it is a private address"},
		{name: "any is not metadata", rules: []string{"allow any"}, flow: "169.254.169.254:80", want: "it is a link-local address"},
		{name: "any is not metadata over v6", rules: []string{"allow any", "allow private"}, flow: "[fd00:ec2::254]:80", want: "it is a link-local address"},
		{name: "any is not a mapped loopback", rules: []string{"allow any"}, flow: "[::ffff:127.0.0.1]:80", want: "it is a loopback address"},
		{name: "any is not NAT64 of a private address", rules: []string{"allow any"}, flow: "[64:ff9b::a00:1]:80", want: "it is a private address"},
		{name: "any is not 6to4", rules: []string{"allow any"}, flow: "[2002:7f00:1::]:80", want: "it is a wrapped address"},
		{name: "any is not Teredo", rules: []string{"allow any"}, flow: "[2001:0:7f00:1::]:80", want: "it is a wrapped address"},
		{name: "any is not v4-compatible", rules: []string{"allow any"}, flow: "[::7f00:1]:80", want: "it is a wrapped address"},
		{name: "nobody sends to link-local v6", rules: []string{"allow any", "allow [fe80::/10]", "allow [fe80::1]"}, flow: "[fe80::1]:80", want: "no program may send to fe80::1"},
		{name: "nobody sends to multicast", rules: []string{"allow 224.0.0.0/4"}, flow: "224.0.0.251:5353/udp", want: "no program may send to 224.0.0.251"},
		{name: "nobody sends to nowhere", rules: []string{"allow any"}, flow: "0.0.0.0:80", want: "no program may send to 0.0.0.0"},
		{name: "nobody sends to all of a network", rules: []string{"allow 203.0.113.255", "allow any"}, flow: "203.0.113.255:80/udp", own: true, broadcast: true, want: "no program may send to 203.0.113.255"},
		{name: "all of v4 is no special range", rules: []string{"allow 0.0.0.0/0"}, flow: "169.254.169.254:80", want: "the rule is wider than the link-local range"},
		{name: "metadata when named", rules: []string{"allow 169.254.169.254:80"}, flow: "169.254.169.254:80", want: "allow 169.254.169.254:80"},
		{name: "a private prefix", rules: []string{"allow 10.0.0.0/8:5432/tcp"}, flow: "10.1.2.3:5432", want: "allow 10.0.0.0/8:5432/tcp"},
		{name: "a prefix does not open the host", rules: []string{"allow 10.0.0.0/8"}, flow: "10.1.2.3:22", own: true, want: "it is an address of the host itself"},
		{name: "the host by its address", rules: []string{"allow 10.1.2.3:22"}, flow: "10.1.2.3:22", own: true, want: "allow 10.1.2.3:22"},
		{name: "private", rules: []string{"allow private"}, flow: "[fd12::1]:22", want: "allow private"},
		{name: "deny any covers private", rules: []string{"deny any", "allow private"}, flow: "10.0.0.1:22", want: "refused by a rule"},
		{name: "deny host covers the host's addresses", rules: []string{"deny host", "allow 10.1.2.3"}, flow: "10.1.2.3:22", own: true, want: "refused by a rule"},
		{name: "host port", rules: []string{"allow host:5432"}, flow: "host:5432", want: "allow host:5432"},
		{name: "another host port", rules: []string{"allow host:5432"}, flow: "host:5433", want: "no rule allows it"},
		{name: "any is not the host", rules: []string{"allow any", "allow private", "allow 127.0.0.1"}, flow: "host:22", want: "no rule allows it"},
		{name: "another resolver", rules: []string{"allow any"}, flow: "203.0.113.53:53/udp", want: "another resolver is reached only by a rule that spells its port"},
		{name: "another resolver over TLS", rules: []string{"allow a.example"}, flow: "203.0.113.53:853", names: "a.example", want: "another resolver is reached only by a rule that spells its port"},
		{name: "another resolver when spelt", rules: []string{"allow 203.0.113.53:53"}, flow: "203.0.113.53:53/udp", want: "allow 203.0.113.53:53"},
		{name: "a port range", rules: []string{"allow any:8000-8100"}, flow: "203.0.113.1:8100", want: "allow any:8000-8100"},
		{name: "past a port range", rules: []string{"allow any:8000-8100"}, flow: "203.0.113.1:8101", want: "no rule allows it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow(c.flow)
			f.Names, f.Own, f.Broadcast = strings.Fields(c.names), c.own, c.broadcast
			f.Pinned = strings.Fields(c.pinned)
			v := compile(t, c.rules...).Decide(f)
			got := v.Why
			if v.Allow {
				got = "allow " + v.Rule.Text
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !v.Allow && v.Write == "" && !strings.HasPrefix(c.want, "no program") {
				t.Error("the refusal does not say what to write")
			}
		})
	}
}

// What a refusal says to write must indeed allow the flow.
func TestWrittenRuleAllows(t *testing.T) {
	for _, s := range []string{"203.0.113.1:443", "10.0.0.1:53/udp", "169.254.169.254:80", "[fd00:ec2::254]:80", "host:22", "192.0.2.1/icmp", "[2001:db8::1]:1"} {
		f := flow(s)
		w := compile(t).Decide(f).Write
		if v := compile(t, "allow "+w).Decide(f); !v.Allow {
			t.Errorf("%s: %q does not allow it: %s", s, w, v.Why)
		}
	}
}

func TestNameLookups(t *testing.T) {
	for _, c := range []struct {
		rules string
		name  string
		want  bool
	}{
		{"", "a.example", false},
		{"allow a.example:443", "a.example", true},
		{"allow a.example:443", "b.example", false},
		{"allow *.example", "a.b.example", true},
		{"deny a.example;allow *.example", "a.example", false},
		{"deny a.example:80;allow *.example", "a.example", true},
		{"allow any", "whatever.example", true},
		{"deny any;allow a.example", "a.example", false},
		{"allow a.example;deny any", "b.example", false},
		{"allow 10.0.0.0/8;allow private", "a.example", false},
	} {
		var p *Policy
		if c.rules == "" {
			p = compile(t)
		} else {
			p = compile(t, strings.Split(c.rules, ";")...)
		}
		if got := p.Name(c.name).Allow; got != c.want {
			t.Errorf("%s: %s: got %v", c.rules, c.name, got)
		}
	}
	p := compile(t, "allow good.example", "deny *.bad.example")
	if p.Refuses("x.bad.example") == nil || p.Refuses("cdn.example") != nil {
		t.Error("a CNAME's target is refused only by a rule that names it")
	}
}

func TestUsable(t *testing.T) {
	p := compile(t, "deny 203.0.113.0/24", "allow *.example:443")
	for addr, want := range map[string]bool{
		"198.51.100.1": true, "203.0.113.1": false, "10.0.0.1": false, "127.0.0.1": false, "::1": false, "fe80::1": false,
		"2001:db8::1": true, "::ffff:10.0.0.1": false, "0.0.0.0": false, "169.254.169.254": false,
	} {
		if got := p.Usable(Flow{Addr: netip.MustParseAddr(addr), Names: []string{"a.example"}}); got != want {
			t.Errorf("%s: got %v", addr, got)
		}
	}
	if !compile(t, "allow a.example", "allow 10.0.0.0/8").Usable(Flow{Addr: netip.MustParseAddr("10.1.1.1"), Names: []string{"a.example"}}) {
		t.Error("a private address that a prefix names is usable")
	}
}

func TestLeases(t *testing.T) {
	var l Leases
	now := time.Unix(1e9, 0)
	a := netip.MustParseAddr("203.0.113.1")
	l.Add("a.example", a, time.Second, now)
	l.Add("b.example", netip.MustParseAddr("::ffff:203.0.113.1"), time.Hour, now)
	l.Pin("c.example", a)
	names := func(d time.Duration) string { n, _ := l.Names(a, now.Add(d)); return strings.Join(n, " ") }
	if got := names(59 * time.Second); got != "a.example b.example c.example" {
		t.Errorf("within the shortest lease: %q", got)
	}
	if got := names(61 * time.Second); got != "b.example c.example" {
		t.Errorf("after it: %q", got)
	}
	if got := names(1000 * time.Hour); got != "c.example" {
		t.Errorf("a pinned lease stays: %q", got)
	}
	for i := range uint32(2 * maxLeases) {
		b := [4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}
		l.Add("a.example", netip.AddrFrom4(b), time.Duration(i)*time.Millisecond, now)
	}
	if l.count > maxLeases {
		t.Errorf("%d leases are kept", l.count)
	}
	if _, pinned := l.Names(a, now); len(pinned) != 1 {
		t.Error("a pinned lease was swept")
	}
}

func TestBadRules(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Action: "permit", Group: "any"}, "neither allow nor deny"},
		{Rule{Action: "allow"}, "exactly one of host, prefix and group"},
		{Rule{Action: "allow", Host: "a", Group: "any"}, "exactly one of"},
		{Rule{Action: "allow", Group: "internet"}, "not any, private or host"},
		{Rule{Action: "allow", Group: "host"}, "write host:PORT"},
		{Rule{Action: "allow", Host: "a..b"}, "empty label"},
		{Rule{Action: "allow", Host: "-a.example"}, "hyphen at its edge"},
		{Rule{Action: "allow", Host: "a.*.example"}, "only be the whole first label"},
		{Rule{Action: "allow", Host: "bücher.example"}, "xn-- form"},
		{Rule{Action: "allow", Host: strings.Repeat("a", 64)}, "longer than 63"},
		{Rule{Action: "allow", Host: strings.Repeat("a.", 127) + "a"}, "longer than 253"},
		{Rule{Action: "allow", Prefix: "10.1.2.3/8"}, "write 10.0.0.0/8"},
		{Rule{Action: "allow", Prefix: "10.0.0.0/33"}, "prefix"},
		{Rule{Action: "allow", Prefix: "fe80::1%eth0"}, "zone"},
		{Rule{Action: "allow", Group: "any", Ports: []string{"70000"}}, "ports go from 1 to 65535"},
		{Rule{Action: "allow", Group: "any", Ports: []string{"0"}}, "out of range"},
		{Rule{Action: "allow", Group: "any", Ports: []string{"x"}}, "not a number"},
		{Rule{Action: "allow", Group: "any", Ports: []string{"9-8"}}, "write 8-9"},
		{Rule{Action: "allow", Group: "any", Ports: []string{"80"}, Proto: "icmp"}, "icmp has no ports"},
		{Rule{Action: "allow", Group: "any", Proto: "sctp"}, "not tcp, udp or icmp"},
	} {
		c.rule.Origin = "p.yaml:3:5"
		_, err := Compile([]Rule{c.rule})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "p.yaml:3:5: ") {
			t.Errorf("%+v: %v, want %q", c.rule, err, c.want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("allow", "*.a.example", "", "", "443", "tcp", "203.0.113.1")
	f.Add("deny", "", "fd00::/8", "", "1-65535", "", "::ffff:1.2.3.4")
	f.Fuzz(func(t *testing.T, action, host, prefix, group, port, proto, addr string) {
		p, err := Compile([]Rule{{Action: action, Host: host, Prefix: prefix, Group: group, Ports: []string{port}, Proto: proto}})
		if err != nil {
			return
		}
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return
		}
		v := p.Decide(Flow{Proto: TCP, Addr: a, Port: 443})
		class, _ := Classify(a)
		if v.Allow && (action != "allow" || host != "" || class != Public && prefix == "" && group != "private") {
			t.Errorf("%s %s%s%s opened %s", action, host, prefix, group, a)
		}
	})
}
