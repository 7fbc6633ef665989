// Package elf32 makes programs of 32 bits for tests, which no compiler has to be installed for.
package elf32

import "encoding/binary"

// Program is an executable for i386 with nothing but the code: elf(5).
func Program(code []byte) []byte {
	const base, header = 0x10000, 52 + 32
	le := binary.LittleEndian
	b := append([]byte{0x7f, 'E', 'L', 'F', 1, 1, 1}, make([]byte, 9)...)
	for _, v := range []uint16{2, 3} { // executable, i386
		b = le.AppendUint16(b, v)
	}
	for _, v := range []uint32{1, base + header, 52, 0, 0} { // version, entry, program headers, sections, flags
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint16{52, 32, 1, 40, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	size := uint32(header + len(code))
	for _, v := range []uint32{1, 0, base, base, size, size, 5, 0x1000} { // PT_LOAD, read and execute
		b = le.AppendUint32(b, v)
	}
	return append(b, code...)
}
