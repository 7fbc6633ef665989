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
	host, err := (&app{}).host()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p.yaml")
	seen := map[egress.Class]int{}
	check := func(n netip.Prefix) string {
		text := "version: 1\nnetwork: {mode: veth, egress: [{allow: any}, {allow: \"" + n.String() + "\"}]}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if problems := policy.Check(file, host); problems != nil {
			return problems.Error()
		}
		return ""
	}
	for _, n := range networks {
		class, _ := egress.Classify(n.Addr())
		seen[class]++
		said := check(n)
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
