package net_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jail/netsetup"
	"jail/test/need"
)

// rules are those of the sandbox in these tests.
const rules = `[
	{"action":"deny","host":"bad.test"},
	{"action":"deny","host":"sharedbad.test"},
	{"action":"allow","host":"good.test","ports":["80"],"text":"good.test:80","origin":"p.yaml:5:5"},
	{"action":"allow","host":"*.good.test","ports":["80"]},
	{"action":"allow","host":"shared.test","ports":["80"]},
	{"action":"allow","host":"*.rebind.test"},
	{"action":"allow","host":"*.jail.internal"},
	{"action":"allow","prefix":"203.0.113.20"},
	{"action":"allow","prefix":"2001:db8:2::20"},
	{"action":"allow","prefix":"0.0.0.0/0","ports":["8080"]},
	{"action":"allow","prefix":"::/0","ports":["8080"]},
	{"action":"allow","group":"host","ports":["9000","9002"]}]`

// dropAll are setpriv's words for taking away what this process may do in its own user namespace.
var dropAll = []string{"--ambient-caps=-all", "--inh-caps=-all", "--"}

// outcome is what became of an attempt.
type outcome struct {
	reached bool
	millis  int
	detail  string
}

// probe makes attempts in H (the control run) or in a sandbox in front of it.
func probe(t *testing.T, inside bool, network string, attempts ...string) ([]outcome, []netsetup.Event) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, attempts...)
	env := append(os.Environ(), "JAIL_ROLE=probe", "JAIL_NETWORK="+network, "JAIL_SELF="+self, "HOSTPID="+strconv.Itoa(os.Getpid()),
		"GATEWAY4=203.0.113.53", "HOST4=127.0.0.1")
	cmd.Env = env
	if inside && asRoot {
		cmd.Env = append(env, "JAIL_ROLE=run")
	} else if inside {
		// The supervisor is an ordinary user: what this process may do in its own
		// user namespace ends here.
		cmd = exec.Command("setpriv", slices.Concat(dropAll, []string{self}, attempts)...)
		cmd.Env = append(env, "JAIL_ROLE=run")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe: %v\n%s%s", err, out, stderr.Bytes())
	}
	var outcomes []outcome
	var events []netsetup.Event
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "event "); ok {
			var e netsetup.Event
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
			continue
		}
		if way, ok := strings.CutPrefix(line, "ready "); ok && wantWay != "" && !strings.HasPrefix(way, wantWay+" ") {
			t.Errorf("the way is %s, not %s", way, wantWay)
		}
		if f := strings.SplitN(line, "\t", 4); len(f) == 4 {
			ms, _ := strconv.Atoi(f[2])
			outcomes = append(outcomes, outcome{f[0] == "reached", ms, f[3]})
		}
	}
	if len(outcomes) != len(attempts) {
		t.Fatalf("%d outcomes of %d attempts:\n%s%s", len(outcomes), len(attempts), out, stderr.Bytes())
	}
	return outcomes, events
}

// network is the annotation with the rules above.
func network(more string) string {
	return fmt.Sprintf(`{"mode":"veth","egress":%s%s%s}`, rules, more, everyNetwork)
}

// What a test run as root changes for the tests that it repeats.
var (
	asRoot       bool   // the supervisor keeps root's capabilities
	wantWay      string // how packets must leave
	everyNetwork string // more keys of the annotation
	uncarried    string // what is allowed and the way out does not carry
)

// variant runs tests again in a variant.
func variant(t *testing.T, root bool, way, more string, tests map[string]func(*testing.T)) {
	t.Helper()
	asRoot, wantWay, everyNetwork = root, way, more
	defer func() { asRoot, wantWay, everyNetwork = false, "", "" }()
	for name, f := range tests {
		t.Run(name, f)
	}
}

// hostBait listens in H, where the gateway process lives too.
func hostBait(t *testing.T) {
	t.Helper()
	for _, at := range [][2]string{{"tcp", "[::]:9000"}, {"tcp", "[::]:9001"}, {"tcp", "[::]:8080"}, {"unix", "@bait"}} {
		l, err := net.Listen(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go greet(l)
	}
	// Who sends to a broadcast or anycast address gets no answer from there. What has come is asked for at another port.
	u, err := net.ListenPacket("udp", "[::]:8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	l, err := net.Listen("tcp", "[::]:9002")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var heard sync.Map
	go func() {
		buf := make([]byte, 100)
		for {
			n, _, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			heard.Store(string(buf[:n]), true)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			what, _ := bufio.NewReader(c).ReadString('\n')
			if _, yes := heard.Load(strings.TrimSuffix(what, "\n")); yes {
				_, _ = c.Write([]byte("heard"))
			}
			c.Close()
		}
	}()
}

// What the rules allow works, without proxy variables and for every protocol.
func TestAllowed(t *testing.T) {
	world(t)
	hostBait(t)
	got, events := probe(t, true, network(""), allowed...)
	for i, o := range got {
		if o.reached == (allowed[i] == uncarried) {
			t.Errorf("%s: %s", allowed[i], o.detail)
		}
	}
	if len(events) > 0 {
		t.Errorf("reports: %+v", events)
	}
}

// bypasses are ways around the rules.
var bypasses = []struct {
	name, attempt string
	none          bool // when there can be no control run
}{
	{name: "the address of an allowed name, not looked up", attempt: "tcp 203.0.113.13:80"},
	{name: "a refused address", attempt: "tcp 203.0.113.11:80"},
	{name: "a refused address over IPv6", attempt: "tcp [2001:db8:2::11]:80"},
	{name: "another port of an allowed name", attempt: "twice good.test 203.0.113.10:443"},
	{name: "another port of an allowed name over IPv6", attempt: "twice good.test [2001:db8:2::10]:22"},
	{name: "the lookup of a refused name", attempt: "lookup bad.test"},
	{name: "the lookup of a name that no rule has", attempt: "lookup cdn.test"},
	{name: "another resolver", attempt: "query 203.0.113.99:53 good.test"},
	{name: "another resolver over TCP", attempt: "querytcp 203.0.113.99:53 good.test"},
	{name: "another resolver's encrypted port", attempt: "tcp 203.0.113.20:853"},
	{name: "another resolver at an address that is allowed as a whole", attempt: "query 203.0.113.20:53 bad.test"},
	{name: "address hints of an HTTPS record", attempt: "https $GATEWAY4:53 good.test"},
	{name: "a name rebound to a private address", attempt: "lookup private.rebind.test"},
	{name: "a name rebound to the loopback", attempt: "lookup loop.rebind.test"},
	{name: "a name rebound to the metadata address", attempt: "lookup meta.rebind.test"},
	{name: "a name rebound to the host", attempt: "lookup own.rebind.test"},
	{name: "a name rebound to a unique local address", attempt: "lookup ula.rebind.test"},
	{name: "a name rebound to an IPv4-mapped address", attempt: "lookup mapped.rebind.test"},
	{name: "a name rebound through NAT64", attempt: "lookup nat64.rebind.test"},
	{name: "somebody else's answer for a sandbox that is not there", attempt: "lookup absent.jail.internal"},
	{name: "a CNAME from an allowed to a refused name", attempt: "lookup alias.good.test"},
	{name: "an address shared by an allowed and a refused name", attempt: "twice sharedbad.test 203.0.113.12:80"},
	{name: "the metadata address", attempt: "tcp 169.254.169.254:8080"},
	{name: "a private address under a rule for all of IPv4", attempt: "tcp 10.99.0.1:8080"},
	{name: "a private address of another range", attempt: "tcp 192.168.77.1:8080"},
	{name: "carrier-grade NAT", attempt: "tcp 100.64.9.9:8080"},
	{name: "a unique local address", attempt: "tcp [fd99::1]:8080"},
	{name: "a site-local address", attempt: "tcp [fec0::1]:8080"},
	{name: "6to4", attempt: "tcp [2002:cb00:710b::1]:8080"},
	{name: "Teredo", attempt: "tcp [2001:0:cb00:710b::1]:8080"},
	{name: "the 6to4 relay", attempt: "tcp 192.88.99.9:8080"},
	{name: "NAT64 of a private address", attempt: "tcp [64:ff9b::a63:1]:8080"},
	{name: "an IPv4-mapped address", attempt: "mapped 203.0.113.11 80"},
	{name: "UDP to a refused address", attempt: "udp 203.0.113.11:7"},
	{name: "QUIC's port", attempt: "udp 203.0.113.11:443"},
	{name: "UDP over IPv6", attempt: "udp [2001:db8:2::11]:7"},
	{name: "UDP in fragments", attempt: "bigudp 203.0.113.11:7"},
	{name: "ping", attempt: "ping 203.0.113.11"},
	{name: "ping over IPv6", attempt: "ping 2001:db8:2::11"},
	{name: "a port of the gateway", attempt: "tcp $GATEWAY4:80"},
	{name: "another port of the host's loopback", attempt: "tcp $HOST4:9001"},
	{name: "the host's loopback by its own number", attempt: "tcp 127.0.0.1:9000"},
	{name: "the host's loopback over IPv6", attempt: "tcp [::1]:9000"},
	{name: "the host's own address", attempt: "tcp 198.51.100.2:9000"},
	{name: "the host's own IPv6 address", attempt: "tcp [2001:db8:1::2]:9000"},
	{name: "the broadcast address of a network of the host", attempt: "heard 203.0.113.255:8080"},
	{name: "the broadcast address that the host has set", attempt: "heard 203.0.113.250:8080"},
	{name: "the address that every router of a network hears", attempt: "heard [2001:db8:6::]:8080"},
	{name: "an address that only a route makes the host's own", attempt: "tcp 203.0.113.65:8080"},
	{name: "the same by UDP", attempt: "heard 203.0.113.65:8080"},
	{name: "the same where the route has a source of its own", attempt: "tcp 203.0.113.81:8080"},
	{name: "the same by UDP, where the route has a source of its own", attempt: "heard 203.0.113.81:8080"},
	{name: "an address that a route of another table makes the host's own", attempt: "heard 203.0.113.113:8080"},
	{name: "an IPv6 address that only a route makes the host's own", attempt: "tcp [2001:db8:77::1]:8080"},
	{name: "the same by UDP over IPv6", attempt: "heard [2001:db8:77::1]:8080"},
	{name: "an anycast address that only a route makes the host's own", attempt: "heard [2001:db8:78::7]:8080", none: true},
	{name: "an IPv6 address that a route of another table makes the host's own", attempt: "tcp [2001:db8:79::1]:8080"},
	{name: "the host as nowhere", attempt: "tcp 0.0.0.0:9000"},
	{name: "a link-local address", attempt: "tcp [fe80::1%eth0]:80", none: true},
	{name: "an abstract socket of the host", attempt: "abstract bait"},
	{name: "a raw socket", attempt: "raw"},
	{name: "a raw IPv6 socket", attempt: "raw6"},
	{name: "a packet socket", attempt: "packet"},
	{name: "an address of one's own choice", attempt: "addaddr 203.0.113.200/32"},
	{name: "a route of one's own choice", attempt: "addroute 203.0.113.201/32"},
	{name: "a neighbour of one's own choice", attempt: "neigh 203.0.113.202"},
	{name: "a hardware address of one's own choice", attempt: "setmac 02:00:00:00:00:77"},
	{name: "a link of one's own", attempt: "dummy"},
	{name: "forwarding", attempt: "sysctl ipv4/ip_forward 1"},
	{name: "a spoofed sender", attempt: "freebind 203.0.113.200 203.0.113.20:7"},
	{name: "a transparent socket", attempt: "tproxy"},
	{name: "a marked packet", attempt: "mark"},
	{name: "the host's network namespace", attempt: "joinhost"},
}

// Every way around the rules, each seen to lead somewhere without them.
func TestBypasses(t *testing.T) {
	world(t)
	hostBait(t)
	attempts := bypassAttempts()
	without := controlRun(t, attempts)
	with, events := probe(t, true, network(""), attempts...)
	checkBypasses(t, without, with)
	checkReports(t, events)
}

// What only a route of the host's makes a broadcast address, or prohibits, is refused and reported, whatever a rule says.
func TestBroadcastByRoute(t *testing.T) {
	world(t)
	hostBait(t)
	attempts := []string{"heard 203.0.113.206:8080", "udp 203.0.113.207:7"}
	if without, _ := probe(t, false, "", attempts[0]); !without[0].reached {
		t.Errorf("the control run is refused too, so this proves nothing: %s", without[0].detail)
	}
	with, events := probe(t, true, `{"mode":"veth","egress":[{"action":"allow","prefix":"203.0.113.206"},{"action":"allow","prefix":"203.0.113.207"},{"action":"allow","group":"host","ports":["9002"]}]}`, attempts...)
	for i, o := range with {
		if o.reached || o.millis > 4000 || !strings.Contains(o.detail, "no route to host") {
			t.Errorf("%s: %+v", attempts[i], o)
		}
	}
	const all, barred = "no program may send to 203.0.113.206", "no program may send to 203.0.113.207: the host has it for a broadcast address, or its routes prohibit it"
	// On a slow machine it is said besides that a refusal does not tell whose it is.
	events = slices.DeleteFunc(events, func(e netsetup.Event) bool { return e.Kind == "notice" })
	if len(events) != 2 || events[0].Port != 8080 || events[0].Why != all || events[1].Port != 7 || events[1].Why != barred {
		t.Errorf("reports: %+v", events)
	}
}

// controlRun makes the attempts without a sandbox. It does what a sandbox must not, and takes it back, for the next
// control run does it again.
func controlRun(t *testing.T, attempts []string) []outcome {
	t.Helper()
	without, _ := probe(t, false, "", attempts...)
	if err := shell("ip link del x0; ip addr del 203.0.113.200/32 dev bait0; ip route del 203.0.113.201/32; true"); err != nil {
		t.Error(err)
	}
	return without
}

func bypassAttempts() []string {
	var attempts []string
	for _, c := range bypasses {
		attempts = append(attempts, c.attempt)
	}
	return attempts
}

// checkBypasses compares the control run with the run inside.
func checkBypasses(t *testing.T, without, with []outcome) {
	t.Helper()
	for i, c := range bypasses {
		if !without[i].reached && !c.none {
			t.Errorf("%s: the control run is refused too, so this proves nothing: %s", c.name, without[i].detail)
		}
		if with[i].reached {
			t.Errorf("%s: %s reached it", c.name, c.attempt)
		}
		// Refusals are immediate; the bound is for busy machines.
		if with[i].millis > 4000 {
			t.Errorf("%s: %s was refused after %d ms: %s", c.name, c.attempt, with[i].millis, with[i].detail)
		}
	}
}

// checkReports looks for what is reported, and that it is reported once.
func checkReports(t *testing.T, events []netsetup.Event) {
	t.Helper()
	seen := map[string]int{}
	for _, e := range events {
		seen[fmt.Sprintf("%s %s %s %s %d", e.Kind, e.Proto, e.Name, e.Addr, e.Port)]++
		if e.Why == "" || e.Write == "" && e.Kind == "flow" && !strings.HasPrefix(e.Why, "no program") {
			t.Errorf("a report that does not help: %+v", e)
		}
	}
	for _, want := range []string{
		"flow tcp  203.0.113.11 80", "flow tcp good.test 203.0.113.10 443", "name  bad.test invalid IP 0", "flow udp  203.0.113.99 53",
		"flow icmp  203.0.113.11 0", "flow tcp  169.254.169.254 8080", "flow tcp host.jail.internal invalid IP 9001",
	} {
		if seen[want] != 1 {
			t.Errorf("%q was reported %d times, not once", want, seen[want])
		}
	}
}

// A published port leads inside, over both families and protocols; a taken one is
// an error before anything starts.
func TestPublish(t *testing.T) {
	world(t)
	more := `,"publish":[{"host-port":8081,"port":80,"proto":"tcp"},{"address":"198.51.100.2","host-port":8082,"port":7,"proto":"udp"}]`
	flag := filepath.Join(t.TempDir(), "dial")
	t.Setenv("JAIL_DIAL", flag)
	go func() {
		for range 2400 {
			if _, err := os.Stat(flag); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		answer := "ok"
		for _, err := range []error{hello("tcp", "127.0.0.1:8081"), hello("tcp", "[::1]:8081"), datagram("198.51.100.2:8082", 10), datagram("198.51.100.2:8082", 20000)} {
			if err != nil {
				answer = err.Error()
			}
		}
		_ = os.WriteFile(flag+".new", []byte(answer), 0o600)
		_ = os.Rename(flag+".new", flag+".answer")
	}()
	got, _ := probe(t, true, network(more), "serve")
	if !got[0].reached {
		t.Error(got[0].detail)
	}
	l, err := net.Listen("tcp", "127.0.0.1:8081")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "raw")
	cmd.Env = append(os.Environ(), "JAIL_ROLE=run", "JAIL_SELF="+self, "JAIL_NETWORK="+network(more))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "listen on 127.0.0.1:8081") || !strings.Contains(string(out), "address already in use\nanother program listens there") || strings.Contains(string(out), "raw") {
		t.Errorf("a port that is taken: %v\n%s", err, out)
	}
}

// Who connects to a published port while the sandbox is being made waits, or is reset; the gateway lives on.
func TestPublishAtStart(t *testing.T) {
	world(t)
	ended := make(chan struct{})
	var knocking sync.WaitGroup
	defer func() { close(ended); knocking.Wait() }()
	knocking.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if u, err := net.Dial("udp", "127.0.0.1:8086"); err == nil {
				_, _ = u.Write([]byte("x"))
				u.Close()
			}
			c, err := net.Dial("tcp", "127.0.0.1:8085")
			if err != nil {
				continue
			}
			if i%2 == 0 {
				_ = c.(*net.TCPConn).SetLinger(0) // a reset
			}
			c.Close()
		}
	})
	for i := range 10 {
		b := start(t, fmt.Sprintf("early%d", i), `{"mode":"veth","egress":[`+allowGood+`],"publish":[{"host-port":8085,"port":80,"proto":"tcp"},{"host-port":8086,"port":80,"proto":"udp"}]`+everyNetwork+`}`, "tcp good.test:80")
		b.check(t, []string{"tcp good.test:80"}, nil)
	}
}

// The same over a TAP device, which here only root may open.
func TestRootTAP(t *testing.T) {
	need.Root(t)
	variant(t, false, "tap", "", map[string]func(*testing.T){"allowed": TestAllowed, "bypasses": TestBypasses})
}
