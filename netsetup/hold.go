package netsetup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup/eth0"
	"jail/netsetup/frames"
	"jail/netsetup/rtnl"
)

// A network of the sandbox's own, whose packets the gateway itself takes, does not wait for the gateway. A process that is
// no program yet makes the namespaces and waits (sandbox.NetworkHolder); this process makes the links, by routing sockets
// that it is handed; and the first packet has the other become the gateway, or a tenth of a second. Until then packets wait where the gateway will
// take them, and nothing else leads out: the rules are the gateway.

// Hold describes that process; the fields are those of sandbox.NetworkHolder.
type Hold struct {
	Program              *os.File
	Args                 []string
	Files                []*os.File
	Control              int
	Message              string
	Wake                 []int
	Wait                 time.Duration
	UID, GID             int
	Device               string
	Inner, Inner6, Outer [][2]string
	Keep                 int
	Slack                int
}

// Held is that process once it has begun.
type Held interface {
	// PID is its process id, also once it is the gateway.
	PID() int
	// Lost6 tells that the settings of Hold.Inner6 could not be made.
	Lost6() bool
	// Failure is why it ended without becoming the gateway, or nil.
	Failure() error
}

// Descriptors of a gateway whose links are made for it: that frames leave by, and the sandbox's network namespace.
const (
	UplinkFD = 6
	SpaceFD  = 7
)

// firstPacket is how long the gateway waits for the first packet. A command that ends sooner has none; for one that goes on
// it comes up meanwhile.
const firstPacket = 100 * time.Millisecond

// slowStart is when namespaces and links have taken so much longer than they do that many must want the processors. A gateway could
// then take longer to come up than a program waits for an answer, and so the program waits for the gateway.
const slowStart = 60 * time.Millisecond

// holdable reports whether a network's links are always the same few. Others are made by the gateway.
func (c *Config) holdable() bool { return c.Name == "" && !c.Routed() && c.Bandwidth == nil }

// Links of such a network. The numbers are chosen, so that none has to be asked for.
const (
	loopback   = 1 // LOOPBACK_IFINDEX of include/net/flow.h
	inside     = 2
	bridge     = 10
	outside    = 11
	tapName    = "out0"
	bridgeName = "br0"
)

// hold begins such a network.
func (n *Network) hold(o Options, setup *Setup) error {
	setup.Linked = true
	given, err := n.handOver(setup)
	if err != nil {
		return err
	}
	defer closeAll(given[:2])
	n.knock = given[2]
	if n.held, err = holdNetwork(o, setup, given); err != nil {
		n.control.Close()
		n.knock.Close()
		return fmt.Errorf("start the network's gateway: %w", err)
	}
	n.pid = n.held.PID()
	n.child = n.pid
	return nil
}

// holdNetwork begins the process with what the gateway is given.
func holdNetwork(o Options, setup *Setup, given []*os.File) (Held, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	program, args, err := o.Gateway()
	if err != nil {
		return nil, err
	}
	defer program.Close()
	stderr := null
	if o.Stderr != nil {
		stderr = o.Stderr
	}
	wait := firstPacket
	if len(setup.Config.Publish) > 0 {
		wait = 0
	}
	return o.Hold(&Hold{
		Program: program, Args: args,
		Files:   slices.Concat([]*os.File{null, null, stderr}, given, []*os.File{null, null}),
		Control: 3, Message: `{"spaces":true}`, Wake: []int{DoorFD}, Wait: wait,
		UID: os.Getuid(), GID: os.Getgid(), Device: tapName,
		Inner: eth0.Settings(setup.Group), Inner6: eth0.Settings6("default"),
		// Nothing there has an address.
		Outer: [][2]string{{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"}},
		Keep:  unix.CAP_SYS_CHROOT, Slack: timerSlack,
	})
}

// link makes and configures the links, with what the process has sent after the two namespaces: the way out, and routing
// sockets in the sandbox's namespace and in the gateway's.
func (n *Network) link(files []*os.File) error {
	defer closeAll(files[1:])
	uplink, routesInside, routesOutside := files[0], int(files[1].Fd()), int(files[2].Fd())
	p := n.Plan
	fd := int(uplink.Fd())
	_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	tap := errors.Is(err, unix.ENOTSOCK)
	var b rtnl.Batch
	out := rtnl.Link{Index: outside, Name: "in2", MTU: p.MTU}
	if tap {
		n.at.Way = "tap"
		if err := frames.TAP(fd, &p.GatewayMAC); err != nil {
			return err
		}
		b.Bridge(rtnl.Link{Index: bridge, Name: bridgeName, MTU: p.MTU}, "make the bridge")
		b.Set(rtnl.Link{Name: tapName, MTU: p.MTU, Bridge: bridge}, "bring up "+tapName)
		out.Bridge = bridge
	}
	b.Veth(out, rtnl.Link{Index: inside, Name: eth0.Name, MTU: p.MTU, MAC: p.MAC[:], Space: int(n.at.NetNS.Fd())}, "make the veth pair")
	if err := b.Send(routesOutside); err != nil {
		hint := ""
		if errors.Is(err, unix.EOPNOTSUPP) {
			hint = "\nthe kernel has no veth or no bridge; load the modules (modprobe veth bridge)"
		}
		return fmt.Errorf("%w%s", err, hint)
	}
	if !tap {
		n.at.Way = "packet"
		if err := frames.Socket(fd, outside, &p.GatewayMAC); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
	}
	b = rtnl.Batch{}
	b.Set(rtnl.Link{Index: loopback}, "bring up the loopback")
	b.Set(rtnl.Link{Index: inside}, "bring up eth0")
	eth0.Configure(&b, inside, p.Addr4, p.Gateway4, eth0.Shared{}, p.GatewayMAC[:])
	if !n.held.Lost6() {
		eth0.Configure(&b, inside, p.Addr6, p.Gateway6, eth0.Shared{}, p.GatewayMAC[:])
	}
	return b.Send(routesInside)
}

// linked makes the links, and tells whether the gateway is to be waited for, which it then has begin.
func (n *Network) linked(files []*os.File) (wait bool, err error) {
	defer n.knock.Close()
	if err := n.link(files[2:]); err != nil {
		files[2].Close()
		return false, err
	}
	n.mu.Lock()
	n.uplink = files[2]
	n.mu.Unlock()
	if time.Since(n.begun) < slowStart {
		return false, nil
	}
	// A request without an operation: it wakes the process, and the gateway passes it over.
	if _, err := unix.Write(int(n.knock.Fd()), []byte("{}")); err != nil {
		return true, fmt.Errorf("begin the network's gateway: write: %w", err)
	}
	return true, nil
}

// took is called when the gateway is there: the way out is its own from now on.
func (n *Network) took() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uplink != nil {
		n.uplink.Close()
		n.uplink = nil
	}
}

// end kills a process that nobody hears any more.
func (n *Network) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held != nil && n.child != 0 {
		_ = unix.Kill(n.child, unix.SIGKILL)
	}
}

// dismiss ends a process that has not become the gateway and has no packet to become it for. One that has is
// left to tell what it makes of it.
func (n *Network) dismiss() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uplink == nil || n.child == 0 {
		return
	}
	waiting := []unix.PollFd{{Fd: int32(n.uplink.Fd()), Events: unix.POLLIN}}
	if some, err := unix.Poll(waiting, 0); err == nil && some == 0 {
		_ = unix.Kill(n.child, unix.SIGKILL)
	}
	n.uplink.Close()
	n.uplink = nil
}
