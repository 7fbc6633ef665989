package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Host is a table of rules on the host. It belongs to its netlink socket: the
// kernel removes it when that is closed, in whatever way its process ends, and nobody
// else's `nft flush ruleset` takes it away before (nft(8), table flag owner).
type Host struct{ conn *nftables.Conn }

// Masquerade lets a gateway's link out, under the host's addresses. Whatever comes
// from the link under another address than the gateway's, and whatever wants in
// through it unasked, is dropped.
func Masquerade(link string, addrs []netip.Addr) (*Host, error) {
	name := "jail-" + link
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(s *netlink.Conn) error { return createOwned(s, name) }))
	if err != nil {
		return nil, fmt.Errorf("nftables: make the table %s: %w%s", name, err, hint(err))
	}
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
	through := chain(c, t, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	in := chain(c, t, "input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	post := chain(c, t, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	for _, a := range addrs {
		foreign := join(iifname(link), addr(a, fromSource, expr.CmpOpNeq), drop())
		rules(c, through, foreign)
		rules(c, in, foreign)
		rules(c, post, join(addr(a, fromSource, expr.CmpOpEq), masquerade()))
	}
	rules(c, through, join(oifname(link), ctState(stateEstablished), accept()), join(oifname(link), drop()))
	if err := c.Flush(); err != nil {
		_ = c.CloseLasting()
		return nil, fmt.Errorf("nftables rules of the host: %w%s", err, hint(err))
	}
	return &Host{c}, nil
}

// Close removes the table.
func (h *Host) Close() { _ = h.conn.CloseLasting() }

// tableOwner is NFT_TABLE_F_OWNER (linux/netfilter/nf_tables.h), since Linux 5.12.
const tableOwner = 2

// createOwned makes a table that belongs to the socket. The library has no way to
// say so.
func createOwned(s *netlink.Conn, name string) error {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(name), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, tableOwner)},
	})
	if err != nil {
		return err
	}
	message := func(kind, flags int, family byte, resource uint16, data []byte) netlink.Message {
		head := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource) // struct nfgenmsg
		return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.HeaderFlags(flags)}, Data: append(head, data...)}
	}
	_, err = s.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.NFPROTO_INET, 0, attrs),
		message(unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	if err != nil {
		return err
	}
	_, err = s.Receive()
	return err
}
