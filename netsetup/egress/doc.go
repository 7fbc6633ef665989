// Package egress decides what a sandboxed program may reach. It is pure: rules
// and addresses go in, a verdict comes out, and no packet is touched here, so
// that the gateway of an ordinary user and the firewall of root give the same
// answers from the same code.
//
// # Rules
//
// Rules are ordered and the first that matches decides. What none matches is
// refused; no rules at all refuse everything.
//
// A name rule opens only addresses that jail's own resolver handed out for that
// name ([Leases]), only on the rule's ports, and only while they are leased.
//
// Some addresses are special (see [Class]): private networks, the host's own
// addresses, loopback, link-local ones (169.254.169.254 among them), those that
// wrap another address. No wide rule opens them: an allow rule reaches a special
// address only when its prefix lies inside that special range, or for private
// networks when it is the group "private". So a name whose owner points it at
// 127.0.0.1 or 192.168.1.1 (DNS rebinding) leads nowhere, and "any" means the
// internet. A deny rule covers all it matches, special or not.
//
// Ports 53 and 853 are opened only by a rule that spells them: a resolver of
// someone else's would make every deny rule on a name void.
package egress
