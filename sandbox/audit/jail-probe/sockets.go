package main

import (
	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func socketChecks() []probe {
	var all []probe
	socket := func(id, what, why, source string, family, kind, proto uintptr, grant ...string) {
		c := call{nr: unix.SYS_SOCKET, args: [6]uintptr{family, kind, proto}}
		if grant == nil {
			grant = c.grant("socket", abiNative)
		}
		all = append(all, probe{check.Check{ID: id, What: what, Why: why, Source: source, Grant: grant}, func(b *check.Bait) verdict {
			o := try(abiNative, noPrelude, c)
			switch o.errno {
			case unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EOPNOTSUPP:
				if b.Outside {
					return cannot("%v: this kernel has none, or has not loaded it", o)
				}
				return held("%v", o)
			}
			return byOutcome(o)
		}})
	}
	const rare = "each family is code of its own in the kernel, much of it hardly ever run"
	const stream, dgram, raw, seqpacket = unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET
	socket("packet", "make a packet socket", "sees and forges what goes over a link", "packet(7); CVE-2020-14386", unix.AF_PACKET, dgram, 0)
	socket("packet-raw", "make a raw packet socket", "sees and forges what goes over a link", "packet(7); CVE-2017-7308", unix.AF_PACKET, raw, 0)
	socket("raw", "make a raw IP socket", "forges packets", "raw(7)", unix.AF_INET, raw, unix.IPPROTO_TCP, "cap:NET_RAW")
	socket("raw6", "make a raw IPv6 socket", "forges packets", "raw(7)", unix.AF_INET6, raw, unix.IPPROTO_TCP, "cap:NET_RAW")
	socket("vsock", "make a vsock socket", "reaches the machine that this one runs on, past every network namespace", "vsock(7)", unix.AF_VSOCK, stream, 0)
	socket("alg", "make a socket of the kernel's crypto", rare, "CVE-2019-8912", unix.AF_ALG, seqpacket, 0)
	socket("key", "make a PF_KEY socket", rare, "CVE-2023-0394's neighbours", unix.AF_KEY, raw, 2)
	socket("bluetooth", "make a Bluetooth socket", rare, "CVE-2020-12351", unix.AF_BLUETOOTH, raw, 1)
	socket("can", "make a CAN socket", rare, "CVE-2021-3609", unix.AF_CAN, raw, 1)
	socket("tipc", "make a TIPC socket", rare, "CVE-2021-43267", unix.AF_TIPC, seqpacket, 0)
	socket("rds", "make an RDS socket", rare, "CVE-2010-3904", unix.AF_RDS, seqpacket, 0)
	socket("xdp", "make an XDP socket", "sees and forges what goes over a link", "AF_XDP in the kernel's documentation", unix.AF_XDP, raw, 0)
	socket("smc", "make an SMC socket", rare, "CVE-2022-0400's class", unix.AF_SMC, stream, 0)
	socket("x25", "make an X.25 socket", rare, "x25(7)", unix.AF_X25, seqpacket, 0)
	socket("nfc", "make an NFC socket", rare, "CVE-2021-23134", unix.AF_NFC, seqpacket, 0)
	socket("kcm", "make a KCM socket", rare, "CVE-2023-1989's class", unix.AF_KCM, dgram, 0)
	socket("qipcrtr", "make a QRTR socket", rare, "CVE-2019-19079's class", unix.AF_QIPCRTR, dgram, 0)
	socket("llc", "make an LLC socket", rare, "CVE-2017-7542's class", unix.AF_LLC, dgram, 0)
	socket("mctp", "make an MCTP socket", rare, "CVE-2022-3977", unix.AF_MCTP, dgram, 0)
	socket("rxrpc", "make an RxRPC socket", rare, "CVE-2023-2006", unix.AF_RXRPC, dgram, unix.AF_INET)
	socket("phonet", "make a Phonet socket", rare, "CVE-2021-45095", unix.AF_PHONET, dgram, 0)
	socket("sctp", "make an SCTP socket", rare, "CVE-2021-23133", unix.AF_INET, seqpacket, unix.IPPROTO_SCTP)
	socket("dccp", "make a DCCP socket", rare, "CVE-2017-6074", unix.AF_INET, 6, 33)
	for _, n := range []struct {
		name  string
		proto uintptr
		why   string
	}{
		{"netfilter", unix.NETLINK_NETFILTER, "the rules of packet filters: CVE-2023-32233, CVE-2024-1086"}, {"xfrm", unix.NETLINK_XFRM, "keys of networks: CVE-2017-7184"},
		{"audit", unix.NETLINK_AUDIT, "what the kernel reports of others"}, {"uevent", unix.NETLINK_KOBJECT_UEVENT, "which devices come and go"},
		{"generic", unix.NETLINK_GENERIC, "many small interfaces of the kernel"}, {"diag", unix.NETLINK_SOCK_DIAG, "the sockets of others: CVE-2013-1763"},
		{"connector", unix.NETLINK_CONNECTOR, "which processes others start"}, {"crypto", unix.NETLINK_CRYPTO, rare}, {"iscsi", unix.NETLINK_ISCSI, "CVE-2021-27365"},
		{"scsi", unix.NETLINK_SCSITRANSPORT, rare}, {"selinux", unix.NETLINK_SELINUX, "how the machine is guarded"},
	} {
		socket("netlink-"+n.name, "make a netlink socket to "+n.name, n.why, "netlink(7)", unix.AF_NETLINK, raw, n.proto)
	}
	socket("high-bits", "make a packet socket with high bits set in the family", "a filter that compares more bits than the kernel reads lets it through", "CVE-2019-10063's class", unix.AF_PACKET|1<<32, dgram, 0)
	const makeSocket = 1
	all = append(all, probe{check.Check{ID: "socketcall", What: "make a netlink socket by i386's socketcall", Why: "its arguments lie in memory, where no filter can read them", Source: "socketcall(2)", Grant: call{args: [6]uintptr{makeSocket, 1}}.grant("socketcall", abiI386)}, func(b *check.Bait) verdict {
		if missing := abiI386.missing(b.Outside); missing != "" {
			return cannot("%s", missing)
		}
		at := lowMemory()
		if at == 0 {
			return cannot("no memory below 4 GiB")
		}
		args := at32(at)
		args[0], args[1], args[2] = unix.AF_NETLINK, raw, unix.NETLINK_SOCK_DIAG
		const socketcall = 102
		return byOutcome(try(abiI386, noPrelude, call{nr: socketcall, args: [6]uintptr{makeSocket, uintptr(at)}}))
	}})
	return all
}
