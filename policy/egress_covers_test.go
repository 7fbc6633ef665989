package policy

import (
	"strings"
	"testing"
)

// TestEgressCovers: a rule is dead exactly where one before it has decided all of it; `any` and wide networks open
// neither private nor other special ranges (docs/network.md).
func TestEgressCovers(t *testing.T) {
	pinned := []HostName{{Name: "db.example.org", Address: "10.0.0.5"}}
	for _, tt := range []struct {
		before, after string
		covered       bool
	}{
		{"allow any", "allow any", true},
		{"allow any", "allow any:443", true},
		{"allow any", "allow example.org", true},
		{"allow any", "deny example.org", true},
		{"allow any", "allow private", false},
		{"allow any", "deny private", false},
		{"allow any", "deny any", false},
		{"allow any", "allow host:22", false},
		{"allow any", "allow 10.0.0.0/8", false},
		{"allow any", "allow 169.254.169.254", false},
		{"allow any", "allow 198.18.0.0/24", false},
		{"allow any", "allow fd00::/64", false},
		{"allow any", "allow 93.184.0.0/16", true},
		{"allow any", "allow 93.184.216.34", false}, // may be this machine's own
		{"allow any", "deny 93.184.216.34", true},
		{"allow any", "deny 10.1.0.0/16", false},
		{"allow any", "allow db.example.org", false},
		{"allow any", "allow *.example.org", false},
		{"allow any", "allow 9.9.9.0/24:53", false},
		{"allow any:1-1000", "allow 9.9.9.0/24:53", true},
		{"allow any:443", "allow any", false},
		{"allow any/tcp", "allow any/udp", false},
		{"deny any", "allow private", true},
		{"deny any", "allow host:22", true},
		{"deny any", "allow 10.1.2.3", true},
		{"deny any:22", "allow private", false},
		{"allow private", "allow private", true},
		{"allow private", "allow any", false},
		{"deny private", "allow any", false},
		{"allow 0.0.0.0/0", "allow private", false},
		{"allow 0.0.0.0/0", "allow 10.0.0.0/8", false},
		{"allow 0.0.0.0/0", "allow 8.0.0.0/8", true},
		{"allow 0.0.0.0/0", "deny 8.8.8.8", true},
		{"allow 0.0.0.0/0", "deny 0.0.0.0/0", false},
		{"allow 0.0.0.0/0", "allow 0.0.0.0/0", true},
		{"allow 0.0.0.0/0", "allow ::/0", false},
		{"allow ::/0", "allow fd00::/8", false},
		{"deny 0.0.0.0/0", "allow 10.0.0.0/8", true},
		{"allow 10.0.0.0/8", "allow 10.1.0.0/16", true},
		{"allow 10.0.0.0/8", "deny 10.1.2.3", true},
		{"allow 10.0.0.0/8", "allow 10.1.2.3", false}, // may be this machine's own
		{"allow fd00::/8", "allow fd00:ec2::/48", false},
		{"allow *.example.org", "deny www.example.org", true},
		{"allow *.example.org", "allow example.org", false},
	} {
		rule := func(text string) EgressRule {
			action, where, _ := strings.Cut(text, " ")
			r, err := parseEgress(where)
			if err != nil {
				t.Fatalf("%s: %s", text, err.cause)
			}
			r.Allow = action == "allow"
			return r
		}
		if got := covers(rule(tt.before), rule(tt.after), pinned); got != tt.covered {
			t.Errorf("%s, then %s: covered %v", tt.before, tt.after, got)
		}
	}
}

// TestAnyAndPrivate: both rules reach the bundle, from one file and from two.
func TestAnyAndPrivate(t *testing.T) {
	const anywhere, private = "{allow: any}", "{allow: private}"
	for name, r := range map[string]*Resolved{
		"one file":  resolveText(t, "version: 1\nnetwork: {mode: veth, egress: ["+anywhere+", "+private+"]}\n"),
		"two files": chain(t, "network: {mode: veth, egress: ["+private+"]}\n", "network: {egress: ["+anywhere+"]}\n"),
	} {
		if len(r.Network.Egress) != 2 || r.Network.Egress[0].Group != "any" || r.Network.Egress[1].Group != "private" {
			t.Errorf("%s: %+v", name, r.Network.Egress)
		}
	}
}

// TestLiveNames: what can come to match stays allowed, as strange as it looks.
func TestLiveNames(t *testing.T) {
	for _, text := range []string{
		"egress: [{allow: db:5432}, {allow: \"db.internal:80\"}, {allow: jail.internal}, {allow: \"*.internal\"}, {allow: a.local}, {allow: a.invalid}]",
		"egress: [{deny: localhost}, {deny: \"*.jail.internal\"}, {allow: any}]", // for names that lead there
		"egress: [{allow: localhost:80}, {allow: \"*.jail.internal:80\"}], dns: {hosts: {localhost: 10.0.0.5, db.jail.internal: 10.0.0.6}}",
		"egress: [{allow: 0.0.0.0/1}, {allow: 128.0.0.0/1}, {allow: \"64:ff9b::/64\"}, {allow: \"::/1\"}, {allow: \"::ffff:10.0.0.0/104\"}]",
		"egress: [{deny: 126.0.0.0/7}, {deny: \"fe80::/9\"}, {allow: 169.254.169.254:80}, {allow: \"fd00:ec2::254\"}]",
	} {
		r := resolveText(t, "version: 1\nnetwork: {mode: veth, "+text+"}\n")
		if want := strings.Count(text, "{allow: ") + strings.Count(text, "{deny: "); len(r.Network.Egress) != want {
			t.Errorf("%s: %d rules", text, len(r.Network.Egress))
		}
	}
}
