package netsetup

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`{"mode":"bridge"}`, "not none, host, veth or join"},
		{`{"mode":"join"}`, "the name of a running sandbox is missing"},
		{`{"mode":"veth","egres":[]}`, `unknown field "egres"`},
		{`{"mode":"veth"} {}`, "text follows the object"},
		{`{"mode":"none","egress":[{"action":"allow","group":"any"}]}`, "set the mode to veth"},
		{`{"mode":"veth","name":"../x"}`, "not a letter"},
		{`{"mode":"veth","mtu":70000}`, "not between 1280 and 65520"},
		{`{"mode":"veth","uplink":"tor"}`, "not builtin, nat, pasta or slirp4netns"},
		{`{"mode":"veth","egress":[{"action":"allow","group":"any","ports":["70000"],"origin":"p.yaml:3:5"}]}`, "p.yaml:3:5: egress rule"},
		{`{"mode":"veth","publish":[{"host-port":0,"port":80,"proto":"tcp"}]}`, "ports go from 1 to 65535"},
		{`{"mode":"veth","publish":[{"host-port":1,"port":80,"proto":"sctp"}]}`, "not tcp or udp"},
		{`{"mode":"veth","publish":[{"host-port":8080,"port":80,"proto":"tcp"},{"address":"127.0.0.1","host-port":8080,"port":81,"proto":"tcp"}]}`, "overlaps"},
		{`{"mode":"veth","publish":[{"address":"0.0.0.0","host-port":8080,"port":80,"proto":"tcp"},{"address":"127.0.0.1","host-port":8080,"port":81,"proto":"tcp"}]}`, "overlaps"},
		{`{"mode":"veth","publish":[{"address":"127.0.0.1","host-port":8080,"port":80,"proto":"tcp"},{"address":"0.0.0.0","host-port":8080,"port":81,"proto":"tcp"}]}`, "overlaps"},
		{`{"mode":"veth","bandwidth":{"up":10}}`, "less than one packet a second"},
		{`{"mode":"veth","bandwidth":{"up":100000000001}}`, "more than a link can be limited to"},
		{`{"mode":"veth","bandwidth":{"delay":"1h"}}`, "not between 0 and 10s"},
		{`{"mode":"veth","bridge":"br0","macvlan":"eth0"}`, "more than one of bridge"},
		{`{"mode":"veth","bridge":"br0","uplink":"nat"}`, "two ways out"},
		{`{"mode":"veth","bridge":"br0","origins":{"bridge":"p.yaml:3:4"}}`, "p.yaml:3:4: network bridge: the sandbox needs an address on it"},
		{`{"mode":"veth","address":["10.1.2.3/24"]}`, "it takes a link"},
		{`{"mode":"veth","bridge":"br0","address":["10.1.2.3"]}`, "not an address with its length"},
		{`{"mode":"veth","bridge":"br0","address":["10.1.2.0/24"]}`, "the network's own number"},
		{`{"mode":"veth","bridge":"br0","address":["127.0.0.2/8"]}`, "no machine can have it"},
		{`{"mode":"veth","bridge":"br0","address":["10.1.2.3/24","10.1.2.4/24"]}`, "one too many"},
		{`{"mode":"veth","dns":{"servers":["x"]}}`, "neither an address nor"},
		{`{"mode":"veth","dns":{"hosts":{"a b":["10.0.0.1"]}}}`, "character"},
	} {
		if _, err := Parse(c.json); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.json, err, c.want)
		}
	}
	ok := `{"mode":"veth","publish":[{"host-port":8080,"port":80,"proto":"tcp"},{"host-port":8080,"port":80,"proto":"udp"},{"address":"192.0.2.1","host-port":8080,"port":81,"proto":"tcp"}]}`
	if _, err := Parse(ok); err != nil {
		t.Error(err)
	}
}

func TestPlanAvoidsTheHostsRoutes(t *testing.T) {
	p, err := NewPlan(&Config{}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/15"), netip.MustParsePrefix("fd6a:6169:6c00::/64")}, "box")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Subnet4.String() + " " + p.Subnet6.String(); got != "172.18.213.0/24 fd6a:6169:6c00:1::/64" {
		t.Errorf("chose %s", got)
	}
	if !strings.Contains(string(p.HostsIn), "172.18.213.2 box\n") || string(p.ResolvConf) != "nameserver 172.18.213.1\n" {
		t.Errorf("files:\n%s%s", p.HostsIn, p.ResolvConf)
	}
	p, err = NewPlan(&Config{Egress: nil}, nil, "")
	if err != nil || p.Subnet4.String() != "10.213.0.0/24" {
		t.Errorf("%v %v", p, err)
	}
	every := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10")}
	if _, err := NewPlan(&Config{}, every, ""); err == nil {
		t.Error("no error when every range is routed")
	}
}

func TestParseRoutes(t *testing.T) {
	got := parseRoutes4("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\neth0\t00000000\t010200C0\t3\t0\t0\t0\t00000000\t0\t0\t0\neth0\t000200C0\t00000000\t1\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
	if len(got) != 1 || got[0].String() != "192.0.2.0/24" {
		t.Errorf("IPv4: %v", got)
	}
	got = parseRoutes6("fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n" +
		"00000000000000000000000000000000 00 0 00 0 0 0 0 0 lo\n")
	if len(got) != 1 || got[0].String() != "fd00::/64" {
		t.Errorf("IPv6: %v", got)
	}
}
