package firewall

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The parts of rules, under the names they have in nft(8).

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// native is a number as the kernel holds it in a register.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func equals(b []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b} }

// linkName is a name of a link as a register holds it: IFNAMSIZ bytes.
func linkName(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}

func iifname(s string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equals(linkName(s))}
}

func oifname(s string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, equals(linkName(s))}
}

func l4proto(p byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals([]byte{p})}
}

func mark(v uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equals(native(v))}
}

func ctMark(v uint32) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: 1}, equals(native(v))}
}

func setCtMark(v uint32) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: native(v)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}
}

// anyBit matches when one of the bits is set.
func anyBit(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
	}
}

func ctState(bits uint32) []expr.Any { return anyBit(expr.CtKeySTATE, bits) }

// ipsDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ipsDstNAT = 1 << 5

func ctDNAT() []expr.Any { return anyBit(expr.CtKeySTATUS, ipsDstNAT) }

const (
	toDestination = true
	fromSource    = false
)

// addr compares an address of the packet.
func addr(a netip.Addr, destination bool, op expr.CmpOp) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(12)
	if a.Is6() {
		family, offset = unix.NFPROTO_IPV6, 8
	}
	size := uint32(a.BitLen() / 8)
	if destination {
		offset += size
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equals([]byte{family}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Cmp{Op: op, Register: 1, Data: a.AsSlice()},
	}
}

func daddr(a netip.Addr) []expr.Any { return addr(a, toDestination, expr.CmpOpEq) }

// within compares the beginning of the destination.
func within(p netip.Prefix) []expr.Any {
	e := daddr(p.Masked().Addr())
	n := p.Addr().BitLen() / 8
	bits := &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(n), Mask: net.CIDRMask(p.Bits(), n*8), Xor: make([]byte, n)}
	last := len(e) - 1
	return append(e[:last:last], bits, e[last])
}

func dport(p uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equals(binary.BigEndian.AppendUint16(nil, p)),
	}
}

func icmpType(t byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		equals([]byte{t}),
	}
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

func accept() []expr.Any { return verdict(expr.VerdictAccept) }
func drop() []expr.Any   { return verdict(expr.VerdictDrop) }

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

// dnat sends the packet to an address and a port.
func dnat(to netip.AddrPort) []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if to.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

// Kinds and codes of `reject` (linux/netfilter/nf_tables.h).
const (
	rejectTCPReset  = 1 // NFT_REJECT_TCP_RST
	rejectICMPX     = 2 // NFT_REJECT_ICMPX_UNREACH
	portUnreachable = 1 // NFT_REJECT_ICMPX_PORT_UNREACH
	adminProhibited = 3 // NFT_REJECT_ICMPX_ADMIN_PROHIBITED
)

func rejectReset() []expr.Any { return []expr.Any{&expr.Reject{Type: rejectTCPReset}} }
func rejectPort() []expr.Any {
	return []expr.Any{&expr.Reject{Type: rejectICMPX, Code: portUnreachable}}
}
func rejectAdmin() []expr.Any {
	return []expr.Any{&expr.Reject{Type: rejectICMPX, Code: adminProhibited}}
}

// chain makes a base chain.
func chain(c *nftables.Conn, t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return c.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority, Policy: &policy})
}

// rules adds rules to a chain.
func rules(c *nftables.Conn, ch *nftables.Chain, list ...[]expr.Any) {
	for _, r := range list {
		c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: r})
	}
}
