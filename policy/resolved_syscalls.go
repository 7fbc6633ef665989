package policy

// Syscalls decides which system calls the program may make.
//
// A call is allowed when an Allow covers it, by name or through a group, unless
// a Deny covers it whose Rank is not below the highest Rank of an Allow that
// names the call itself. So deny wins over groups, and over names of the same or
// an earlier file, and a later file can name the very call again.
type Syscalls struct {
	// Default is the answer for what is known but not allowed.
	Default SyscallAction
	Allow   []SyscallName
	Deny    []SyscallName
	// Rules decide calls by their arguments, or answer them in another way. A
	// rule with action allow is subject to Deny as an Allow is.
	Rules []SyscallRule
	// Architectures beyond the native one, OCI names (SCMP_ARCH_X86).
	Architectures []Named
	Origin        Origin
}

// SyscallName is a call or a group ("@debug").
type SyscallName struct {
	Name   string
	Rank   int // grows with the place in the chain of files
	Origin Origin
}

// SyscallRule is one entry of `syscalls.rules`.
type SyscallRule struct {
	Names  []string // calls or groups
	Args   []SyscallArg
	Action SyscallAction
	Rank   int
	Origin Origin
}

// SyscallArg compares one argument of a call.
type SyscallArg struct {
	Index    uint   // 0 to 5
	Op       string // eq, ne, lt, le, gt, ge, masked-eq
	Value    uint64 // masked-eq: the mask
	ValueTwo uint64 // masked-eq: the value after masking
}

// SyscallAction is an answer to a system call.
type SyscallAction struct {
	Kind  string // allow, errno, kill-process, kill-thread, trap, log
	Errno uint   // for errno
	Name  string // as shown: EPERM, kill, ...
}
