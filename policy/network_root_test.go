package policy

import (
	"strings"
	"testing"
)

// TestRootNetwork: what root may ask for is checked against the machine, with the place.
func TestRootNetwork(t *testing.T) {
	for _, c := range []struct{ network, want string }{
		{"bridge: br7, address: [10.1.2.3/24]", `p.yaml:2:43: network.bridge: this machine has no link "br7" ('ip link' lists them)`},
		{"bridge: br0", "p.yaml:2:43: network.bridge: the sandbox needs an address on it (add 'address: [10.1.2.3/24]', one that nobody there has)"},
		{"macvlan: eth7, address: [10.1.2.3/24]", `p.yaml:2:44: network.macvlan: this machine has no link "eth7" ('ip link' lists them)`},
		{"bridge: br0, ipvlan: eth0, address: [10.1.2.3/24]", "p.yaml:2:56: network.ipvlan: more than one of bridge, macvlan, ipvlan and cni (keep one of them)"},
		{"bridge: br0, uplink: nat, address: [10.1.2.3/24]", "p.yaml:2:56: network.uplink: a second way out beside bridge, macvlan, ipvlan or cni (keep one of them)"},
		{"address: [10.1.2.3/24]", "p.yaml:2:45: network.address[0]: there is no link to have the address on (add bridge, macvlan or ipvlan with the name of one)"},
		{"bridge: br0, address: [10.1.2.3]", `p.yaml:2:58: network.address[0]: "10.1.2.3" is not an address with its length (as 10.1.2.3/24)`},
		{"bridge: br0, address: [10.1.2.0/24]", `p.yaml:2:58: network.address[0]: "10.1.2.0/24" is the number of a network, not of a machine in it (as 10.1.2.3/24)`},
		{"bridge: br0, address: [224.0.0.1/4]", `p.yaml:2:58: network.address[0]: no machine can have the address "224.0.0.1/4" (as 10.1.2.3/24)`},
		{"bridge: br0, address: [10.1.2.3/24, 10.1.2.4/24]", `p.yaml:2:71: network.address[1]: a second address beside "10.1.2.3/24" (p.yaml:2:58) (at most one IPv4 and one IPv6 address)`},
		{"cni: '../x'", `p.yaml:2:40: network.cni: "../x" is not a name (` + nameRule + ")"},
	} {
		h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nnetwork: {mode: veth, egress: [], " + c.network + "}\n"})
		h.UID = 0
		if got := loadProblems(h); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.network, got, c.want)
		}
	}
}

// TestNetworkOrigins: what only the start can find wrong has its place in the annotation.
func TestNetworkOrigins(t *testing.T) {
	h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nnetwork: {mode: veth, egress: [], bridge: br0, address: [10.1.2.3/24]}\n"})
	h.UID = 0
	p, err := Load("p.yaml", h)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve(h)
	if err != nil {
		t.Fatal(err)
	}
	c := &compiler{r: r}
	if got, want := c.network(), `"origins":{"bridge":"p.yaml:2:43","address":"p.yaml:2:58"}}`; !strings.HasSuffix(got, want) {
		t.Errorf("%s does not end in %s", got, want)
	}
}
