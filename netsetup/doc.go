// Package netsetup gives a sandbox a network: links, addresses, names, egress
// rules and a way out. It knows nothing of profiles; it takes a [Config], which
// is the annotation dev.jail.network of an OCI spec.
//
// # For an ordinary user
//
//	program | S: eth0 -- veth -- G: bridge, TAP | gateway process | host's network
//
// [Start] has a process made in a user namespace U1, which makes two network
// namespaces, both owned by U1: S for the sandbox and G between S and itself. This process
// makes the links in them (hold.go). With the first packet the other becomes the gateway. It has stayed in the
// caller's network namespace, where it has the caller's rights and no more; there a userspace
// TCP/IP stack takes each flow out of the TAP device (or off a packet socket
// where /dev/net/tun does not open), asks the egress policy, and makes an
// ordinary connection of its own. The gateway of a network that is shared, routed or slowed down is begun at once, and makes
// namespaces and links itself, on threads of their own. The program's user namespace is made below U1
// by the launcher, so the program has no capability over S: it cannot change an
// address or a route, open a packet socket or spoof a sender.
//
// The gateway ends when the control socket closes, so it goes with the
// supervisor however that dies, and S and G go with their last process.
//
// # For root, when asked
//
//	program | S: eth0 -- veth -- G: bridge, nftables, resolver -- up0 | host: NAT, bridge, link
//
// The kernel forwards. A host process with root's capabilities makes up0 and starts
// the gateway in U1; nftables rules in G hand the first packet of each flow to the
// gateway, which asks the same policy. What is on the host goes with G or with the host
// process's netlink socket; what CNI plugins have done is undone by them. Where a program (pasta,
// slirp4netns) is at the end of up0, the gateway itself starts it, as an ordinary user too.
//
// # Packages
//
// egress decides (pure). rtnl writes netlink requests, frames prepares the descriptors that frames come by. firewall writes nftables rules, hostside is the host process. link makes namespaces, veth pairs, bridges and TAP
// devices. names is the resolver. gateway is the process: stack, flows,
// publishing, reports; nothing else imports it, for its TCP/IP stack would cost
// every start of jail time.
package netsetup
