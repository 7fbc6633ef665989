// Package rtnl writes requests of rtnetlink(7) to make and configure links. Many go in one message, and nothing but the
// last of them is answered unless it fails: two system calls, where a library that asks for an answer to each takes two
// for each. jail itself writes them, at every start of a sandbox that has a network, and a library would cost that start
// more than the kernel's work does.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Batch is a list of requests, carried out in order. The zero value is empty.
type Batch struct {
	b    []byte
	what []string // of each request, for its failure
}

// Link describes a link to make or to change.
type Link struct {
	// Index is its number; 0 leaves it to the kernel, or finds it by name.
	Index int
	Name  string
	MTU   int // 0 leaves it as it is
	MAC   []byte
	// Bridge is the number of the bridge to put it on, or 0.
	Bridge int
	// Space is a descriptor of the network namespace to make it in; only of the other end of a veth pair.
	Space int
}

// request begins a request and gives where it begins, for end.
func (b *Batch) request(kind, flags uint16, what string) int {
	at := len(b.b)
	b.what = append(b.what, what)
	b.b = binary.NativeEndian.AppendUint32(b.b, 0) // the length, at the end
	b.b = binary.NativeEndian.AppendUint16(b.b, kind)
	b.b = binary.NativeEndian.AppendUint16(b.b, unix.NLM_F_REQUEST|flags)
	b.b = binary.NativeEndian.AppendUint32(b.b, uint32(len(b.what)))
	b.b = binary.NativeEndian.AppendUint32(b.b, 0)
	return at
}

func (b *Batch) end(at int) { binary.NativeEndian.PutUint32(b.b[at:], uint32(len(b.b)-at)) }

// attr adds an attribute (struct rtattr), padded to four bytes.
func (b *Batch) attr(kind uint16, value []byte) {
	at := b.nest(kind)
	b.b = append(b.b, value...)
	b.unnest(at)
}

func (b *Batch) number(kind uint16, v int) {
	b.attr(kind, binary.NativeEndian.AppendUint32(nil, uint32(v)))
}

// nest begins an attribute and gives where, for unnest.
func (b *Batch) nest(kind uint16) int {
	at := len(b.b)
	b.b = binary.NativeEndian.AppendUint16(b.b, 0)
	b.b = binary.NativeEndian.AppendUint16(b.b, kind)
	return at
}

func (b *Batch) unnest(at int) {
	binary.NativeEndian.PutUint16(b.b[at:], uint16(len(b.b)-at))
	for len(b.b)%4 != 0 {
		b.b = append(b.b, 0)
	}
}

// link adds struct ifinfomsg of a link, with flags that it is to have, and what else it is to have.
func (b *Batch) link(l Link, flags uint32) {
	b.b = append(b.b, 0, 0, 0, 0) // family and type
	b.b = binary.NativeEndian.AppendUint32(b.b, uint32(l.Index))
	b.b = binary.NativeEndian.AppendUint32(b.b, flags)
	b.b = binary.NativeEndian.AppendUint32(b.b, flags) // those that count
	if l.Name != "" {
		b.attr(unix.IFLA_IFNAME, append([]byte(l.Name), 0))
	}
	if l.MTU != 0 {
		b.number(unix.IFLA_MTU, l.MTU)
	}
	if l.MAC != nil {
		b.attr(unix.IFLA_ADDRESS, l.MAC)
	}
	if l.Bridge != 0 {
		b.number(unix.IFLA_MASTER, l.Bridge)
	}
	if l.Space != 0 {
		b.number(unix.IFLA_NET_NS_FD, l.Space)
	}
}

// Set brings up a link that is there, with what else is given of it.
func (b *Batch) Set(l Link, what string) {
	at := b.request(unix.RTM_NEWLINK, 0, what)
	b.link(l, unix.IFF_UP)
	b.end(at)
}

// make adds a link of a kind, with the kind's own data.
func (b *Batch) make(l Link, kind string, data func(), what string) {
	at := b.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, what)
	b.link(l, unix.IFF_UP)
	info := b.nest(unix.IFLA_LINKINFO)
	b.attr(unix.IFLA_INFO_KIND, append([]byte(kind), 0))
	d := b.nest(unix.IFLA_INFO_DATA)
	data()
	b.unnest(d)
	b.unnest(info)
	b.end(at)
}

// Bridge makes a bridge, without snooping on multicast groups, and brings it up.
func (b *Batch) Bridge(l Link, what string) {
	b.make(l, "bridge", func() { b.attr(unix.IFLA_BR_MCAST_SNOOPING, []byte{0}) }, what)
}

// Veth makes a pair of links, of which the peer is not up yet.
func (b *Batch) Veth(l, peer Link, what string) {
	const peerInfo = 1 // VETH_INFO_PEER of linux/veth.h
	b.make(l, "veth", func() {
		at := b.nest(peerInfo)
		b.link(peer, 0)
		b.unnest(at)
	}, what)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Address gives a link an address, which is not looked for on the link first.
func (b *Batch) Address(index int, p netip.Prefix, what string) {
	at := b.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, what)
	b.b = append(b.b, family(p.Addr()), byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE) // struct ifaddrmsg
	b.b = binary.NativeEndian.AppendUint32(b.b, uint32(index))
	b.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	b.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
	b.end(at)
}

// Neighbour writes down the hardware address behind an address for good.
func (b *Batch) Neighbour(index int, a netip.Addr, mac []byte, what string) {
	at := b.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_EXCL, what)
	b.b = append(b.b, family(a), 0, 0, 0) // struct ndmsg
	b.b = binary.NativeEndian.AppendUint32(b.b, uint32(index))
	b.b = binary.NativeEndian.AppendUint16(b.b, unix.NUD_PERMANENT)
	b.b = append(b.b, 0, unix.RTN_UNICAST)
	b.attr(unix.NDA_DST, a.AsSlice())
	b.attr(unix.NDA_LLADDR, mac)
	b.end(at)
}

// Route leads a network over a link, to a next hop unless that is the zero address, from the address src.
func (b *Batch) Route(index int, to netip.Prefix, next, src netip.Addr, what string) {
	scope := byte(unix.RT_SCOPE_LINK)
	if next.IsValid() {
		scope = unix.RT_SCOPE_UNIVERSE
	}
	at := b.request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, what)
	b.b = append(b.b, family(to.Addr()), byte(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_UNICAST) // struct rtmsg
	b.b = binary.NativeEndian.AppendUint32(b.b, 0)
	if to.Bits() > 0 {
		b.attr(unix.RTA_DST, to.Addr().AsSlice())
	}
	if next.IsValid() {
		b.attr(unix.RTA_GATEWAY, next.AsSlice())
	}
	b.attr(unix.RTA_PREFSRC, src.AsSlice())
	b.number(unix.RTA_OIF, index)
	b.end(at)
}

// Send has the kernel carry the requests out, by a routing socket in the namespace that they are for. The error is the
// first that failed.
func (b *Batch) Send(fd int) error {
	last := 0
	for at := 0; at < len(b.b); at += int(binary.NativeEndian.Uint32(b.b[at:])) {
		last = at
	}
	binary.NativeEndian.PutUint16(b.b[last+6:], binary.NativeEndian.Uint16(b.b[last+6:])|unix.NLM_F_ACK)
	if err := unix.Sendto(fd, b.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	var first error
	answer := make([]byte, 4<<10)
	for {
		if err := receive(fd, answer, unix.SizeofNlMsghdr+4); err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		if binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
			continue
		}
		seq, errno := int(binary.NativeEndian.Uint32(answer[8:])), -int32(binary.NativeEndian.Uint32(answer[16:]))
		if errno != 0 && first == nil && seq >= 1 && seq <= len(b.what) {
			first = fmt.Errorf("%s: %w", b.what[seq-1], unix.Errno(errno))
		}
		if seq == len(b.what) {
			return first
		}
	}
}

// receive reads the next answer of the kernel, which has given it before Sendto returned: netlink_rcv_skb. One of fewer
// bytes than least is an error.
func receive(fd int, answer []byte, least int) error {
	for {
		n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && n < least:
			return errors.New("an answer is too short")
		}
		return err
	}
}
