package policy

import (
	"strings"
	"testing"
)

// TestModeDropsInherited: a later file that sets the mode to none or host drops what earlier ones have for a network of
// their own; the same file saying both is refused, and so is a later one that adds to it.
func TestModeDropsInherited(t *testing.T) {
	const veth = `network:
  mode: veth
  name: shared
  mtu: 1400
  egress: [{allow: any}, {deny: private}]
  publish: ["8080:80"]
  bandwidth: {down: 1MB/s}
  dns: {servers: [9.9.9.9], hosts: {a.example.org: 10.0.0.1}}
`
	for _, c := range []struct {
		name  string
		files []string
		mode  string // in the end
		want  string // the error, or "" for none
	}{
		{"control", []string{veth, ""}, "veth", ""},
		{"none", []string{veth, "network: {mode: none}"}, "none", ""},
		{"host", []string{veth, "network: {mode: host}"}, "host", ""},
		{"two files on", []string{veth, "network: {mode: none}", "process: {nice: 1}"}, "none", ""},
		{"with without", []string{veth, "network: {mode: none}\nwithout: {egress: [all], publish: [\"8080:80\"]}"}, "none", ""},
		{"a block of a later file", []string{veth, "when: [{if: {user: ordinary}, then: {network: {mode: none}}}]"}, "none", ""},
		{"veth again", []string{veth, "network: {mode: none}", "network: {mode: veth}"}, "veth", ""},
		{"one file", []string{"network: {mode: none, egress: [{allow: any}]}"}, "", "network.egress: has no effect with network.mode: none"},
		{"one file, behind another", []string{veth, "network: {mode: none, dns: {servers: [1.1.1.1]}}"}, "", "network.dns: has no effect with network.mode: none"},
		{"a block of the same file", []string{veth + "when: [{if: {user: ordinary}, then: {network: {mode: host}}}]"}, "", "network.egress: has no effect with network.mode: host"},
		{"added later", []string{veth, "network: {mode: none}", "network: {publish: [\"1:1\"]}"}, "", "network.publish: has no effect with network.mode: none"},
		{"join", []string{veth, "network: {mode: join}"}, "", "network.egress: has no effect with network.mode: join"},
		{"a mistake in what is dropped", []string{"network: {mode: veth, egress: [{allow: \"a.org:0\"}]}", "network: {mode: none}"}, "", "port 0 is out of range"},
	} {
		h := fakeHost(t, chainFiles(c.files...))
		p, err := Load("./p.yaml", h)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		r, err := p.Resolve(h)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		n := &r.Network
		left := len(n.Egress) + len(n.Publish) + len(n.DNS.Servers) + len(n.DNS.Hosts)
		if veth := c.mode == "veth"; n.Mode.V != c.mode || (left == 5) != veth || (left == 0) == veth || n.Name.Set != veth || n.MTU.Set != veth || n.Bandwidth.Down.Set != veth || n.HasEgress != veth {
			t.Errorf("%s: %+v", c.name, n)
		}
	}
}

// TestModeOnCommandLine: `jail --set network.mode=none` and host leave nothing of the profile's own network.
func TestModeOnCommandLine(t *testing.T) {
	for _, mode := range []string{"none", "host"} {
		h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nnetwork: {mode: veth, egress: [{allow: any}], publish: [\"1:1\"]}\n"})
		if r := resolveOn(t, h, Override{"set", "network.mode=" + mode}); r.Network.Mode.V != mode || len(r.Network.Egress)+len(r.Network.Publish) != 0 {
			t.Errorf("%s: %+v", mode, r.Network)
		}
	}
}
