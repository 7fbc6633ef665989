package rtnl

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// TestBatch makes links in a network namespace of the test's own, and looks at them.
func TestBatch(t *testing.T) {
	if os.Getenv("RTNL_TEST") == "" {
		need.UserNamespaces(t)
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestBatch$", "-test.v")
		cmd.Env = append(os.Environ(), "RTNL_TEST=inside")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	space, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	mac := []byte{0x52, 1, 2, 3, 4, 5}
	own, next := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.1")
	var b Batch
	b.Set(Link{Index: 1}, "bring up the loopback")
	b.Bridge(Link{Index: 10, Name: "bridge", MTU: 9000}, "make the bridge")
	b.Veth(Link{Index: 11, Name: "outer", MTU: 9000, Bridge: 10}, Link{Index: 12, Name: "inner", MTU: 9000, MAC: mac, Space: int(space.Fd())}, "make the pair")
	b.Set(Link{Index: 12}, "bring up inner")
	b.Address(12, netip.PrefixFrom(own, 32), "give it an address")
	b.Neighbour(12, next, mac, "write down the neighbour")
	b.Route(12, netip.PrefixFrom(next, 32), netip.Addr{}, own, "route the neighbour")
	b.Route(12, netip.MustParsePrefix("0.0.0.0/0"), next, own, "route everything")
	if err := b.Send(fd); err != nil {
		t.Fatal(err)
	}
	inner, err := net.InterfaceByName("inner")
	if err != nil || inner.Index != 12 || inner.MTU != 9000 || inner.HardwareAddr.String() != "52:01:02:03:04:05" || inner.Flags&net.FlagUp == 0 {
		t.Errorf("inner is %+v, %v", inner, err)
	}
	if addrs, err := inner.Addrs(); err != nil || len(addrs) == 0 || addrs[0].String() != "10.1.2.3/32" {
		t.Errorf("inner has the addresses %v, %v", addrs, err)
	}
	if routes, _ := os.ReadFile("/proc/self/net/route"); !strings.Contains(string(routes), "inner\t00000000\t0102010A") {
		t.Errorf("the routes are\n%s", routes)
	}

	// The first that fails is named, although the last is well.
	b = Batch{}
	b.Set(Link{Index: 12, MTU: 1500}, "change inner")
	b.Set(Link{Index: 99}, "bring up what is not there")
	b.Bridge(Link{Name: "inner"}, "make what is there")
	b.Set(Link{Index: 11}, "bring up outer")
	if err := b.Send(fd); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "bring up what is not there: ") {
		t.Errorf("a batch with failures ends with %v", err)
	}
}
