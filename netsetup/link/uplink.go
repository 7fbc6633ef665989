package link

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"jail/netsetup/frames"
)

// Uplink is the descriptor through which the gateway process takes frames, each
// with a virtio header (struct virtio_net_hdr, ten bytes) in front.
type Uplink struct{ FD int }

const (
	bridgeName = "br0"
	tapName    = "out0"
)

// OpenTAP gives the namespace a TAP device. An error that wraps fs.ErrNotExist or
// fs.ErrPermission means that this machine lends none to this user.
func (g *Space) OpenTAP(mtu int) (*Uplink, error) {
	var u *Uplink
	err := g.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
		}
		if err := setupTAP(fd); err != nil {
			unix.Close(fd)
			return err
		}
		u = &Uplink{FD: fd}
		return nil
	})
	if err != nil {
		return nil, err
	}
	tap, err := g.nl.LinkByName(tapName)
	if err == nil {
		err = g.nl.LinkSetMTU(tap, mtu)
	}
	if err == nil {
		err = g.nl.LinkSetUp(tap)
	}
	if err != nil {
		unix.Close(u.FD)
		return nil, fmt.Errorf("bring up %s: %w", tapName, err)
	}
	return u, nil
}

func setupTAP(fd int) error {
	ifr, err := unix.NewIfreq(tapName)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make the TAP device: %w", err)
	}
	return frames.TAP(fd, nil)
}

// OpenSocket binds a packet socket to a link of the namespace.
func (g *Space) OpenSocket(name string) (*Uplink, error) {
	l, err := g.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	var u *Uplink
	err = g.Do(func() error {
		// Protocol 0 until it is bound: no frame of another link gets in.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		if err := frames.Socket(fd, l.Attrs().Index, nil); err != nil {
			unix.Close(fd)
			return fmt.Errorf("packet socket on %s: %w", name, err)
		}
		u = &Uplink{FD: fd}
		return nil
	})
	return u, err
}

// Bridge makes the gateway's bridge.
func (g *Space) Bridge(mtu int) error {
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, MTU: mtu}, MulticastSnooping: &off}
	if err := g.nl.LinkAdd(br); err != nil {
		hint := ""
		if errors.Is(err, unix.EOPNOTSUPP) {
			hint = "\nthe kernel has no bridge; load the module (modprobe bridge)"
		}
		return fmt.Errorf("make the bridge: %w%s", err, hint)
	}
	if err := g.nl.LinkSetUp(br); err != nil {
		return fmt.Errorf("bring up the bridge: %w", err)
	}
	return nil
}

// Enslave puts links on the bridge.
func (g *Space) Enslave(names ...string) error {
	br, err := g.nl.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find the bridge: %w", err)
	}
	for _, n := range names {
		l, err := g.nl.LinkByName(n)
		if err == nil {
			err = g.nl.LinkSetMaster(l, br)
		}
		if err != nil {
			return fmt.Errorf("put %s on the bridge: %w", n, err)
		}
	}
	return nil
}

// TAPName is the link that OpenTAP makes.
func TAPName() string { return tapName }

// Remove deletes a link; one that is gone already is no error.
func (g *Space) Remove(name string) error {
	l, err := g.nl.LinkByName(name)
	if err != nil {
		var gone netlink.LinkNotFoundError
		if errors.As(err, &gone) {
			return nil
		}
		return err
	}
	return g.nl.LinkDel(l)
}
