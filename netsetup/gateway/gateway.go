// Package gateway is the process between a sandbox and the host's network: it
// makes the namespaces, runs a TCP/IP stack on their uplink, and turns each flow
// that the egress rules allow into an ordinary connection of the host.
package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"jail/netsetup"
	"jail/netsetup/egress"
	"jail/netsetup/eth0"
	"jail/netsetup/link"
	"jail/netsetup/procfs"
)

// gateway serves the members of one network: one sandbox, or those that share a name.
type gateway struct {
	plan       *netsetup.Plan
	asked      netsetup.Config // by the first member
	shared     bool
	way        string
	user       *os.File // the user namespace that owns all
	space      *link.Space
	router     *router // when the kernel forwards; there is no device and no stack then
	device     *device
	stack      *stack.Stack
	own        ownAddrs
	handshakes handshakes
	queries    chan struct{}
	workers    workers
	speed      *speed

	mu      sync.Mutex
	members map[netip.Addr]*member
	list    []*member
}

func newGateway(s *netsetup.Setup, host *net.UnixConn, processors *speed) (*gateway, error) {
	user, err := os.Open("/proc/self/ns/user")
	if err != nil {
		return nil, fmt.Errorf("open the user namespace: %w", err)
	}
	g := &gateway{
		plan: s.Plan, asked: s.Config, shared: s.Config.Name != "", user: user,
		queries: make(chan struct{}, maxQueries), members: map[netip.Addr]*member{},
		workers: workers{idle: make(chan func())}, speed: processors,
	}
	if s.Config.Routed() {
		return g, g.newRouter(s, host)
	}
	return g, nil
}

// keeps are the capabilities that are needed after the first member's set-up, all
// of them over the gateway's own namespaces: a named network makes links and
// namespaces for those who come later.
func (g *gateway) keeps() uint32 {
	var keep uint32
	if g.router != nil { // for verdicts about packets
		keep |= 1 << unix.CAP_NET_ADMIN
	}
	if g.shared {
		keep |= 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	}
	return keep
}

// member finds who has an address.
func (g *gateway) member(a netip.Addr) *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members[a]
}

// memberAddrs finds a member of a shared network by name.
func (g *gateway) memberAddrs(name string) []netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.list {
		if g.shared && m.name != "" && strings.EqualFold(m.name, name) {
			return []netip.Addr{m.plan.Addr4, m.plan.Addr6}
		}
	}
	return nil
}

// attach makes a sandbox's namespace, which it tells of at once, and connects it.
func (g *gateway) attach(s *netsetup.Setup, files []*os.File, out *sender) (*member, error) {
	policy, err := egress.Compile(s.Config.Egress)
	if err != nil {
		return nil, err
	}
	m := &member{g: g, name: s.Sandbox, config: s.Config, policy: policy}
	m.reports.send = func(e netsetup.Event) { _ = out.send(netsetup.Reply{Event: &e}) }
	if err := g.admit(m, s); err != nil {
		return nil, err
	}
	fail := func(err error) (*member, error) {
		g.detach(m)
		return nil, err
	}
	if m.resolver, err = m.newResolver(s.Resolvers, out); err != nil {
		return fail(err)
	}
	// A port that is taken is told before anything is made.
	if err := m.listen(s, files); err != nil {
		return fail(err)
	}
	connect := func() error { return g.connectMember(m, s.Group, out) }
	if s.Linked {
		connect = func() error { return g.takeUplink(m) }
	}
	if err := connect(); err != nil {
		return fail(err)
	}
	m.servePublished()
	return m, nil
}

// admit gives a member its addresses.
func (g *gateway) admit(m *member, s *netsetup.Setup) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared {
		if err := g.fits(m, s); err != nil {
			return err
		}
	}
	p := *g.plan
	for n := byte(2); ; n++ {
		if n == 254 {
			return fmt.Errorf("the network %s is full: it has 252 sandboxes", s.Config.Name)
		}
		if err := p.Place(&s.Config, n, s.Plan.Hostname); err != nil {
			return err
		}
		if g.members[p.Addr4] == nil {
			m.outer = fmt.Sprintf("in%d", n)
			break
		}
	}
	m.plan = &p
	g.members[p.Addr4], g.members[p.Addr6] = m, m
	g.list = append(g.list, m)
	return nil
}

// fits checks what a member of a named network asks for against what is there.
func (g *gateway) fits(m *member, s *netsetup.Setup) error {
	fail := func(format string, a ...any) error {
		return fmt.Errorf("network %s: "+format, append([]any{s.Config.Name}, a...)...)
	}
	switch strings.ToLower(m.name) {
	case "host", "localhost":
		return fail("a sandbox in it cannot be named %s, which means something else in every network\nrun it with another --name", m.name)
	}
	for _, other := range g.list {
		if m.name != "" && strings.EqualFold(other.name, m.name) {
			return fail("a sandbox named %s is in it already\nrun this one with another --name", m.name)
		}
	}
	if have := g.asked; have.Way() != s.Config.Way() || have.Bridge+have.MACVLAN+have.IPVLAN+have.CNI != s.Config.Bridge+s.Config.MACVLAN+s.Config.IPVLAN+s.Config.CNI ||
		!slices.Equal(have.Address, s.Config.Address) {
		return fail("its way out is another, as the first sandbox in it has asked for it\ngive all of its sandboxes the same uplink, bridge, macvlan, ipvlan, cni and address")
	}
	if s.Config.MTU != 0 && s.Config.MTU != g.plan.MTU {
		return fail("its mtu is %d, as the first sandbox in it has set it, not %d\ngive all of its sandboxes the same mtu", g.plan.MTU, s.Config.MTU)
	}
	for _, r := range s.Config.Egress {
		p, err := egress.ParsePrefix(r.Prefix)
		if err == nil && p.Bits() > 16 && (p.Overlaps(g.plan.Subnet4) || p.Overlaps(g.plan.Subnet6)) {
			return fail("%s means an address within it (it has %s and %s)\nstart the sandbox with this rule first: then the network gets other addresses", r.String(), g.plan.Subnet4, g.plan.Subnet6)
		}
	}
	return nil
}

// connectMember makes the namespaces (both at once: each takes the kernel a
// millisecond) and the links.
func (g *gateway) connectMember(m *member, group int, out *sender) error {
	type made struct {
		s   *link.Space
		err error
	}
	inner := make(chan made, 1)
	go func() {
		s, err := link.NewSpace()
		if err == nil {
			err = out.send(netsetup.Reply{Spaces: true}, g.user, s.File)
		}
		inner <- made{s, err}
	}()
	err := g.prepare()
	in := <-inner
	m.space = in.s
	if err == nil {
		err = in.err
	}
	if err != nil {
		return err
	}
	if m.netns, err = spaceOf(procfs.Path("self/fd/" + strconv.Itoa(int(m.space.File.Fd())))); err != nil {
		return fmt.Errorf("look at the network namespace: %w", err)
	}
	p := m.plan
	pair := link.Pair{
		Outer: m.outer, MAC: p.MAC, GatewayMAC: p.GatewayMAC, MTU: p.MTU,
		Addr4: p.Addr4, Addr6: p.Addr6, Gateway4: p.Gateway4, Gateway6: p.Gateway6, Group: group,
	}
	if g.shared {
		pair.Shared4, pair.Shared6 = eth0.Shared{Peers: p.Subnet4, Host: p.Host4}, eth0.Shared{Peers: p.Subnet6, Host: p.Host6}
	}
	if err := link.Connect(m.space, g.space, pair); err != nil {
		return err
	}
	if err := m.limit(); err != nil {
		return err
	}
	if g.router != nil {
		return g.route(m)
	}
	if err := g.uplink(m); err != nil {
		return err
	}
	g.tellDevice()
	return nil
}

// prepare makes the gateway's namespace.
func (g *gateway) prepare() error {
	if g.space != nil {
		return nil
	}
	s, err := link.NewSpace()
	if err != nil {
		return err
	}
	// Nothing in this namespace has an address.
	_ = s.Sysctl("ipv6/conf/all/disable_ipv6", "1")
	_ = s.Sysctl("ipv6/conf/default/disable_ipv6", "1")
	g.space = s
	return nil
}

// uplink connects a member to the device, which the first one has made.
func (g *gateway) uplink(m *member) error {
	if g.device != nil {
		return g.space.Enslave(m.outer)
	}
	u, err := g.space.OpenTAP(g.plan.MTU)
	switch {
	case err == nil:
		g.way = "tap"
		if err := g.space.Bridge(g.plan.MTU); err != nil {
			return err
		}
		if err := g.space.Enslave(m.outer, link.TAPName()); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		g.way = "packet"
		if u, err = g.packetUplink(m); err != nil {
			return err
		}
	default:
		return err
	}
	return g.serveUplink(u)
}

// takeUplink serves a sandbox whose links are made already.
func (g *gateway) takeUplink(m *member) (err error) {
	if m.netns, err = spaceOf(procfs.Path("self/fd/" + strconv.Itoa(netsetup.SpaceFD))); err == nil {
		err = unix.Close(netsetup.SpaceFD)
	}
	if err != nil {
		return fmt.Errorf("take over the network namespace: %w", err)
	}
	if err := unix.SetNonblock(netsetup.UplinkFD, true); err != nil {
		return fmt.Errorf("take over the way out: %w", err)
	}
	return g.serveUplink(&link.Uplink{FD: netsetup.UplinkFD})
}

// serveUplink makes the stack, which takes no packet yet.
func (g *gateway) serveUplink(u *link.Uplink) (err error) {
	g.device = newDevice(u, g.plan.MTU, g.plan.GatewayMAC)
	g.tellDevice()
	if g.stack, err = newStack(g.device, g.plan); err != nil {
		return err
	}
	g.serveTCP()
	g.serveUDP()
	g.servePing()
	return g.serveDNS()
}

// packetUplink takes packets off the member's link where there is no TAP device.
// A shared network has a bridge, whose own end is the uplink.
func (g *gateway) packetUplink(m *member) (*link.Uplink, error) {
	if !g.shared {
		return g.space.OpenSocket(m.outer)
	}
	if err := g.space.Bridge(g.plan.MTU); err != nil {
		return nil, err
	}
	port, end, err := g.space.Stub(g.plan.MTU)
	if err != nil {
		return nil, err
	}
	if err := g.space.Enslave(m.outer, port); err != nil {
		return nil, err
	}
	return g.space.OpenSocket(end)
}

// tellDevice gives the device the table of senders.
func (g *gateway) tellDevice() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.device == nil {
		return
	}
	t := map[netip.Addr]tcpip.LinkAddress{}
	for a, m := range g.members {
		t[a] = tcpip.LinkAddress(m.plan.MAC[:])
	}
	g.device.setMembers(t)
}

// detach takes a sandbox off the network. Its namespace lives as long as its
// processes do, without a way out.
func (g *gateway) detach(m *member) {
	g.mu.Lock()
	delete(g.members, m.plan.Addr4)
	delete(g.members, m.plan.Addr6)
	for i, x := range g.list {
		if x == m {
			g.list = append(g.list[:i], g.list[i+1:]...)
			break
		}
	}
	g.mu.Unlock()
	g.tellDevice()
	m.close()
	if g.router != nil {
		_ = g.forwards() // of those that are left
	}
	if m.space != nil {
		if g.space != nil {
			_ = g.space.Remove(m.outer)
		}
		m.space.Close()
	}
}
