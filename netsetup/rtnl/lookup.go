package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Flow is what a route is looked up for. Only To has to be given: the rest is for hosts whose rules (ip-rule(8)) go by it.
type Flow struct {
	To   netip.Addr
	From netip.Addr
	// Link is the number of the link that packets come in by; 0 for those of this process.
	Link int
	// Proto is IPPROTO_TCP or IPPROTO_UDP, with its port; 0 for any other.
	Proto byte
	Port  uint16
}

// Lookup asks the kernel for routes. The zero value is ready; it is for one goroutine at a time.
type Lookup struct {
	fd     int // its number and one more, so that the zero value has none
	seq    uint32
	answer [4 << 10]byte
}

// Kind is the type of the route that a flow takes in the network namespace of the process (RTN_LOCAL, RTN_UNICAST and so
// on, rtnetlink(7)). It is what the kernel itself does with such packets, whatever table or rule made it so.
// RTN_UNREACHABLE stands for every way of taking none.
func (l *Lookup) Kind(f Flow) (byte, error) {
	if l.fd == 0 {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return 0, fmt.Errorf("routes of the host: %w", err)
		}
		l.fd = fd + 1
	}
	l.seq++
	if err := unix.Sendto(l.fd-1, f.question(l.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("routes of the host: %w", err)
	}
	answer := l.answer[:]
	for {
		if err := receive(l.fd-1, answer, unix.SizeofNlMsghdr+unix.SizeofRtMsg); err != nil {
			return 0, fmt.Errorf("routes of the host: %w", err)
		}
		if binary.NativeEndian.Uint32(answer[8:]) != l.seq {
			continue
		}
		if binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
			return answer[unix.SizeofNlMsghdr+7], nil // rtm_type
		}
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])))
		if slices.Contains(noRoute, errno) {
			return unix.RTN_UNREACHABLE, nil
		}
		return 0, fmt.Errorf("routes of the host: %w", errno)
	}
}

// noRoute are the kernel's words for a packet that it would send nowhere: no route, one of the types unreachable,
// prohibit and blackhole, and a sender that is not believed (fib_validate_source).
var noRoute = []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EXDEV}

func (f Flow) question(seq uint32) []byte {
	var b Batch
	at := b.request(unix.RTM_GETROUTE, 0, "")
	from := 0
	if f.From.IsValid() {
		from = f.From.BitLen()
	}
	b.b = append(b.b, family(f.To), byte(f.To.BitLen()), byte(from), 0, 0, 0, 0, 0) // struct rtmsg
	b.b = binary.NativeEndian.AppendUint32(b.b, 0)
	b.attr(unix.RTA_DST, f.To.AsSlice())
	if f.From.IsValid() {
		b.attr(unix.RTA_SRC, f.From.AsSlice())
	}
	if f.Link != 0 {
		b.number(unix.RTA_IIF, f.Link)
	}
	if f.Proto != 0 {
		b.attr(unix.RTA_IP_PROTO, []byte{f.Proto})
		b.attr(unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, f.Port))
	}
	b.end(at)
	binary.NativeEndian.PutUint32(b.b[at+8:], seq)
	return b.b
}
