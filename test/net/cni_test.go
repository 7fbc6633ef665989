package net_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// cniNetworks are CNI networks of the host: a bridge of its own and a pair for each sandbox, both with addresses that the
// host hands out.
var cniNetworks = map[string]string{
	"cnibridge": `{"cniVersion": "1.0.0", "name": "cnibridge", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true,
		"ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.128/28"}], [{"subnet": "2001:db8:7::/64"}]]}}, {"type": "tuning", "sysctl": {"net.ipv4.tcp_keepalive_time": "100"}}]}`,
	"cniptp": `{"cniVersion": "1.0.0", "name": "cniptp", "plugins": [{"type": "ptp",
		"ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.160/28"}], [{"subnet": "2001:db8:8::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]}`,
}

// cni gives the host CNI networks. Their plugins keep what they know in folders that only this mount namespace sees.
func cni(t *testing.T) {
	t.Helper()
	for _, p := range []string{"bridge", "ptp", "host-local", "tuning"} {
		need.File(t, "/usr/lib/cni/"+p)
	}
	// The internet knows the way back to the sandboxes' addresses: its default route leads to the host.
	if err := shell(`mkdir -p /etc/cni/net.d /var/lib/cni && mount -t tmpfs none /etc/cni && mkdir /etc/cni/net.d && mount -t tmpfs none /var/lib/cni`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shell("umount /etc/cni /var/lib/cni; ip link del cni0"); err != nil {
			t.Error(err)
		}
	})
	for name, text := range cniNetworks {
		if err := os.WriteFile("/etc/cni/net.d/"+name+".conflist", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The same rules in a CNI network of the host; its plugins take back what they gave, also after a crash.
func TestRootCNI(t *testing.T) {
	need.Root(t)
	world(t)
	forwarding(t)
	cni(t)
	asRoot = true
	defer func() { asRoot = false }()
	for name := range cniNetworks {
		more := `,"cni":"` + name + `"`
		variant(t, true, "cni", more, all)
		variant(t, true, "cni", more, map[string]func(*testing.T){"named": TestNamedNetwork})
		asRoot = true
		detached(t)
		cniKills(t, name)
	}
	for _, c := range []struct{ keys, want string }{
		{`"cni":"absent","origins":{"cni":"p.yaml:3:8"}`, "p.yaml:3:8: network cni: absent: no file in /etc/cni/net.d has a network of this name"},
		{`"cni":"cniptp","address":["192.0.2.50/24"]`, "network address: it takes a link to have it on"},
		{`"cni":"cniptp","uplink":"nat"`, "are two ways out"},
	} {
		refusesRoot(t, `{"mode":"veth","egress":[],`+c.keys+`}`, c.want)
	}
	if err := os.WriteFile("/etc/cni/net.d/x.conflist", []byte(`{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"no-such-plugin"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refusesRoot(t, `{"mode":"veth","egress":[],"cni":"x"}`, "install the package containernetworking-plugins")
	detached(t)
	profile := writeProfile(t, egress("")+"  cni: cnibridge\n"+mighty)
	hostBait(t)
	got, said := jailProbe(t, profile, allowed...)
	for i, o := range got {
		if !o.reached {
			t.Errorf("%s: %s\n%s", allowed[i], o.detail, said)
		}
	}
	attempts := bypassAttempts()
	without := controlRun(t, attempts)
	with, _ := jailProbe(t, profile, attempts...)
	checkBypasses(t, without, with)
	detached(t)
	cleanHost(t)
}

// cniKills kills supervisors at any moment, and their host processes with them, which then detach nothing: the next start
// does.
func cniKills(t *testing.T, name string) {
	t.Helper()
	network := fmt.Sprintf(`{"mode":"veth","egress":[%s],"cni":%q}`, allowGood, name)
	for i := range 12 {
		b := start(t, fmt.Sprintf("x%d", i), network, "tcp good.test:80", "tcp good.test:80")
		time.Sleep(time.Duration(50+rand.IntN(600)) * time.Millisecond)
		for _, p := range hostProcesses() {
			_ = exec.Command("kill", "-9", p).Run()
		}
		b.kill()
	}
	gone(t)
	unlocked(t)
	// There are addresses for 13 of them.
	last := start(t, "last", network, "tcp good.test:80")
	last.check(t, []string{"tcp good.test:80"}, nil)
	if strings.Contains(last.out.String(), "detach") {
		t.Error(last.out.String())
	}
	detached(t)
}

// unlocked waits for the plugins whose caller was killed, which hold its record's lock to their end.
func unlocked(t *testing.T) {
	t.Helper()
	const held = `for f in /var/lib/cni/jail/jail-*; do [ ! -e "$f" ] || flock --nonblock "$f" true || echo "$f"; done 2>/dev/null`
	comesToNothing(t, 30*time.Second, "plugins are still at work on", held)
}

// hostProcesses are those that make links on the host.
func hostProcesses() []string {
	var all []string
	proc, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range proc {
		exe, _ := os.Readlink(p + "/exe")
		ns, _ := os.Readlink(p + "/ns/net")
		own, _ := os.Readlink("/proc/thread-self/ns/net")
		if strings.HasPrefix(exe, "/memfd:jail-net-gateway") && ns == own && isHostProcess(p) {
			all = append(all, filepath.Base(p))
		}
	}
	return all
}

// detached looks for what an attachment leaves: an address that is handed out, a record, a lock, a link.
func detached(t *testing.T) {
	t.Helper()
	gone(t)
	const look = `find /var/lib/cni/networks /var/lib/cni/results /var/lib/cni/jail -type f ! -name 'last_reserved*' ! -name lock 2>/dev/null; ip -o link | grep -o ': veth[0-9a-f]*@' 2>/dev/null`
	comesToNothing(t, 30*time.Second, "left of CNI networks:", look)
}
