package gateway

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup/egress"
	"jail/netsetup/procfs"
	"jail/netsetup/rtnl"
)

// ownAddrs are the addresses at which the host itself answers. The list of those that its links have is read again when it
// is older than a second. For every other one the kernel is asked what it would do with the packet, because a route alone
// makes an address, or a network of them, the host's own ("local" in ip-route(8)), in whatever table it is. What it says
// is believed as long as the list.
type ownAddrs struct {
	mu    sync.Mutex
	at    time.Time
	have  hearers
	route rtnl.Lookup
	said  map[rtnl.Flow]byte // the type of the route, for at most maxSaid flows
	// entry is the link of the host that packets come in by, where it is the host that forwards them, and senders the
	// addresses they then have. The host's rules may lead them elsewhere than what this process sends.
	entry   int
	senders []netip.Prefix
}

// hearers are addresses at which the host hears what is sent. Those that are true are broadcast addresses, at which
// others hear it too.
type hearers map[netip.Addr]bool

// look tells whether the host hears what is sent to an address, and whether that is a broadcast. What cannot be found out
// counts as the host's own.
func (o *ownAddrs) look(proto egress.Proto, to netip.AddrPort) (own, broadcast bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.have == nil || time.Since(o.at) > time.Second {
		clear(o.said)
		if have, err := readHearers(); err == nil {
			o.have, o.at = have, time.Now()
		}
	}
	if broadcast, own = o.have[to.Addr()]; own || o.have == nil {
		return true, broadcast
	}
	f := rtnl.Flow{To: to.Addr()}
	switch proto {
	case egress.TCP:
		f.Proto, f.Port = unix.IPPROTO_TCP, to.Port()
	case egress.UDP:
		f.Proto, f.Port = unix.IPPROTO_UDP, to.Port()
	}
	own, broadcast = o.leadsHere(f)
	for _, p := range o.senders {
		if p.Addr().Is4() == f.To.Is4() && o.entry != 0 {
			f.From, f.Link = p.Addr(), o.entry
			own2, broadcast2 := o.leadsHere(f)
			own, broadcast = own || own2, broadcast || broadcast2
		}
	}
	return own, broadcast
}

// leadsHere asks the kernel whether a flow ends at the host.
func (o *ownAddrs) leadsHere(f rtnl.Flow) (own, broadcast bool) {
	kind, known := o.said[f]
	if !known {
		var err error
		if kind, err = o.route.Kind(f); err != nil {
			return true, false
		}
		if o.said == nil {
			o.said = map[rtnl.Flow]byte{}
		}
		if len(o.said) < maxSaid {
			o.said[f] = kind
		}
	}
	return kind == unix.RTN_LOCAL || kind == unix.RTN_ANYCAST || kind == unix.RTN_BROADCAST, kind == unix.RTN_BROADCAST
}

// maxSaid is more than the flows of a busy second, and little memory: a program that tries address after address must not
// make the gateway grow.
const maxSaid = 1024

func (o *ownAddrs) contains(a netip.Addr) bool {
	own, _ := o.look(0, netip.AddrPortFrom(a, 0))
	return own
}

// readHearers asks the kernel for the addresses of the links (rtnetlink(7), RTM_GETADDR), and adds those that come with
// them. Without these a datagram for a service that listens on every address would reach it under an address that no
// link has.
func readHearers() (hearers, error) {
	answer, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	have := hearers{}
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, fmt.Errorf("addresses of the host: %w", err)
		}
		var local, within, broadcast netip.Addr
		for _, a := range attrs {
			addr, _ := netip.AddrFromSlice(a.Value)
			switch a.Attr.Type {
			case syscall.IFA_LOCAL:
				local = addr
			case syscall.IFA_ADDRESS: // of a link to one peer it is the peer's
				within = addr
			case syscall.IFA_BROADCAST:
				broadcast = addr
			}
		}
		if !local.IsValid() {
			local = within
		}
		have.add(local, netip.PrefixFrom(within, int(m.Data[1])), broadcast)
	}
	// Those that programs have joined too, by IPV6_JOIN_ANYCAST. The main thread is in the host's network namespace.
	text, err := os.ReadFile(procfs.Path("net/anycast6"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 {
			if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 16 {
				have.enter(netip.AddrFrom16([16]byte(b)), false)
			}
		}
	}
	return have, nil
}

// add enters an address of a link, and what comes with its network: the directed broadcast (RFC 919, section 7), the
// network's own number, which hosts once took for a broadcast (RFC 1122, section 3.3.6; Linux before 5.14), and the
// address that every router of an IPv6 network hears (RFC 4291, section 2.6.1). Networks of two addresses have none of
// these (RFC 3021, RFC 6164).
func (h hearers) add(local netip.Addr, within netip.Prefix, broadcast netip.Addr) {
	h.enter(local, false)
	h.enter(broadcast, true)
	if !within.IsValid() || within.Bits() >= within.Addr().BitLen()-1 {
		return
	}
	first := within.Masked().Addr()
	h.enter(first, false)
	if first.Is4() {
		b := first.As4()
		for i := within.Bits(); i < 32; i++ {
			b[i/8] |= 0x80 >> (i % 8)
		}
		h.enter(netip.AddrFrom4(b), true)
	}
}

// enter enters one; an address of a link's own is no broadcast, whatever another link's network is.
func (h hearers) enter(a netip.Addr, broadcast bool) {
	if !a.IsValid() {
		return
	}
	if was, known := h[a]; known && !was {
		return
	}
	h[a] = broadcast
}
