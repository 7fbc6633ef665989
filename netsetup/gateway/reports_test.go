package gateway

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"jail/netsetup"
	"jail/netsetup/egress"
	"jail/netsetup/link"
)

// refusingMember is a member without rules on a gateway whose link's other end is the descriptor.
func refusingMember(t testing.TB) (m *member, peer int) {
	t.Helper()
	plan, err := netsetup.NewPlan(&netsetup.Config{Mode: "veth"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := egress.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	g := &gateway{plan: plan, queries: make(chan struct{}, maxQueries), members: map[netip.Addr]*member{}, speed: &speed{all: 1}}
	m = &member{g: g, plan: plan, policy: policy}
	g.members[plan.Addr4], g.members[plan.Addr6] = m, m
	g.device = newDevice(&link.Uplink{FD: pair[0]}, plan.MTU, plan.GatewayMAC)
	g.tellDevice()
	if g.stack, err = newStack(g.device, plan); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.stack.Close(); g.device.Close() })
	g.serveUDP()
	g.servePing()
	return m, pair[1]
}

// sends gives the stack a packet of the member's, to 203.0.113.n.
func (m *member) sends(proto byte, n byte, payload ...byte) {
	packet := append([]byte{0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, 0, 64, proto, 0, 0}, m.plan.Addr4.AsSlice()...)
	packet = append(append(packet, 203, 0, 113, n), payload...)
	frame := frameOf(m.plan, 0x0800, packet...)
	view := buffer.NewViewSize(frameLen)
	copy(view.AsSlice(), frame)
	m.g.device.frame(vnetNeedsCsum, view, len(frame), nil)
}

// refusals reads the answers off the link until there are n that say "prohibited".
func refusals(t *testing.T, peer, n int) {
	t.Helper()
	b := make([]byte, frameLen)
	for have, end := 0, time.Now().Add(30*time.Second); have < n; {
		size, err := unix.Read(peer, b)
		switch at := vnetLen + ethernetLen; {
		case err == nil && size > at+header.IPv4MinimumSize+1 && b[at+9] == unix.IPPROTO_ICMP && b[at+20] == byte(header.ICMPv4DstUnreachable):
			have++
		case err != nil && time.Now().After(end):
			t.Fatalf("%d of %d refusals are answered", have, n)
		case err != nil:
			time.Sleep(time.Millisecond)
		}
	}
}

// inTime fails when f does not return.
func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal(what + " waits")
	}
}

// TestReportsNobodyReads: packets of all members are read, and refused, while a supervisor does not take what it is
// told. Nothing is lost, told twice or told in another order.
func TestReportsNobodyReads(t *testing.T) {
	m, peer := refusingMember(t)
	read := make(chan struct{})
	var mu sync.Mutex
	var told []string
	m.reports.send = func(e netsetup.Event) {
		<-read
		mu.Lock()
		defer mu.Unlock()
		told = append(told, e.Proto+" "+e.Addr.String())
	}
	var want []string
	inTime(t, "the reader of packets", func() {
		for n := range byte(20) {
			m.sends(unix.IPPROTO_UDP, n, 0x80, 0, 0, 53, 0, 9, 0, 0, 'x')
			m.sends(unix.IPPROTO_ICMP, n, 8, 0, 0, 0, 0, 1, 0, 1)
			want = append(want, fmt.Sprintf("udp 203.0.113.%d", n), fmt.Sprintf("icmp 203.0.113.%d", n))
			refusals(t, peer, 2)
		}
		m.sends(unix.IPPROTO_UDP, 0, 0x80, 0, 0, 53, 0, 9, 0, 0, 'x')
		refusals(t, peer, 1)
	})
	inTime(t, "a goroutine of a flow", func() {
		if _, ok := m.decide(egress.TCP, 1, netip.MustParseAddrPort("203.0.113.1:80")); ok {
			t.Error("it is allowed")
		}
	})
	if m.reports.underway.Load() != 41 {
		t.Errorf("%d reports are underway", m.reports.underway.Load())
	}
	close(read)
	inTime(t, "the end", func() {
		for m.reports.underway.Load() > 0 {
			m.tellPending()
		}
	})
	if want = append(want, "tcp 203.0.113.1"); strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// TestSlowSearch: while one program is looked for, reports are taken; who waits for an answer gets it after the search;
// what comes to its turn too late is told without a program, and that some are is told once.
func TestSlowSearch(t *testing.T) {
	m := &member{}
	var told []netsetup.Event
	m.reports.send = func(e netsetup.Event) { told = append(told, e) }
	searched, answered := make(chan struct{}), make(chan struct{})
	inTime(t, "a report", func() {
		for port := range uint16(4) {
			then := func() { answered <- struct{}{} }
			m.reportThen(netsetup.Event{Kind: "flow", Port: port}, func(until time.Time) (string, bool) {
				<-searched
				return "curl"[:4*(1-min(port, 1))], port > 0
			}, then)
		}
	})
	select {
	case <-answered:
		t.Fatal("the program gets its answer, and may end, before it is looked for")
	case <-time.After(10 * time.Millisecond):
	}
	for range 4 {
		searched <- struct{}{}
		<-answered
	}
	m.tellPending()
	var got []string
	for _, e := range told {
		got = append(got, fmt.Sprint(e.Kind, e.Port, e.Program))
	}
	if g := strings.Join(got, " "); g != "flow0curl flow1 notice0 flow2 flow3" {
		t.Errorf("told %s", g)
	}
}

// TestManyReports: what is kept for a supervisor that does not read has an end.
func TestManyReports(t *testing.T) {
	m := &member{}
	read := make(chan struct{})
	n, last := 0, netsetup.Event{}
	m.reports.send = func(e netsetup.Event) { <-read; n, last = n+1, e }
	answers := 0
	for port := range uint16(3 * maxReports) {
		known := make(chan struct{})
		m.reportThen(netsetup.Event{Kind: "flow", Port: port}, nil, func() { close(known) })
		inTime(t, "an answer", func() { <-known })
		answers++
	}
	if left := m.reports.underway.Load(); left != maxReports+1 {
		t.Errorf("%d are kept", left)
	}
	close(read)
	inTime(t, "the end", func() {
		for m.reports.underway.Load() > 0 {
			m.tellPending()
		}
	})
	if n != maxReports+1 || last.Kind != "notice" {
		t.Errorf("%d are told, the last is %+v", n, last)
	}
}

// slowTable gives a line of a table of sockets at a time, without end.
type slowTable struct{ lines int }

func (s *slowTable) Read(b []byte) (int, error) {
	s.lines++
	return copy(b, "1: 0100007F:03E7 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2\n"), nil
}

// TestSearchEnds: however many sockets and descriptors there are, the search for a program ends in time.
func TestSearchEnds(t *testing.T) {
	inTime(t, "the reader of a table", func() {
		inodes := map[string]bool{}
		if err := socketsOn(&slowTable{}, 999, time.Now().Add(20*time.Millisecond), inodes); err == nil {
			t.Error("a table without end was read")
		}
		if !inodes["socket:[4711]"] {
			t.Errorf("found %v", inodes)
		}
	})
	dir := t.TempDir()
	for i := range 300 {
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", i), filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	inodes := map[string]bool{"socket:[299]": true}
	if !holds(dir, inodes, time.Now().Add(time.Hour)) {
		t.Error("a socket among many is not found")
	}
	looked := 0
	late := eachEntry(dir, time.Now().Add(30*time.Millisecond), func(string) bool {
		looked++
		time.Sleep(10 * time.Millisecond)
		return false
	})
	if !late || looked == 0 || looked > 100 {
		t.Errorf("late: %v, after %d entries", late, looked)
	}
	if holds(dir, inodes, time.Now()) {
		t.Error("descriptors are looked through when there is no time left")
	}
}
