package netsetup

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Watch looks at a running sandbox's network from outside.
type Watch struct {
	conn *net.UnixConn
	addr netip.Addr
}

// OpenWatch asks the gateway process pid, which must be the caller's own, for a look at the sandbox
// with an address. Nobody but its owner can open it: see shared.go.
func OpenWatch(pid int, addr netip.Addr) (*Watch, error) {
	knock := askGateway(pid, func(string) bool { return true })
	if knock == nil {
		return nil, fmt.Errorf("process %d is not the gateway of a network of yours", pid)
	}
	defer knock.Close()
	door, err := net.FileConn(knock)
	if err != nil {
		return nil, fmt.Errorf("the network's door: %w", err)
	}
	defer door.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "watch"), os.NewFile(uintptr(pair[1]), "watch")
	defer mine.Close()
	defer theirs.Close()
	c, err := net.FileConn(mine)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	if err := Send(door.(*net.UnixConn), Request{Op: "watch"}, theirs); err != nil {
		c.Close()
		return nil, fmt.Errorf("the network's door: %w", err)
	}
	return &Watch{c.(*net.UnixConn), addr}, nil
}

// Totals sums up what the sandbox has exchanged, in no order. io.EOF when its network is gone.
func (w *Watch) Totals() ([]Total, error) {
	if err := Send(w.conn, Request{Op: "totals", Addr: w.addr}); err != nil {
		return nil, fmt.Errorf("ask the network's gateway: %w", err)
	}
	var all []Total
	for {
		var r Reply
		if _, err := Receive(w.conn, &r); err != nil {
			return nil, err
		}
		if all = append(all, r.Totals...); r.Done {
			return all, nil
		}
	}
}

// Close ends the look.
func (w *Watch) Close() { w.conn.Close() }
