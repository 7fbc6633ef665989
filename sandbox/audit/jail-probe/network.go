package main

import (
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func networkChecks() []probe {
	local := func(id, what, why, source, network string, address func(b *check.Bait) string, grant ...string) probe {
		return probe{check.Check{ID: id, What: what, Why: why, Source: source, Grant: grant}, func(b *check.Bait) verdict {
			to := address(b)
			if to == "" {
				return cannot("this machine has none")
			}
			return connects(network, to)
		}}
	}
	// A route is asked for without sending anything: connect(2) of a datagram socket looks one up and no more.
	route := func(id, what, why, source, to string, grant ...string) probe {
		return probe{check.Check{ID: id, What: what, Why: why, Source: source, Grant: grant}, func(b *check.Bait) verdict {
			v := connects("udp", to)
			if v.answer == check.Held && b.Outside {
				return cannot("this machine has no such route either")
			}
			return v
		}}
	}
	const hostNet, veth = "net:host", "net:veth"
	return []probe{
		local("loopback4", "connect to a service on the machine's loopback", "databases and tools without a password listen there", "CVE-2020-15257's class", "tcp", func(b *check.Bait) string { return b.TCP4 }, hostNet),
		local("loopback6", "connect to a service on the machine's IPv6 loopback", "databases and tools without a password listen there", "ipv6(7)", "tcp", func(b *check.Bait) string { return b.TCP6 }, hostNet),
		local("loopback-mapped", "connect to the loopback by an address of IPv6 that stands for it", "rules for IPv4 alone do not see it", "RFC 4291, 2.5.5.2", "tcp6", func(b *check.Bait) string {
			_, port, _ := net.SplitHostPort(b.TCP4)
			return net.JoinHostPort("::ffff:127.0.0.1", port)
		}, hostNet),
		local("loopback-other", "connect to the loopback by 127.0.0.2", "rules for one address do not see it", "RFC 1122, 3.2.1.3", "tcp", func(b *check.Bait) string {
			_, port, _ := net.SplitHostPort(b.TCP4)
			return net.JoinHostPort("127.0.0.2", port)
		}, hostNet),
		local("loopback-zero", "connect to the loopback by 0.0.0.0", "rules for one address do not see it", "ip(7)", "tcp", func(b *check.Bait) string {
			_, port, _ := net.SplitHostPort(b.TCP4)
			return net.JoinHostPort("0.0.0.0", port)
		}, hostNet),
		local("own-address", "connect to the machine by its own address", "services that trust the machine itself", "ip(7)", "tcp", func(b *check.Bait) string { return b.HostTCP4 }, hostNet),
		{check.Check{ID: "udp", What: "get an answer from a UDP service on the machine's loopback", Why: "rules for TCP alone do not see it", Source: "udp(7)", Grant: []string{hostNet}}, func(b *check.Bait) verdict {
			c, err := net.Dial("udp", b.UDP4)
			if err != nil {
				return byError(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := c.Write([]byte("?")); err != nil {
				return byError(err)
			}
			n, err := c.Read(make([]byte, 10))
			if err != nil {
				return held("no answer")
			}
			return open("%d bytes", n)
		}},
		local("abstract", "connect to an abstract socket of the session", "they have no permissions; shims of container runtimes listened there", "CVE-2020-15257", "unix", func(b *check.Bait) string { return "@" + b.Abstract }, "abstract"),
		local("abstract-datagram", "send to an abstract datagram socket of the session", "they have no permissions", "unix(7)", "unixgram", func(b *check.Bait) string { return "@" + b.Datagram }, "abstract"),
		local("abstract-x11", "connect to an X server by its abstract socket", "every key and every window", "X(7)", "unix", func(b *check.Bait) string { return "@" + b.X11 }, "abstract"),
		local("unix-temp", "connect to a socket in /tmp", "ssh-agent and the X server listen there", "unix(7)", "unix", func(b *check.Bait) string { return b.UnixTemp }, "read:temp"),
		local("unix-run", "connect to a socket in the session's runtime folder", "the session's bus starts programs outside", "unix(7)", "unix", func(b *check.Bait) string { return b.UnixRun }, "read:runtime"),
		route("metadata", "find a route to the address where clouds tell machines their secrets", "credentials of the machine", "CVE-2019-5418's class; 169.254.169.254", "169.254.169.254:80", hostNet, veth),
		route("internet", "find a route to the internet", "what it reads it can send away", "ip(7)", "192.0.2.1:9", hostNet, veth),
		route("internet6", "find a route to the IPv6 internet", "what it reads it can send away", "ipv6(7)", "[2001:db8::1]:9", hostNet, veth),
		route("private", "find a route to the local network", "routers, printers and other people's machines", "RFC 1918", "10.255.255.1:9", hostNet, veth),
		route("multicast", "find a route to the local network's multicast", "finds what is there", "ip(7)", "224.0.0.251:5353", hostNet, veth),
		{check.Check{ID: "interfaces", What: "see the machine's network interfaces", Why: "addresses tell where the machine is", Source: "netdevice(7)", Grant: []string{hostNet, veth}}, func(b *check.Bait) verdict {
			all, err := net.Interfaces()
			if err != nil {
				return byError(err)
			}
			var names []string
			for _, i := range all {
				// tunl0 and the like are made with every network namespace: fb_tunnels_only_for_init_net.
				if i.Flags&net.FlagLoopback == 0 && len(i.HardwareAddr) == 6 {
					names = append(names, i.Name)
				}
			}
			if len(names) > 0 {
				return open("%s", strings.Join(names, " "))
			}
			if b.Outside {
				return cannot("this machine has none")
			}
			return held("the loopback alone")
		}},
		{check.Check{ID: "interface-up", What: "change a network interface", Why: "traffic can be led elsewhere", Source: "netdevice(7)", Grant: []string{"cap:NET_ADMIN"}}, func(*check.Bait) verdict {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return byError(err)
			}
			defer unix.Close(fd)
			ifr, err := unix.NewIfreq("jail-audit0")
			if err != nil {
				return byError(err)
			}
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, address(ifr))
			if errors.Is(errno, unix.ENODEV) { // the kernel looks at the rights first
				return open("ENODEV")
			}
			return byError(errno)
		}},
		{check.Check{ID: "tap", What: "make a network interface", Why: "traffic can be led elsewhere", Source: "Documentation/networking/tuntap.rst", Grant: []string{"device:/dev/net/tun"}}, func(b *check.Bait) verdict {
			f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
			if err != nil {
				if errors.Is(err, os.ErrNotExist) {
					return cannotOrHeld(b, "ENOENT")
				}
				return byError(err)
			}
			f.Close()
			return open("opened /dev/net/tun")
		}},
		{check.Check{ID: "resolver", What: "see which name servers the machine asks", Why: "tells the networks it is in", Source: "resolv.conf(5)", Grant: []string{"read:/etc/resolv.conf", veth, hostNet}}, func(*check.Bait) verdict { return reads("/etc/resolv.conf") }},
	}
}

func connects(network, address string) verdict {
	c, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return byError(err)
	}
	c.Close()
	return open("connected")
}
