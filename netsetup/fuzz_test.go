package netsetup

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever comes over the control socket: a message or an error, and what was read says the same when it is written.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		`{"op":"attach"}`, `{"op":"totals","addr":"10.213.0.2"}`, `{"ready":{"plan":{"MTU":65520,"Subnet4":"10.213.0.0/24"},"pid":1,"way":"tap"}}`,
		`{"event":{"time":"2024-01-01T00:00:00Z","kind":"flow","proto":"tcp","addr":"::1","port":80,"why":"x"}}`,
		`{"totals":[{"proto":"tcp","flows":1}],"done":true}`, `{"uplink":{"way":"nat","link":"up0","mtu":1500,"addresses":["10.214.0.5/32"]}}`, `{"error":"x"}`, `null`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) == 0 || len(message) > maxMessage {
			return // the end of a socket, or what no sender writes
		}
		for _, into := range []any{&Request{}, &Reply{}} {
			mine, theirs := controlSockets(t)
			if _, err := theirs.Write(message); err != nil {
				t.Fatal(err)
			}
			files, err := Receive(mine, into)
			if len(files) > 0 {
				t.Fatal("descriptors that nobody sent")
			}
			if err == nil {
				sameAgain(t, into)
			}
			mine.Close()
			theirs.Close()
		}
	})
}

func controlSockets(t *testing.T) (mine, theirs *net.UnixConn) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]*net.UnixConn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "control")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = c.(*net.UnixConn)
	}
	return out[0], out[1]
}

// sameAgain writes and reads a message twice.
func sameAgain(t *testing.T, m any) {
	once, err := json.Marshal(m)
	if err != nil {
		return // a time that JSON cannot hold
	}
	again := any(&Reply{})
	if _, request := m.(*Request); request {
		again = &Request{}
	}
	if err := json.Unmarshal(once, again); err != nil {
		t.Fatalf("%s cannot be read again: %v", once, err)
	}
	if twice, err := json.Marshal(again); err != nil || string(twice) != string(once) {
		t.Fatalf("%s became %s: %v", once, twice, err)
	}
}

// Whatever a bundle's annotation says: an error, or a network whose addresses are apart from the host's.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		`{"mode":"veth","egress":[{"action":"allow","host":"*.example.org","ports":["443"]},{"action":"deny","group":"any"}]}`,
		`{"mode":"veth","egress":[],"publish":[{"address":"::1","host-port":80,"port":80,"proto":"tcp"}],"bandwidth":{"down":8000,"delay":"5ms"},"mac":"02:00:00:00:00:01"}`,
		`{"mode":"veth","egress":[],"uplink":"pasta","dns":{"servers":["192.0.2.1:53"],"search":["a.b"],"hosts":{"db":["10.0.0.5"]}},"mtu":1400}`,
		`{"mode":"veth","egress":[],"bridge":"br0","address":["10.1.2.3/24","2001:db8::5/64"],"origins":{"bridge":"p:1:1"}}`,
		`{"mode":"join","name":"db"}`, `{"mode":"veth","egress":[],"cni":"x"}`,
	} {
		f.Add(s)
	}
	routes := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, 0, 0}), 20), netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 0, 0}), 16)}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(string(written)); err != nil {
			t.Fatalf("%s was read, and %s is not: %v", text, written, err)
		}
		if c.Mode != "veth" {
			return
		}
		p, err := NewPlan(c, routes, "box")
		if err != nil {
			return
		}
		for _, r := range routes {
			if p.Subnet4.Overlaps(r) || p.Up4.IsValid() && (p.Up4.Overlaps(r) || p.Up4.Overlaps(p.Subnet4)) {
				t.Fatalf("%s and %s run into the host's %s or each other", p.Subnet4, p.Up4, r)
			}
		}
	})
}
