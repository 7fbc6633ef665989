package gateway

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These calls never wait, for all descriptors are non-blocking. Those that move little are kept from the runtime's
// sight: a call that it knows of may lose its processor to another thread when it takes longer than 20 microseconds,
// and the two switches of threads cost more than the call. Those that move much are not: other goroutines run meanwhile.

// short is what a call moves in less time than giving its processor away takes.
const short = 16 << 10

func iovecs(space []unix.Iovec, parts [][]byte) (v []unix.Iovec, size int) {
	v = space[:0]
	for _, p := range parts {
		e := unix.Iovec{Base: unsafe.SliceData(p)}
		e.SetLen(len(p))
		v = append(v, e)
		size += len(p)
	}
	return v, size
}

func writev(fd int, parts [][]byte) (int, syscall.Errno) {
	var space [12]unix.Iovec
	v, size := iovecs(space[:], parts)
	if size <= short {
		n, _, e := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
		return int(n), e
	}
	n, _, e := syscall.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	return int(n), e
}

// readv is for the link: most of what it gives is small.
func readv(fd int, parts ...[]byte) (int, syscall.Errno) {
	var space [4]unix.Iovec
	v, _ := iovecs(space[:], parts)
	n, _, e := syscall.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	return int(n), e
}

func read(fd int, b []byte) (int, syscall.Errno) {
	if len(b) <= short {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return int(n), e
	}
	n, _, e := syscall.Syscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

// send is send(2). MSG_NOSIGNAL: a closed peer is an error, not the end of the process.
func send(fd int, b []byte) (int, syscall.Errno) {
	const flags = unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT
	if len(b) <= short {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		return int(n), e
	}
	n, _, e := syscall.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
	return int(n), e
}
