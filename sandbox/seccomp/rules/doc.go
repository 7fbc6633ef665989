// Package rules reads the seccomp part of an OCI spec: names become numbers,
// actions become return values, and everything that could be taken for
// something else than it says is refused. It is pure Go and looks at nothing
// but its arguments. The compiler turns what this package read into BPF, and
// checks the BPF against [Table.Verdict], the plain reading.
//
// # What a list of entries means
//
// A call gets the action of the entries that match it, and the default action
// when none does. The arguments of one entry must all match; several entries
// are alternatives. OCI gives no order between entries, and libseccomp has
// none either: an entry without arguments silently replaces those with
// arguments, before or after it. So entries of one call that have different
// actions must exclude each other, and Read's tables refuse them otherwise.
//
// A name means the system call of that name, for each architecture its own
// number. In particular `socket` does not open socketcall(2) on i386, whose
// arguments lie in memory where no filter can see them; `socketcall` and `ipc`
// are names of their own. (libseccomp would open them for runc and crun.)
//
// A name that an architecture does not have is ignored there. A name that is
// known nowhere is ignored too, as runc and crun do, unless ignoring it would
// leave a call more open than the entry says.
//
// # How to say "all but these values"
//
// The kernel takes many arguments as 32 bits, while OCI's comparisons look at
// 64: `ioctl allowed when argument 1 SCMP_CMP_NE TIOCSTI` lets TIOCSTI through
// when the caller sets a high bit (CVE-2019-10063, CVE-2023-28100). Only
// SCMP_CMP_MASKED_EQ can leave the high half out, and it cannot say "not". What
// does work is to cover all other values with masks: the values that agree with
// none of the forbidden ones in some leading bits. For n forbidden values that
// takes at most 31n+1 entries, fewer as they share leading bits (31 for
// TIOCSTI and TIOCLINUX), each with the action ALLOW:
//
//	{index: 1, op: SCMP_CMP_MASKED_EQ, value: 0x80000000, valueTwo: 0x80000000}
//	{index: 1, op: SCMP_CMP_MASKED_EQ, value: 0xc0000000, valueTwo: 0x40000000}
//	...
//
// and an ERRNO entry with mask 0xffffffff for each forbidden value, if it is to
// get another answer than the default. All entries exclude each other, so the
// meaning depends on nothing that a runtime or a version of libseccomp decides.
// Flags are simpler: clone without CLONE_NEW* is one ALLOW entry with the bits
// as mask and zero as the value, and one ERRNO entry for each bit.
package rules
