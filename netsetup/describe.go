package netsetup

import (
	"fmt"
	"io"
	"strings"
)

// Describe prints, a line each, what Start would make of a network of the sandbox's own.
func (p *Plan) Describe(w io.Writer, c *Config) error {
	lines := []string{
		"start the gateway in a user namespace of its own, with two network namespaces: the sandbox's and one between",
		fmt.Sprintf("connect them by a veth pair: eth0 inside has %s and %s, MTU %d, and %s as its gateway and resolver", p.Addr4, p.Addr6, p.MTU, p.Gateway4),
	}
	if way := c.Way(); way != "" {
		lines = append(lines, place(c.Origins[way])+place(c.Origins["uplink"])+"way out: "+way)
	}
	if b := c.Bandwidth; b != nil {
		var limits []string
		if b.Down > 0 {
			limits = append(limits, fmt.Sprintf("%d bit/s in", b.Down))
		}
		if b.Up > 0 {
			limits = append(limits, fmt.Sprintf("%d bit/s out", b.Up))
		}
		if b.Delay != "" {
			limits = append(limits, b.Delay+" each way")
		}
		lines = append(lines, "limit the pair: "+strings.Join(limits, ", "))
	}
	for _, pub := range c.Publish {
		lines = append(lines, place(pub.Origin)+"listen for "+pub.String())
	}
	for i := range c.Egress {
		lines = append(lines, "egress: "+c.Egress[i].String())
	}
	lines = append(lines, "egress: refuse all else", "drop every capability of the gateway")
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "     network %s\n", l); err != nil {
			return err
		}
	}
	return nil
}
