package policy

import (
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// network gives the annotation for a network that is more than the host's or
// none at all (docs/network.md has its form). Written by hand, as all annotations
// are, because encoding/json would cost every start more than the rest does.
func (c *compiler) network() string {
	n := &c.r.Network
	mode := n.Mode.Or("none")
	if mode == "none" || mode == "host" {
		return ""
	}
	b := appendMember([]byte{'{'}, "mode", mode)
	for _, t := range [...]struct {
		key string
		Text
	}{
		{"name", n.Name}, {"uplink", n.Uplink}, {"mac", n.MAC},
		{"bridge", n.Bridge}, {"macvlan", n.MACVLAN}, {"ipvlan", n.IPVLAN}, {"cni", n.CNI},
	} {
		if t.Set {
			b = appendMember(b, t.key, t.V)
		}
	}
	if n.MTU.Set {
		b = appendNumber(b, "mtu", n.MTU.V)
	}
	if len(n.Addresses) > 0 {
		b = appendNames(b, "address", n.Addresses)
	}
	if mode == "veth" {
		b = appendEgress(b, n.Egress)
	}
	if len(n.Publish) > 0 {
		b = appendPublish(b, n.Publish)
	}
	b = appendBandwidth(b, n.Bandwidth)
	b = appendDNS(b, n.DNS)
	b = appendOrigins(b, n)
	return string(append(b, '}'))
}

// appendOrigins tells the places of what only the start can find wrong.
func appendOrigins(b []byte, n *Network) []byte {
	first := true
	add := func(key string, o Origin) {
		if first {
			b = append(appendKey(b, "origins"), '{')
			first = false
		}
		b = appendMember(b, key, o.String())
	}
	for _, t := range [...]struct {
		key string
		Text
	}{{"name", n.Name}, {"bridge", n.Bridge}, {"macvlan", n.MACVLAN}, {"ipvlan", n.IPVLAN}, {"cni", n.CNI}} {
		if t.Set {
			add(t.key, t.Origin)
		}
	}
	if n.Uplink.Set && n.Uplink.V != "builtin" {
		add("uplink", n.Uplink.Origin)
	}
	if len(n.Addresses) > 0 {
		add("address", n.Addresses[0].Origin)
	}
	if !first {
		b = append(b, '}')
	}
	return b
}

func appendEgress(b []byte, rules []EgressRule) []byte {
	b = appendKey(b, "egress")
	b = append(b, '[')
	for i, e := range rules {
		action := "deny"
		if e.Allow {
			action = "allow"
		}
		b = appendMember(appendItem(b, i, '{'), "action", action)
		for _, t := range [...][2]string{{"host", e.Host}, {"prefix", e.Prefix}, {"group", e.Group}, {"proto", e.Proto}} {
			if t[1] != "" {
				b = appendMember(b, t[0], t[1])
			}
		}
		if len(e.Ports) > 0 {
			b = append(appendKey(b, "ports"), '[')
			for j, p := range e.Ports {
				text := strconv.Itoa(int(p.First))
				if p.Last != p.First {
					text += "-" + strconv.Itoa(int(p.Last))
				}
				b = appendJSON(appendItem(b, j), text)
			}
			b = append(b, ']')
		}
		b = appendMember(appendMember(b, "text", e.Text), "origin", e.Origin.String())
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendPublish(b []byte, all []Publish) []byte {
	b = append(appendKey(b, "publish"), '[')
	for i, p := range all {
		b = appendMember(appendItem(b, i, '{'), "proto", p.Proto)
		if p.HostIP != "" {
			b = appendMember(b, "address", p.HostIP)
		}
		b = appendNumber(appendNumber(b, "host-port", int64(p.HostPort)), "port", int64(p.Port))
		b = appendMember(appendMember(b, "text", p.Text), "origin", p.Origin.String())
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendBandwidth(b []byte, w Bandwidth) []byte {
	if !w.Down.Set && !w.Up.Set && !w.Delay.Set {
		return b
	}
	b = append(appendKey(b, "bandwidth"), '{')
	if w.Down.Set {
		b = appendNumber(b, "down", w.Down.V)
	}
	if w.Up.Set {
		b = appendNumber(b, "up", w.Up.V)
	}
	if w.Delay.Set {
		b = appendMember(b, "delay", w.Delay.V.String())
	}
	return append(b, '}')
}

func appendDNS(b []byte, d DNS) []byte {
	if len(d.Servers)+len(d.Search)+len(d.Hosts) == 0 {
		return b
	}
	b = append(appendKey(b, "dns"), '{')
	if len(d.Servers) > 0 {
		b = appendNames(b, "servers", d.Servers)
	}
	if len(d.Search) > 0 {
		b = appendNames(b, "search", d.Search)
	}
	if len(d.Hosts) > 0 {
		b = append(appendKey(b, "hosts"), '{')
		for _, h := range d.Hosts {
			b = append(appendJSON(append(appendKey(b, h.Name), '['), h.Address), ']')
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendKey adds a key to a JSON object that b has opened.
func appendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendJSON(b, key), ':')
}

// appendItem makes room for item i of a JSON list, which begins with start.
func appendItem(b []byte, i int, start ...byte) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return append(b, start...)
}

func appendNumber(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(appendKey(b, key), n, 10)
}

func appendNames(b []byte, key string, names []Named) []byte {
	b = append(appendKey(b, key), '[')
	for i, n := range names {
		b = appendJSON(appendItem(b, i), n.Name)
	}
	return append(b, ']')
}

// exportNetwork warns of what a runtime does that passes over the annotation.
func (c *Compiled) exportNetwork(warn func(cause, fix string)) {
	if c.Spec.Annotations[annotationNetwork] == "" {
		return
	}
	own := slices.ContainsFunc(c.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	if own {
		warn("the profile has a network of its own; other runtimes give the bundle an empty one and apply neither egress rules nor published ports, bandwidth or names",
			"run it with 'jail run --bundle', or connect the container by the other runtime's means")
	}
}
