package link

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Shape limits what leaves a link to a rate in bits a second (0: no limit), and
// holds each packet back for delay.
func (s *Space) Shape(name string, rate int64, delay time.Duration) error {
	if rate == 0 && delay == 0 {
		return nil
	}
	l, err := s.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	parent := uint32(netlink.HANDLE_ROOT)
	if delay > 0 {
		q := netlink.NewNetem(
			netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: parent},
			netlink.NetemQdiscAttrs{Latency: uint32(delay / time.Microsecond), Limit: 10000})
		if err := s.nl.QdiscAdd(q); err != nil {
			return fmt.Errorf("delay on %s: %w%s", name, err, qdiscHint(err, "sch_netem"))
		}
		parent = netlink.MakeHandle(1, 1)
	}
	if rate == 0 {
		return nil
	}
	bytes := uint64(rate) / 8
	// A burst of 20 ms, and at least the largest packet: less would pass nothing.
	burst := uint32(max(bytes/50, 2*MaxFrame))
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(2, 0), Parent: parent},
		Rate:       bytes, Buffer: netlink.Xmittime(bytes, burst), Limit: burst + uint32(bytes/10),
	}
	if err := s.nl.QdiscAdd(q); err != nil {
		return fmt.Errorf("rate on %s: %w%s", name, err, qdiscHint(err, "sch_tbf"))
	}
	return nil
}

// MaxFrame is more than any frame of a link.
const MaxFrame = 65536

func qdiscHint(err error, module string) string {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return "\nthe kernel lacks " + module + "; load the module, or take the limit out of the profile"
	}
	return ""
}

// Stub makes a veth pair within the namespace: one end for the bridge, the other
// for a packet socket.
func (g *Space) Stub(mtu int) (port, end string, err error) {
	port, end = "out0", "out1"
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, MTU: mtu}, PeerName: end, PeerMTU: uint32(mtu)}
	if err := g.nl.LinkAdd(v); err != nil {
		return "", "", fmt.Errorf("make the pair %s: %w", port, err)
	}
	for _, n := range []string{port, end} {
		l, err := g.nl.LinkByName(n)
		if err == nil {
			err = g.nl.LinkSetUp(l)
		}
		if err != nil {
			return "", "", fmt.Errorf("bring up %s: %w", n, err)
		}
	}
	return port, end, nil
}
