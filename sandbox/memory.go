package sandbox

import (
	"errors"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A memory holds all that the sandbox's own processes need of jail: the table, whatever its rows point to, the
// report and their stacks. It is shared with them, so a clone copies none of it and no write to it, on either
// side, faults; and as nothing else of jail's is theirs (keepToItself), no page table is copied and none of the
// supervisor's pages becomes copy-on-write, which costs a start more than everything else about the clone.
//
// It is never unmapped: the sandbox's processes go on reading it.
type memory struct {
	chunks [][]byte
	free   []byte // the rest of the last chunk
	err    error  // the first failure to get more
}

// chunkSize is enough for most plans. The pages of a chunk are made by the call that maps it, at a twentieth of
// what as many page faults cost.
const chunkSize = 64 << 10

// room takes n zero bytes, aligned for any value. Should there be no memory the bytes are the caller's alone, and
// m.err says why.
func (m *memory) room(n int) []byte {
	size := (n + 7) &^ 7
	if size > len(m.free) {
		flags := unix.MAP_SHARED | unix.MAP_ANONYMOUS
		if size <= chunkSize {
			flags |= unix.MAP_POPULATE
		}
		chunk, err := unix.Mmap(-1, 0, max(size, chunkSize), unix.PROT_READ|unix.PROT_WRITE, flags)
		if err != nil {
			if m.err == nil {
				m.err = err
			}
			return make([]byte, n)
		}
		m.chunks = append(m.chunks, chunk)
		if len(chunk)-size < len(m.free) { // a large piece of its own; what was left is still of use
			return chunk[:n:n]
		}
		m.free = chunk
	}
	b := m.free[:n:n]
	m.free = m.free[size:]
	return b
}

// allot makes a zero T in m. T must hold no pointer but to m: the garbage collector does not look there.
func allot[T any](m *memory) *T {
	return (*T)(unsafe.Pointer(unsafe.SliceData(m.room(int(unsafe.Sizeof(*new(T)))))))
}

// sharing keeps two starts of one program from changing at once what a clone copies.
var sharing sync.Mutex

// dataStart is where the program's data begins, above its code and constants.
func dataStart() uintptr

// iscgo tells whether C code is linked in, as with the race detector. Its library may have told the kernel of
// variables of the thread's, which the kernel writes to when the child begins: rseq(2).
//
//go:linkname iscgo runtime.iscgo
var iscgo bool

// addressSpace ends above everything that a process can map, with page tables of four levels.
const addressSpace = 1 << 48

// keepToItself has the next clone of this program copy nothing of its memory but code, constants and m: neither
// its heap and data, nor the environment. The command line it keeps back for certain, because whoever sees pid 1
// can read that; the rest is kept back for speed. undo must be called after the clone.
func (m *memory) keepToItself() (undo func(), err error) {
	sharing.Lock()
	begin := pageOf(dataStart())
	if !iscgo {
		// There are holes in the range, and the failure that says so (ENOMEM) leaves nothing out: madvise(2).
		_ = madvise(begin, addressSpace-begin, unix.MADV_DONTFORK)
		for _, c := range m.chunks {
			err = errors.Join(err, madvise(uintptr(unsafe.Pointer(unsafe.SliceData(c))), uintptr(len(c)), unix.MADV_DOFORK))
		}
	}
	undo = func() {
		_ = madvise(begin, addressSpace-begin, unix.MADV_DOFORK)
		sharing.Unlock()
	}
	first, end := ^uintptr(0), uintptr(0)
	for _, s := range os.Args { // where the kernel put them, one behind the other: execve(2)
		at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
		if len(s) > 0 {
			first, end = min(first, at), max(end, at+uintptr(len(s)))
		}
	}
	if end > 0 {
		err = errors.Join(err, madvise(pageOf(first), end-pageOf(first), unix.MADV_DONTFORK))
	}
	return undo, err
}

func pageOf(at uintptr) uintptr { return at &^ uintptr(os.Getpagesize()-1) }

func madvise(at, size uintptr, advice int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, at, size, uintptr(advice)); errno != 0 {
		return errno
	}
	return nil
}
