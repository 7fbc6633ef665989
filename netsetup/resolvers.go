package netsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

const resolvConf = "/etc/resolv.conf"

// hostResolvers reads the host's resolvers, resolv.conf(5). Without any it is the loopback address, as for the C
// library.
//
// The supervisor reads them, when it starts and whenever its gateway asks: that has no file to read, and a laptop that
// comes into another network has others.
func hostResolvers(path string) ([]netip.AddrPort, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the host's resolvers: %w", err)
	}
	const most = 3 // MAXNS
	var out []netip.AddrPort
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" || len(out) == most {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	if out == nil {
		out = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return out, nil
}

// tellResolvers answers the gateway, which keeps what it has when there is no answer.
func (n *Network) tellResolvers() {
	if list, err := hostResolvers(resolvConf); err == nil {
		_ = Send(n.control, Request{Op: "resolvers", Resolvers: list})
	}
}
