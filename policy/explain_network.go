package policy

import (
	"net/netip"
	"strconv"
	"strings"
)

// network says what can be reached, and from where the program can be.
func (e *explainer) network() []string {
	n := &e.r.Network
	switch mode := n.Mode.Or("none"); mode {
	case "none":
		return []string{"no network but its own loopback"}
	case "host":
		return []string{"the host's network: any address, this machine's own services and abstract sockets too"}
	case "join":
		return []string{"what the sandbox " + n.Name.V + " reaches, in its network"}
	}
	lines := []string{"a network of its own, which leads nowhere"}
	if n.Name.Set {
		lines = []string{"the network " + n.Name.V + " and the other sandboxes in it; from there nothing else"}
	}
	if len(n.Egress) > 0 {
		lines[0] = strings.TrimSuffix(strings.TrimSuffix(lines[0], ", which leads nowhere"), "; from there nothing else") +
			", and from there, by the first of these that fits:"
		closed := false
		for i := range n.Egress {
			r := &n.Egress[i]
			closed = !r.Allow && r.Group == "any" && len(r.Ports) == 0 && r.Proto == ""
			lines = append(lines, "  "+r.words())
		}
		if !closed {
			lines = append(lines, "  nothing else")
		}
	}
	for _, p := range n.Publish {
		lines = append(lines, p.words())
	}
	return lines
}

// words is a rule as a sentence has it.
func (r *EgressRule) words() string {
	where := r.Host
	switch {
	case r.Group == "any" && r.Allow:
		where = "every public address and every name"
	case r.Group == "any" && len(r.Ports) == 0 && r.Proto == "":
		return noteRule("nothing else", r.Origin)
	case r.Group == "any":
		where = "anything"
	case r.Group == "private":
		where = "private networks"
	case r.Group == "host":
		where = "this machine's own loopback"
	case r.Prefix != "":
		where = r.Prefix
		if p, err := netip.ParsePrefix(r.Prefix); err == nil && p.IsSingleIP() {
			where = p.Addr().String()
		}
	case strings.HasPrefix(r.Host, "*."):
		where = "every name below " + r.Host[2:]
	}
	if !r.Allow {
		where = "not " + where
	}
	if len(r.Ports) > 0 {
		ports := make([]string, len(r.Ports))
		for i, p := range r.Ports {
			ports[i] = strconv.Itoa(int(p.First))
			if p.Last != p.First {
				ports[i] += "-" + strconv.Itoa(int(p.Last))
			}
		}
		word := ", port "
		if len(ports) > 1 || strings.Contains(ports[0], "-") {
			word = ", ports "
		}
		where += word + strings.Join(ports, ", ")
	}
	switch {
	case r.Proto == "icmp":
		where += ", by ping only"
	case r.Proto != "":
		where += ", by " + r.Proto + " only"
	case len(r.Ports) == 0:
		where += ", any port, and by ping"
	}
	return noteRule(where, r.Origin)
}

func noteRule(text string, o Origin) string {
	if o.File == "" {
		return text
	}
	return text + strings.Repeat(" ", max(2, 48-len([]rune(text)))) + o.String()
}

// words says who can come in by a published port.
func (p Publish) words() string {
	where := p.HostIP
	addr, err := netip.ParseAddr(p.HostIP)
	switch {
	case p.HostIP == "" || err == nil && addr.IsLoopback():
		where = "this machine's loopback"
	case err == nil && addr.IsUnspecified():
		where = "every address of this machine"
	}
	return "it can be reached: port " + strconv.Itoa(int(p.HostPort)) + "/" + p.Proto + " of " + where + " leads to its port " + strconv.Itoa(int(p.Port))
}
