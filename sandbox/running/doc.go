// Package running makes running sandboxes findable by name, and leaves nothing behind when one is killed.
//
// There is no state folder, no socket and no daemon. Each supervisor holds a sealed memfd called jail-sandbox with its
// State in it; whoever wants to know what runs looks through /proc for supervisors of the same user and reads
// it. The memfd goes with the process that holds it, however that ends.
//
//	entry, err := running.Publish(state)       // the supervisor, once a sandbox
//	entry.Update(state)                        // what became known later
//	entry.Keep("net-log", size)                // one more memfd, found as Sandbox.Open("net-log")
//
//	states, err := running.List()              // everybody else: jail ps, jail stats
//	box, err := running.Find("firefox")        // one of them, held: jail exec, jail stop, network.mode: join
//	defer box.Close()
//	net, err := box.Namespace("net")
//
// # Who is believed
//
// A process counts as a supervisor when all of this holds, looked at through one descriptor of its folder in
// /proc, which never leads to another process that got the same id later:
//
//   - It has the caller's uid.
//   - Its file is this program, or one of the same base name, which it is still after an upgrade.
//   - It is in the caller's user namespace and pid namespace. A sandboxed process never is, so none can pose as a
//     sandbox and be joined (CVE-2022-31214), and what runs inside a sandbox is not taken for the user's own.
//     Root can make sandboxes without either namespace; root's supervisors must be in the caller's mount
//     namespace too, which no sandboxed process is.
//   - The memfd is sealed against any change, is no larger than a State can be, and names this very process.
//
// What a user's own processes outside every sandbox tell is believed: they could as well run jail, or kill it.
// Nothing that comes from a State is safe to print: names are checked, all else must be escaped (CVE-2023-28101).
//
// # Names
//
// Every sandbox has one. A name given with --name is the user's choice and taken by one sandbox at a time; others
// are called after their profile and the supervisor's process id, which needs no look at who else is there. Find also
// takes that process id, and the name of a profile or a program as long as it means one sandbox.
//
// Two starts that want the same given name are settled by what each has published before it looks: the
// name is first claimed, then held. Of two claims the lower process id goes first; it waits for the other one,
// which may have looked before it was there, to say what it has found.
//
// # What is needed of a supervisor
//
// It must stay dumpable (prctl(2), PR_SET_DUMPABLE): the kernel lets nobody else read the descriptors of a process
// that is not. It may confine itself in any other way once it has published what it has to.
//
// # Which namespaces are the sandbox's
//
// pid 1 of a sandbox cannot be read, so they come from the program's process, which may have moved on: a program
// that may make user namespaces can leave for its own. Its pid namespace cannot be left, and the user namespace that
// owns it, made in the same clone, is the sandbox's. Every other namespace must be owned by that one, or by one
// between it and the caller's (that of a network gateway), or it is refused.
package running
