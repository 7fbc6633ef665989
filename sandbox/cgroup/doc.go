// Package cgroup gives a sandbox its control group: it finds a way to one, makes it, writes the limits of an OCI
// spec into it, proves that the kernel took them, and tells afterwards what the program used and why it was killed.
//
// # Ways
//
// An ordinary user may make control groups only where somebody has handed a subtree over to them, and how that
// happened differs from machine to machine. Open tries, in this order:
//
//	direct  cgroup v2: jail already runs in a subtree that is its user's own (a unit with Delegate=, a container,
//	        a folder that an administrator handed over). The group is a new folder there.
//	scope   cgroup v2: the systemd manager of the user (of the machine, for root) is asked over D-Bus for a
//	        transient scope with Delegate=yes. jail itself moves into the scope's group "outside", the program
//	        gets the group beside it.
//	root    cgroup v2, as root and without systemd: a folder below jail's own group.
//	v1      as root where the controllers are bound to cgroup v1 hierarchies ("legacy" and "hybrid" machines):
//	        one folder in each hierarchy, written by github.com/opencontainers/cgroups.
//
// A limit that none of them can apply is a *Refused error that names the controller, the reason and the remedy.
//
// # The order of things
//
//	Open            before the clone; Begin does the same beside other work
//	FD              goes to clone3(CLONE_INTO_CGROUP): the program is in its group from its first instruction
//	Add             the fallback, and always needed when Held says so (cgroup v1 knows no clone into a group):
//	                the child must be held before exec until Add has returned
//	unshare         the child itself makes its cgroup namespace, once it is in the group. CLONE_NEWCGROUP among
//	                the flags of clone would root the namespace at jail's own group: copy_cgroup_ns in the kernel
//	                looks at the parent
//	Events, Stats   after the program has ended, before Close
//	Close           always: it ends what still runs in the group and removes it
//
// # What is left after SIGKILL
//
// Nothing. A watcher, a tiny process that waits for jail's death, ends what is left in the group and removes it. In a
// scope it is the last process, and systemd removes the scope. Should the watcher be killed as well, the next run
// sweeps the folder away: a living group's folder is locked with flock, and the lock goes with its process.
package cgroup
