package policy

import "time"

// Network is what the program can reach.
type Network struct {
	Mode Text // none, host, veth, join
	// Name is the named network to join or share.
	Name      Text
	Egress    []EgressRule // in order, the first match decides; nothing matches: refused
	HasEgress bool         // `egress: []` was written: nothing may leave
	Publish   []Publish
	Bandwidth Bandwidth
	DNS       DNS
	Uplink    Text // "", builtin, nat, pasta, slirp4netns

	// For root.
	Addresses []Named // CIDR
	Bridge    Text
	MACVLAN   Text // the host's parent link
	IPVLAN    Text
	CNI       Text
	MAC       Text
	MTU       Number
}

// EgressRule allows or denies one destination.
type EgressRule struct {
	Allow bool
	// Exactly one of Group, Host, Prefix says where to.
	Group  string // any, private, host
	Host   string // a name, or *.name
	Prefix string // a CIDR; a single address is written with its full length
	// Ports is empty for all ports.
	Ports []PortRange
	Proto string // tcp, udp, icmp; "" for all
	Text  string // the rule as written
	Origin
}

// PortRange is first to last, both included.
type PortRange struct {
	First, Last uint16
}

// Publish forwards a port of the host to a port inside.
type Publish struct {
	HostIP         string // "" for the host's loopback
	HostPort, Port uint16
	Proto          string // tcp, udp
	Text           string
	Origin         Origin
}

// Bandwidth is bits a second and a delay.
type Bandwidth struct {
	Down, Up Number // bits a second
	Delay    Value[time.Duration]
}

// DNS is what names are resolved with.
type DNS struct {
	Servers []Named
	Search  []Named
	Hosts   []HostName
}

// HostName is a fixed name.
type HostName struct {
	Name, Address string
	Origin        Origin
}
