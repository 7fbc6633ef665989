// Package firewall writes the nftables rules of root's networks: those in a
// gateway's own namespace, which hold the egress policy, and the few on the host,
// which go with the process that made them.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Marks that the gateway gives a packet whose flow it has decided on. The packet
// then passes the rules once more (NF_REPEAT), so that they refuse it in the right
// way or remember the flow. A mark is never seen outside the namespace.
const (
	Allowed = 0x6a61
	Refused = 0x6a72
)

// Queue is the number of the queue that asks the gateway.
const Queue = 0

// Gateway describes a gateway's namespace.
type Gateway struct {
	// Inner is the link to the sandboxes, Outer the way out.
	Inner, Outer string
	// Own are the gateway's addresses on Inner, for its resolver and for ping.
	Own []netip.Addr
	// Members are the networks that the sandboxes' addresses are from.
	Members []netip.Prefix
}

// Forward leads from a port of Outer's addresses to a sandbox.
type Forward struct {
	Proto string // tcp or udp
	From  netip.AddrPort
	To    netip.AddrPort
}

// Apply writes the rules, in the namespace of the calling thread:
//
//   - The first packet of a flow is handed to the gateway, which decides by the same
//     code as it does for an ordinary user. While no gateway listens on the queue the
//     kernel drops what would go there.
//   - What was allowed goes on without it, for as long as the connection stands.
//   - What was refused is answered: TCP with a reset, the rest with ICMP
//     "administratively prohibited".
//   - All else is dropped.
func (g *Gateway) Apply() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	err = g.write(c, &expr.Queue{Num: Queue, Total: 1})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		// Kernels without nft_queue may have the same thing under its older name.
		err = g.write(c, &expr.Target{Name: "NFQUEUE", Info: xtQueue()})
	}
	if err != nil {
		return fmt.Errorf("nftables rules: %w%s", err, hint(err))
	}
	return nil
}

// xtQueue is struct xt_NFQ_info with queue 0, at the size the kernel rounds it to.
func xtQueue() xt.InfoAny {
	info := xt.Unknown(make([]byte, 8))
	return &info
}

func hint(err error) string {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return "\nthe kernel lacks a part of nftables (modprobe nf_tables nft_queue nft_reject_inet nft_masq nft_ct), or use the builtin uplink"
	}
	return ""
}

const (
	stateNew         = expr.CtStateBitNEW
	stateEstablished = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
)

func (g *Gateway) write(c *nftables.Conn, ask expr.Any) error {
	t := table(c)
	decided := [][]expr.Any{
		join(mark(Refused), l4proto(unix.IPPROTO_TCP), rejectReset()),
		join(mark(Refused), rejectAdmin()),
		join(mark(Allowed), setCtMark(Allowed), accept()),
		join(ctState(stateEstablished), accept()),
		// A flow of datagrams that nobody has answered yet counts as new.
		join(ctMark(Allowed), accept()),
	}
	// Neighbour solicitation and advertisement (RFC 4861), which conntrack leaves alone.
	neighbours := [][]expr.Any{
		join(l4proto(unix.IPPROTO_ICMPV6), icmpType(135)),
		join(l4proto(unix.IPPROTO_ICMPV6), icmpType(136)),
	}
	question := join(iifname(g.Inner), ctState(stateNew), []expr.Any{ask})

	in := chain(c, t, "input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	rules(c, in, decided...)
	for _, n := range neighbours {
		rules(c, in, join(n, accept()))
	}
	for _, a := range g.Own {
		proto, echo := byte(unix.IPPROTO_ICMP), byte(8)
		if a.Is6() {
			proto, echo = unix.IPPROTO_ICMPV6, 128
		}
		here := join(iifname(g.Inner), daddr(a))
		rules(c, in,
			join(here, l4proto(unix.IPPROTO_UDP), dport(53), accept()),
			join(here, l4proto(unix.IPPROTO_TCP), dport(53), accept()),
			join(here, l4proto(proto), icmpType(echo), accept()))
	}
	rules(c, in, question,
		// Machines on the same link find closed what is not published.
		join(iifname(g.Outer), l4proto(unix.IPPROTO_TCP), rejectReset()),
		join(iifname(g.Outer), l4proto(unix.IPPROTO_UDP), rejectPort()))

	through := chain(c, t, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	rules(c, through, decided...)
	rules(c, through, join(iifname(g.Outer), oifname(g.Inner), ctDNAT(), accept()))
	// From sandbox to sandbox within the bridge: only hosts with br_netfilter ask.
	bridged := neighbours
	for _, p := range g.Members {
		bridged = append(bridged, within(p))
	}
	for _, b := range bridged {
		rules(c, through, join(iifname(g.Inner), oifname(g.Inner), b, accept()))
	}
	rules(c, through, question)

	prerouting(c, t)
	post := chain(c, t, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	rules(c, post, join(oifname(g.Outer), masquerade()))
	return c.Flush()
}

func prerouting(c *nftables.Conn, t *nftables.Table) *nftables.Chain {
	return chain(c, t, "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept)
}

// SetForwards replaces the forwards, all at once, in the namespace of the calling thread.
func (g *Gateway) SetForwards(list []Forward) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	pre := prerouting(c, table(c))
	c.FlushChain(pre)
	for _, f := range list {
		rules(c, pre, join(iifname(g.Outer), daddr(f.From.Addr()), l4proto(protoNumber(f.Proto)), dport(f.From.Port()), dnat(f.To)))
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables rules of published ports: %w", err)
	}
	return nil
}

func table(c *nftables.Conn) *nftables.Table {
	return c.AddTable(&nftables.Table{Name: "jail", Family: nftables.TableFamilyINet})
}

func protoNumber(s string) byte {
	if s == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}
