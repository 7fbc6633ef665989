#include "textflag.h"

// func native(c *call) uintptr
// The sixth argument goes in R9; clobbered are RCX and R11: syscall(2).
TEXT ·native(SB), NOSPLIT, $0-16
	MOVQ c+0(FP), BX
	MOVQ 0(BX), AX
	MOVQ 8(BX), DI
	MOVQ 16(BX), SI
	MOVQ 24(BX), DX
	MOVQ 32(BX), R10
	MOVQ 40(BX), R8
	MOVQ 48(BX), R9
	SYSCALL
	MOVQ AX, ret+8(FP)
	RET

// func i386(c *call) uintptr
// The 32-bit entry: numbers and registers are those of i386. No call here has a sixth argument, which would be in EBP.
TEXT ·i386(SB), NOSPLIT, $0-16
	MOVQ c+0(FP), R12
	MOVL 0(R12), AX
	MOVL 8(R12), BX
	MOVL 16(R12), CX
	MOVL 24(R12), DX
	MOVL 32(R12), SI
	MOVL 40(R12), DI
	INT $0x80
	MOVLQSX AX, AX
	MOVQ AX, ret+8(FP)
	RET
