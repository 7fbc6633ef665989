#include "go_asm.h"
#include "textflag.h"

// func clone(nr, a1, a2 uintptr, child *process) uintptr
//
// The child begins on a stack of its own, and so its way goes on here: it could not return through a Go function's
// frame, which is on the stack that it has left. For the same reason interpret comes back here to have a process made.
//
// interpret is called as Go calls it (the compiler's abi-internal.md) and not by the name it has here, because the
// way from that name to the function looks for Go's current goroutine, in memory that the child does not have.
TEXT ·clone(SB), NOSPLIT, $0-40
	MOVQ	nr+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	child+24(FP), R12 // survives the system call
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JZ	inside
	MOVQ	AX, ret+32(FP)
	RET

inside:
	XORL	BP, BP
	SUBQ	$64, SP // with room for interpret to spill its argument
	MOVQ	R12, 56(SP)

again:
	MOVQ	56(SP), AX
	XORPS	X15, X15
	MOVQ	process_entry(AX), BX
	CALL	BX
	MOVQ	56(SP), R13
	MOVQ	process_next(R13), R12
	MOVQ	$56, AX // clone(2)
	MOVQ	process_flags(R13), DI
	MOVQ	process_top(R12), SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JZ	inside
	MOVQ	AX, process_forked(R13)
	JMP	again

// func dataStart() uintptr
TEXT ·dataStart(SB), NOSPLIT, $0-8
	MOVQ	$runtime·noptrdata(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
