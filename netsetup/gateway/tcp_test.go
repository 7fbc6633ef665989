package gateway

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A port that nobody listens on is refused, whatever is wrong with the other addresses; what none refuses is unreachable.
func TestDialRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := l.Addr().(*net.TCPAddr).AddrPort()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := gone.Addr().(*net.TCPAddr).AddrPort()
	gone.Close()
	nowhere := netip.MustParseAddrPort("127.255.255.255:9") // TCP has no broadcast: the kernel says so and sends nothing
	for _, c := range []struct {
		name string
		to   []netip.AddrPort
		want error
	}{
		{"refused, then unreachable", []netip.AddrPort{closed, nowhere}, unix.ECONNREFUSED},
		{"unreachable, then refused", []netip.AddrPort{nowhere, closed}, unix.ECONNREFUSED},
		{"unreachable", []netip.AddrPort{nowhere}, unix.ENETUNREACH},
		{"unreachable, then open", []netip.AddrPort{nowhere, open}, nil},
	} {
		conn, err := dialTCP(c.to)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
