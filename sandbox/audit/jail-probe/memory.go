package main

import (
	"bytes"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// address is where a value lies, for a call. What it points to must be on the heap, and is kept there.
func address[T any](p *T) uintptr {
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

var kept []any

// lowMemory is a page below 4 GiB, which i386 calls can name; 0 where there is none.
var lowMemory = sync.OnceValue(func() uint32 {
	const map32bit = 0x40
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|map32bit, bad, 0)
	if errno != 0 {
		return 0
	}
	return uint32(at)
})

func contains(text []byte, secret string) bool { return bytes.Contains(text, []byte(secret)) }

// at32 is lowMemory as numbers of 32 bits.
func at32(at uint32) *[3]uint32 {
	p := uintptr(at)
	return *(**[3]uint32)(unsafe.Pointer(&p))
}
