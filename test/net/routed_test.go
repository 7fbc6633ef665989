package net_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jail/test/need"
)

// all are the tests that hold however packets leave.
var all = map[string]func(*testing.T){"allowed": TestAllowed, "bypasses": TestBypasses, "publish": TestPublish, "publish at start": TestPublishAtStart}

// The same rules when the kernel forwards, behind the host's addresses.
func TestRootNAT(t *testing.T) {
	need.Root(t)
	world(t)
	if err := shell("echo 0 > /proc/sys/net/ipv4/ip_forward"); err != nil {
		t.Fatal(err)
	}
	refusesRoot(t, `{"mode":"veth","egress":[],"uplink":"nat"}`, "this host forwards no packets\n'sysctl -w net.ipv4.ip_forward=1' lets it")
	forwarding(t)
	variant(t, true, "nat", `,"uplink":"nat"`, all)
	variant(t, true, "nat", `,"uplink":"nat"`, map[string]func(*testing.T){"named": TestNamedNetwork})
	cleanHost(t)
}

// The same on a bridge of the host, under an address of the sandbox's own, on which
// its published ports and no others are reached.
func TestRootBridge(t *testing.T) {
	need.Root(t)
	world(t)
	forwarding(t)
	lan(t)
	keys := `,"bridge":"lan0","address":["192.0.2.50/24","2001:db8:5::50/64"]`
	variant(t, true, "bridge", keys, all)
	flag := filepath.Join(t.TempDir(), "server")
	asRoot = true
	defer func() { asRoot = false }()
	server := start(t, "server", `{"mode":"veth","egress":[]`+keys+`,"publish":[{"address":"192.0.2.50","host-port":8080,"port":80,"proto":"tcp"},{"address":"2001:db8:5::50","host-port":8080,"port":80,"proto":"tcp"}]}`, "listen "+flag)
	waitFor(t, server, flag+".up")
	neighbour := func(attempt string) error {
		return onNeighbour(func() error { f := strings.Fields(attempt); return probes[f[0]](f[1:]...) })
	}
	for _, a := range []string{"tcp 192.0.2.50:8080", "tcp [2001:db8:5::50]:8080"} {
		if err := neighbour(a); err != nil {
			t.Errorf("another machine: %s: %v", a, err)
		}
	}
	for _, a := range []string{"tcp 192.0.2.50:80", "tcp 192.0.2.50:53", "query 192.0.2.50:53 good.test", "tcp [2001:db8:5::50]:80"} {
		if err := neighbour(a); err == nil {
			t.Errorf("another machine: %s reached it", a)
		}
	}
	if err := os.WriteFile(flag+".stop", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.cmd.Wait(); err != nil {
		t.Error(err, server.out.String())
	}
	reach := start(t, "reach", `{"mode":"veth","egress":[{"action":"allow","prefix":"192.0.2.9","ports":["80"]}]`+keys+`}`, "tcp 192.0.2.9:80", "tcp 192.0.2.9:443", "tcp 192.0.2.1:9000")
	reach.check(t, []string{"tcp 192.0.2.9:80"}, []string{"tcp 192.0.2.9:443", "tcp 192.0.2.1:9000"})
	for _, c := range []struct{ keys, want string }{
		{`"bridge":"lan0","address":["192.0.2.9/24"],"origins":{"address":"p.yaml:4:12"}`, "p.yaml:4:12: network address 192.0.2.9: another machine has this address"},
		{`"bridge":"lan0","address":["2001:db8:5::9/64"]`, "network address 2001:db8:5::9: another machine has this address"},
		{`"bridge":"lan0","address":["192.0.2.1/24"]`, "network address 192.0.2.1: the host itself has it"},
		{`"bridge":"lan7","address":["192.0.2.50/24"],"origins":{"bridge":"p.yaml:3:11"}`, `p.yaml:3:11: network bridge: this machine has no link "lan7"`},
		{`"bridge":"h0","address":["192.0.2.50/24"]`, "network bridge: h0 is a veth, not a bridge"},
	} {
		refusesRoot(t, `{"mode":"veth","egress":[],`+c.keys+`}`, c.want)
	}
	// One that answers no more after a while was a sandbox whose link the kernel had still to take away.
	for a, flags := range map[string]string{"192.0.2.61/24": "", "2001:db8:5::61/64": "nodad"} {
		change := func(how string) {
			t.Helper()
			if err := onNeighbour(func() error { return shell("ip addr " + how) }); err != nil {
				t.Fatal(err)
			}
		}
		change("add " + a + " dev m0 " + flags)
		again := start(t, "again", `{"mode":"veth","egress":[{"action":"allow","prefix":"192.0.2.9","ports":["80"]},{"action":"allow","prefix":"2001:db8:5::9","ports":["80"]}],"bridge":"lan0","address":["`+a+`"]}`, "tcp 192.0.2.9:80", "tcp [2001:db8:5::9]:80")
		time.Sleep(time.Second)
		change("del " + a + " dev m0")
		if got := again.outcomes(t); !got["tcp 192.0.2.9:80"] && !got["tcp [2001:db8:5::9]:80"] {
			t.Errorf("%s: %v", a, got)
		}
	}
	cleanHost(t)
}

// The same on a link on top of the host's own.
func TestRootMACVLAN(t *testing.T) {
	need.Root(t)
	world(t)
	variant(t, true, "macvlan", `,"macvlan":"h0","address":["198.51.100.77/24","2001:db8:1::77/64"]`, all)
	cleanHost(t)
}

// A port below 1024 is root's to publish, whatever the way out.
func TestRootPublishLow(t *testing.T) {
	need.Root(t)
	world(t)
	forwarding(t)
	asRoot = true
	defer func() { asRoot = false }()
	for _, more := range []string{"", `,"uplink":"nat"`} {
		flag := filepath.Join(t.TempDir(), "low")
		b := start(t, "", `{"mode":"veth","egress":[],"publish":[{"host-port":82,"port":80,"proto":"tcp"}]`+more+`}`, "listen "+flag)
		waitFor(t, b, flag+".up")
		if err := hello("tcp", "127.0.0.1:82"); err != nil {
			t.Errorf("%s: %v", more, err)
		}
		b.kill()
	}
}

// Supervisors are killed at any moment of their start, and nothing is left on the host.
func TestRootKills(t *testing.T) {
	need.Root(t)
	world(t)
	forwarding(t)
	lan(t)
	asRoot = true
	defer func() { asRoot = false }()
	kinds := []string{`,"uplink":"nat"`, `,"bridge":"lan0","address":["192.0.2.50/24"]`, `,"macvlan":"h0","address":["198.51.100.77/24"]`, `,"name":"k","uplink":"nat"`}
	rounds := 200
	if testing.Short() {
		rounds = 40
	}
	for i := range rounds {
		b := start(t, fmt.Sprintf("x%d", i), fmt.Sprintf(`{"mode":"veth","egress":[%s]%s}`, allowGood, kinds[i%len(kinds)]), "tcp good.test:80", "tcp good.test:80")
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		b.kill()
	}
	cleanHost(t)
}

// cleanHost looks for what a network may have on the host.
func cleanHost(t *testing.T) {
	t.Helper()
	gone(t)
	need.Program(t, "nft")
	const look = `ip -o link | grep -o ': jail[0-9a-f]*'; ip route | grep -F 10.214.; ip -6 route | grep -F fd6a:; nft list tables`
	comesToNothing(t, 30*time.Second, "left on the host:", look)
}

// comesToNothing looks, again and again, with a line of the shell that prints what should not be there.
func comesToNothing(t *testing.T, within time.Duration, left, look string) {
	t.Helper()
	var out []byte
	for range within / (50 * time.Millisecond) {
		out, _ = exec.Command("sh", "-c", look).CombinedOutput()
		if len(out) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s\n%s", left, out)
}

func refusesRoot(t *testing.T, network, want string) {
	t.Helper()
	was := asRoot
	asRoot = true
	defer func() { asRoot = was }()
	b := start(t, "", network, "raw")
	if err := b.cmd.Wait(); err == nil || !strings.Contains(b.out.String(), want) {
		t.Errorf("%s: %v: %s, want %q", network, err, b.out.String(), want)
	}
}

func waitFor(t *testing.T, b *box, file string) {
	t.Helper()
	if !appears(file, 30*time.Second) {
		b.kill()
		t.Fatalf("nothing serves: %s", b.out.String())
	}
}

// forwarding lets the host forward packets, as a server that runs containers does.
func forwarding(t *testing.T) {
	t.Helper()
	if err := shell("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"); err != nil {
		t.Fatal(err)
	}
}

// neighbours carries out functions on another machine of the bridge lan0.
var neighbours = make(chan func())

func onNeighbour(f func() error) error {
	done := make(chan error)
	neighbours <- func() { done <- f() }
	return <-done
}

var makeLAN = sync.OnceValue(func() error {
	ready := make(chan error)
	go func() {
		err := inWorld(func() error {
			stay := exec.Command("sleep", "infinity")
			if err := stay.Start(); err != nil {
				return err
			}
			defer stay.Process.Kill()
			done := make(chan error)
			go func() {
				done <- shell(`set -e
					ip link add lan0 type bridge; ip addr add 192.0.2.1/24 dev lan0; ip addr add 2001:db8:5::1/64 dev lan0 nodad
					ip link add p0 type veth peer name m0; ip link set p0 master lan0; ip link set m0 netns "$M"
					ip link set p0 up; ip link set lan0 up`, fmt.Sprintf("M=%d", stay.Process.Pid))
			}()
			if err := <-done; err != nil {
				return err
			}
			err := shell(`set -e; ip link set lo up; ip addr add 192.0.2.9/24 dev m0; ip addr add 2001:db8:5::9/64 dev m0 nodad; ip link set m0 up`)
			if err != nil {
				return err
			}
			for _, port := range []string{"80", "443"} {
				l, err := net.Listen("tcp", ":"+port)
				if err != nil {
					return err
				}
				go greet(l)
			}
			ready <- nil
			for f := range neighbours {
				f()
			}
			return nil
		})
		ready <- err
	}()
	return <-ready
})

// lan gives the host a bridge with another machine on it.
func lan(t *testing.T) {
	t.Helper()
	if err := makeLAN(); err != nil {
		t.Fatal(err)
	}
}
