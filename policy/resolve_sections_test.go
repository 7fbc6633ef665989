package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestProcess has the values of `process`.
func TestProcess(t *testing.T) {
	r := resolveText(t, `version: 1
namespaces: [user, mount, pid, uts, net, {value: time, monotonic: 1h, boottime: -30s}]
process: {cwd: "~", uid: 0, gid: 0, groups: [27], id-ranges: auto, umask: "0077", hostname: box, domainname: "d.${PLAIN}",
  nice: 5, oom-score: -10, cpu-affinity: "3,0-1", terminal: never, die-with-parent: false, timeout: 1h30m}
filesystem: [{path: "~", persist: p}]
rlimits: {nofile: 4096, core: 0, as: 4G, cpu: 5m, stack: {soft: 8M, hard: unlimited}, RLIMIT_NPROC: 10}
`)
	p := &r.Process
	if p.UID.V != 0 || p.Umask.V != 0o077 || p.Hostname.V != "box" || p.Domainname.V != "d.name" || p.Nice.V != 5 ||
		p.OOMScore.V != -10 || p.CPUAffinity.V != "0-1,3" || p.Terminal.V != "never" || p.DieWithParent.V ||
		p.Timeout.V != 90*time.Minute || p.Cwd.V != "/home/user" {
		t.Errorf("process: %+v", p)
	}
	if !p.SubIDs || !slices.Equal(p.UIDMap, []IDMapping{{0, 1000, 1}, {1, 100000, 65536}}) {
		t.Errorf("uid map %v", p.UIDMap)
	}
	last := r.Namespaces[len(r.Namespaces)-1]
	if last.Kind != "time" || last.Monotonic != time.Hour || last.Boottime != -30*time.Second {
		t.Errorf("time namespace %+v", last)
	}
	var limits []string
	for _, l := range r.Rlimits {
		text, _ := json.Marshal([]uint64{l.Soft, l.Hard})
		limits = append(limits, l.Type+string(text))
	}
	want := "RLIMIT_AS[4294967296,4294967296] RLIMIT_CORE[0,0] RLIMIT_CPU[300,300] RLIMIT_NOFILE[4096,4096] RLIMIT_NPROC[10,10] RLIMIT_STACK[8388608,18446744073709551615]"
	if got := strings.Join(limits, " "); got != want {
		t.Errorf("rlimits %s\nwant %s", got, want)
	}
}

// TestSpreadIDs: with an own id in the middle, the ranges go around it.
func TestSpreadIDs(t *testing.T) {
	r := resolveText(t, "version: 1\nprocess: {id-ranges: auto}\n")
	want := []IDMapping{{1000, 1000, 1}, {0, 100000, 1000}, {1001, 101000, 64536}}
	if !slices.Equal(r.Process.UIDMap, want) {
		t.Errorf("uid map %v, want %v", r.Process.UIDMap, want)
	}
}

// TestLimits has the values of `limits`.
func TestLimits(t *testing.T) {
	r := resolveText(t, `version: 1
limits:
  memory: 4G
  memory-high: 3G
  memory-low: 100MB
  swap: 0
  cpu: 250%
  cpu-weight: 50
  cpus: 0-1,3
  mems: 0
  pids: 100
  io-weight: 10
  oom-group: true
  hugepages: {2M: 1G, 1GiB: max}
  io: [{device: /dev/sda, read: 50MB/s, write: 10M, read-ops: 100/s, write-ops: max, weight: 20}]
`)
	l := &r.Limits
	if l.Memory.V != 4<<30 || l.MemoryHigh.V != 3<<30 || l.MemoryLow.V != 100e6 || !l.Swap.Set || l.Swap.V != 0 ||
		l.CPUQuota.V != 250000 || l.CPUWeight.V != 50 || l.CPUs.V != "0-1,3" || l.Mems.V != "0" || l.Pids.V != 100 ||
		l.IOWeight.V != 10 || !l.OOMGroup.V {
		t.Errorf("limits: %+v", l)
	}
	if len(l.HugePages) != 2 || l.HugePages[0].PageSize != "2MB" || l.HugePages[1].PageSize != "1GB" || l.HugePages[1].Limit != Unlimited {
		t.Errorf("huge pages: %+v", l.HugePages)
	}
	if io := l.IO[0]; io.Read.V != 50e6 || io.Write.V != 10<<20 || io.ReadOps.V != 100 || io.WriteOps.V != Unlimited || io.Weight.V != 20 || io.Major != 8 {
		t.Errorf("io: %+v", l.IO)
	}
	for text, want := range map[string]int64{"2": 200000, "0.5": 50000, "1%": 1000, "max": Unlimited, "33.3%": 33300} {
		if got, err := parseCPU(text); err != nil || got != want {
			t.Errorf("cpu %s: %d, %v, want %d", text, got, err, want)
		}
	}
}

// The machine of the tests has four processors.
func TestMoreProcessorsThanThereAre(t *testing.T) {
	for cpu, warned := range map[string]bool{"4": false, "4.5": true, "50": true, "50%": false, "800%": false, "max": false} {
		r := resolveText(t, "version: 1\nlimits: {cpu: "+cpu+"}\n")
		if got := slices.ContainsFunc(r.Warnings, func(w Problem) bool { return w.Key == "limits.cpu" && w.Line == 2 }); got != warned {
			t.Errorf("cpu: %s: %v", cpu, r.Warnings)
		}
	}
}

// TestNetwork has the values of `network`.
func TestNetwork(t *testing.T) {
	r := resolveText(t, `version: 1
network:
  mode: veth
  name: lab
  egress:
    - allow: "*.Example.org:443"
    - allow: "10.0.0.0/8:5432,6000-6010/tcp"
    - allow: "[2001:db8::1]:53/udp"
    - allow: "2001:db8::/32"
    - allow: "[2001:db9::/32]:8080"
    - deny: private
    - allow: "host:5432"
    - allow: 192.0.2.7/icmp
    - deny: any
  publish: ["8080:80", "0.0.0.0:5353:53/udp", "[::1]:9:9"]
  bandwidth: {down: 10Mbit/s, up: 1MB/s, delay: 50ms}
  dns: {servers: [9.9.9.9], search: [example.org], hosts: {DB: 10.0.0.5}}
  uplink: pasta
  mtu: 1400
`)
	var rules []string
	for _, e := range r.Network.Egress {
		rules = append(rules, strings.TrimSpace(strings.Join([]string{e.Group, e.Host, e.Prefix, portText(e.Ports), e.Proto}, "|")))
	}
	want := []string{
		"|*.example.org||443|", "||10.0.0.0/8|5432,6000-6010|tcp", "||2001:db8::1/128|53|udp", "||2001:db8::/32||", "||2001:db9::/32|8080|",
		"private||||", "host|||5432|", "||192.0.2.7/32||icmp", "any||||",
	}
	if !slices.Equal(rules, want) {
		t.Errorf("egress\n%s\nwant\n%s", strings.Join(rules, "\n"), strings.Join(want, "\n"))
	}
	n := &r.Network
	if n.Publish[0].HostIP != "" || n.Publish[1].Proto != "udp" || n.Publish[2].HostIP != "::1" {
		t.Errorf("publish: %+v", n.Publish)
	}
	if n.Bandwidth.Down.V != 10e6 || n.Bandwidth.Up.V != 8e6 || n.Bandwidth.Delay.V != 50*time.Millisecond {
		t.Errorf("bandwidth: %+v", n.Bandwidth)
	}
	if n.DNS.Hosts[0].Name != "db" || n.DNS.Servers[0].Name != "9.9.9.9" || n.Uplink.V != "pasta" || n.MTU.V != 1400 {
		t.Errorf("dns: %+v", n.DNS)
	}
}

func portText(ports []PortRange) string {
	var all []string
	for _, p := range ports {
		s := countText(int64(p.First))
		if p.Last != p.First {
			s += "-" + countText(int64(p.Last))
		}
		all = append(all, s)
	}
	return strings.Join(all, ",")
}
