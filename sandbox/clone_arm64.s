#include "go_asm.h"
#include "textflag.h"

// func clone(nr, a1, a2 uintptr, child *process) uintptr
//
// The child begins on a stack of its own, and so its way goes on here: it could not return through a Go function's
// frame, which is on the stack that it has left. For the same reason interpret comes back here to have a process made.
//
// interpret is called as Go calls it (the compiler's abi-internal.md) and not by the name it has here, because the
// way from that name to the function looks for Go's current goroutine, in memory that the child does not have.
TEXT ·clone(SB), NOSPLIT|NOFRAME, $0-40
	MOVD	nr+0(FP), R8
	MOVD	a1+8(FP), R0
	MOVD	a2+16(FP), R1
	MOVD	child+24(FP), R10 // survives the system call
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	SVC
	CBZ	R0, inside
	MOVD	R0, ret+32(FP)
	RET

inside:
	MOVD	ZR, R29
	SUB	$64, RSP // with room for interpret to spill its argument
	MOVD	R10, 56(RSP)

again:
	MOVD	56(RSP), R0
	MOVD	process_entry(R0), R11
	BL	(R11)
	MOVD	56(RSP), R9
	MOVD	process_next(R9), R10
	MOVD	$220, R8 // clone(2)
	MOVD	process_flags(R9), R0
	MOVD	process_top(R10), R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	SVC
	CBZ	R0, inside
	MOVD	R0, process_forked(R9)
	B	again

// func dataStart() uintptr
TEXT ·dataStart(SB), NOSPLIT, $0-8
	MOVD	$runtime·noptrdata(SB), R0
	MOVD	R0, ret+0(FP)
	RET
