package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A call is one row of the table that the forked child interprets: a system call, its arguments, where its
// result goes and which failures are no failures. Everything was decided when the row was written; the child
// only executes.
type call struct {
	nr   uintptr    // system call number, or one of the op constants
	args [6]uintptr // values, or slot numbers where refs has the bit
	refs uint8      // bit i: args[i] is the number of a slot, not a value
	slot uint8      // slot for the result; noSlot when nobody asks
	step uint16     // index of the step in the plan, for the message when the call fails
	ok   [3]uint16  // errnos to tolerate
}

const (
	noSlot   = 0xff
	numSlots = 64
)

// Pseudo calls, above every system call number of every architecture.
const (
	opFork  = 1<<30 + iota // args: clone flags, index of the row at which the new process goes on
	opStore                // args: address of an int32, value
	opPass                 // args: slot, number of the next rows to pass over when the slot's call did not fail
	opReap                 // args: slot of the program's pid, event descriptor, terminal descriptor or -1, shared status
	opExit                 // args: exit code
	opGoOn                 // ends the process if one that it has made and waited for has failed
)

// An arg is an argument of a call: a plain value or the result of an earlier call.
type arg struct {
	v    uintptr
	slot bool
}

func val[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](v T) arg {
	return arg{v: uintptr(v)}
}

// An assembler lowers steps to rows. Every buffer that a row points into lies in its memory.
type assembler struct {
	rows []call
	memory
	step uint16
	free []uint8 // slots that may be used again
	next uint8

	fileMask      arg // the mounts that hide a file and a directory, once there are any
	directoryMask arg
	recent        struct { // see directory
		path string
		fd   arg
	}
	root, scratch    arg  // the new root and the bundle in memory, set by the steps that make them
	hasScratch       bool // the bundle lies in memory
	ruleset          arg  // the Landlock rules, where there are any
	terminal         arg  // the slave of the sandbox's terminal, where there is one
	program          arg  // the program's process id in pid 1, from the fork
	forkRow, execRow int
	keepBelow        int // descriptors from here on are closed first
	console          terminalInput
	shared           *report
	filter           []byte // struct sock_filter array
}

// op appends a row whose result is not kept.
func (a *assembler) op(nr uintptr, args ...arg) *call {
	c := call{nr: nr, slot: noSlot, step: a.step}
	for i, x := range args {
		c.args[i] = x.v
		if x.slot {
			c.refs |= 1 << i
		}
	}
	a.rows = append(a.rows, c)
	return &a.rows[len(a.rows)-1]
}

// table is an empty table in a's memory with room for n rows.
func (a *assembler) table(n int) []call {
	b := a.room(n * int(unsafe.Sizeof(call{})))
	return unsafe.Slice((*call)(unsafe.Pointer(unsafe.SliceData(b))), n)[:0]
}

// fd appends a row whose result, a descriptor or a process id, is kept in a slot.
func (a *assembler) fd(nr uintptr, args ...arg) arg {
	c := a.op(nr, args...)
	if n := len(a.free); n > 0 {
		c.slot, a.free = a.free[n-1], a.free[:n-1]
	} else {
		if a.next == numSlots {
			panic("sandbox: a plan uses more than 64 slots at once")
		}
		c.slot = a.next
		a.next++
	}
	return arg{v: uintptr(c.slot), slot: true}
}

// close closes the descriptor in a slot and gives the slot back.
func (a *assembler) close(fd arg) {
	a.op(unix.SYS_CLOSE, fd)
	a.free = append(a.free, uint8(fd.v))
}

// tolerate lists the errnos of the last row that are no failure.
func (c *call) tolerate(errnos ...unix.Errno) {
	for i, e := range errnos {
		c.ok[i] = uint16(e)
	}
}

// str is the address of a NUL-terminated copy of s.
func (a *assembler) str(s string) arg {
	at := a.room(len(s) + 1)
	copy(at, s)
	return address(at)
}

// bytes is the address of a copy of b.
func (a *assembler) bytes(b []byte) arg {
	at := a.room(len(b))
	copy(at, b)
	return address(at)
}

func address(b []byte) arg { return arg{v: uintptr(unsafe.Pointer(unsafe.SliceData(b)))} }

// vec is the address of a NULL-terminated array of C strings, as execve(2) takes.
func (a *assembler) vec(ss []string) arg {
	at := a.room((len(ss) + 1) * int(unsafe.Sizeof(uintptr(0))))
	v := unsafe.Slice((*uintptr)(unsafe.Pointer(unsafe.SliceData(at))), len(ss)+1)
	for i, s := range ss {
		v[i] = a.str(s).v
	}
	return address(at)
}

// ptr is the address of a copy of what p points to, which holds no pointer but to a's memory.
func ptr[T any](a *assembler, p *T) arg {
	q := allot[T](&a.memory)
	*q = *p
	return arg{v: uintptr(unsafe.Pointer(q))}
}

// fprog is the address of a struct sock_fprog for a filter, an array of struct sock_filter.
func (a *assembler) fprog(filter []byte) arg {
	return ptr(a, &struct {
		size  uint16
		array uintptr
	}{uint16(len(filter) / 8), a.bytes(filter).v})
}

var cwd = arg{v: ^uintptr(99)} // AT_FDCWD, -100

// open2 opens path below dir by openat2(2) with the given RESOLVE_ flags and keeps the descriptor.
func (a *assembler) open2(dir arg, path string, flags int, mode, resolve uint64) arg {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: mode, Resolve: resolve}
	return a.fd(unix.SYS_OPENAT2, dir, a.str(path), ptr(a, how), val(unsafe.Sizeof(*how)))
}

// terminalInput is what the caller's terminal has to do with the sandbox's own.
type terminalInput struct {
	replaced   [3]bool // which of 0, 1, 2 the sandbox's terminal replaces
	background bool    // the program starts in the background
	settings   unix.Termios
	size       unix.Winsize
}
