package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jail/netsetup/egress"
	"jail/policy"
)

// TestSpecialRangesAgree: the resolver takes a network behind `allow: any` for dead exactly where the gateway opens it to
// `any`; the two know the special ranges without each other.
func TestSpecialRangesAgree(t *testing.T) {
	var networks []netip.Prefix
	for i := range 256 {
		for _, next := range []byte{0, 0x10, 64, 100, 168, 198, 254, 255} {
			networks = append(networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i), next, 0, 0}), 30))
		}
		for _, head := range [][4]byte{{byte(i)}, {0x20, 1, 0, byte(i)}, {0x20, byte(i)}, {0xfe, byte(i)}, {0xfd, 0, 0x0e, byte(i)}} {
			networks = append(networks, netip.PrefixFrom(netip.AddrFrom16([16]byte{head[0], head[1], head[2], head[3]}), 96))
		}
	}
	networks = append(networks, netip.MustParsePrefix("192.0.0.0/30"), netip.MustParsePrefix("192.88.99.0/30"), netip.MustParsePrefix("198.19.0.0/30"),
		netip.MustParsePrefix("100::/96"), netip.MustParsePrefix("64:ff9b:1::/96"), netip.MustParsePrefix("::ffff:0:0:0/96"))
	check := checker(t)
	seen := map[egress.Class]int{}
	for _, n := range networks {
		class, _ := egress.Classify(n.Addr())
		seen[class]++
		said := check("{allow: any}, {allow: \"" + n.String() + "\"}")
		if said != "" && !strings.Contains(said, "never matches") {
			continue // refused for another reason, as loopback is
		}
		if dead := said != ""; dead != (class == egress.Public) {
			t.Errorf("%s, which is %s: dead behind any: %v", n, class, dead)
		}
	}
	for class := egress.Public; class <= egress.Unroutable; class++ {
		if seen[class] == 0 {
			t.Errorf("no %s network was tried", class)
		}
	}
}

// checker gives what checks the rules of a network.
func checker(t *testing.T) func(rules string) string {
	t.Helper()
	host, err := (&app{}).host()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p.yaml")
	return func(rules string) string {
		if err := os.WriteFile(file, []byte("version: 1\nnetwork: {mode: veth, egress: ["+rules+"]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if problems := policy.Check(file, host); problems != nil {
			return problems.Error()
		}
		return ""
	}
}

// TestDeadNetworks: a rule on a network is refused exactly where the gateway's policy would decide by it about no address.
func TestDeadNetworks(t *testing.T) {
	check := checker(t)
	edges := []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("2001:db8::1")}
	nets := map[netip.Prefix]bool{}
	for _, s := range strings.Fields(`0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.88.99.0/24
		192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 128.0.0.0/1 8.8.8.0/24 ::/128 ::1/128 ::/96 ::ffff:0:0:0/96
		64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2001:10::/28 2001:20::/28 2002::/16 fc00::/7 fd00:ec2::/32 fe80::/10 fec0::/10 ff00::/8
		2001:db8::/32 8000::/1`) {
		p := netip.MustParsePrefix(s)
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{p.Addr(), end, p.Addr().Next(), end.Prev(), p.Addr().Prev(), end.Next()} {
			if a.IsValid() {
				edges = append(edges, a)
			}
		}
		for _, bits := range []int{p.Bits() - 2, p.Bits() - 1, p.Bits(), p.Bits() + 1, p.Bits() + 7, p.Addr().BitLen()} {
			if bits < 1 || bits > p.Addr().BitLen() {
				continue
			}
			nets[netip.PrefixFrom(p.Addr(), bits).Masked()], nets[netip.PrefixFrom(end, bits).Masked()] = true, true
		}
	}
	dead := 0
	for p := range nets {
		for _, action := range []string{"allow", "deny"} {
			rules, err := egress.Compile([]egress.Rule{{Action: action, Prefix: p.String()}})
			if err != nil {
				t.Fatal(err)
			}
			decides := false
			for _, a := range append(edges, p.Addr(), p.Addr().Next()) {
				// The host's loopback is refused in any case, and a denial need not say so.
				if class, _ := egress.Classify(a); egress.Canonical(a) == a && p.Contains(a) && class != egress.Loopback {
					decides = decides || rules.Decide(egress.Flow{Proto: egress.TCP, Addr: a, Port: 443}).Rule != nil
				}
			}
			said := check("{" + action + ": \"" + p.String() + "\"}")
			if (said == "") != decides {
				t.Errorf("%s %s decides about an address: %t, and the check says %q", action, p, decides, said)
			}
			if !decides {
				dead++
			}
		}
	}
	if dead < 20 || dead > len(nets) {
		t.Errorf("%d of %d rules are dead, which proves little", dead, 2*len(nets))
	}
}
