#include "textflag.h"

// func native(c *call) uintptr
TEXT ·native(SB), NOSPLIT, $0-16
	MOVD c+0(FP), R9
	MOVD 0(R9), R8
	MOVD 8(R9), R0
	MOVD 16(R9), R1
	MOVD 24(R9), R2
	MOVD 32(R9), R3
	MOVD 40(R9), R4
	MOVD 48(R9), R5
	SVC
	MOVD R0, ret+8(FP)
	RET

// func i386(c *call) uintptr
// There is no such interface here: ENOSYS.
TEXT ·i386(SB), NOSPLIT, $0-16
	MOVD $-38, R0
	MOVD R0, ret+8(FP)
	RET
