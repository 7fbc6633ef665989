#include "textflag.h"

#define SYS_clone	220
#define CLONE_VM	0x100

// func cloneWatcher(o *orders, stack uintptr) int
//
// In Go the two returns of a clone that shares memory would use the same stack frame, so the child's way goes on
// here, on its own stack.
TEXT ·cloneWatcher(SB), NOSPLIT|NOFRAME, $0-24
	MOVD	o+0(FP), R10 // survives the system call
	MOVD	stack+8(FP), R1
	MOVD	$CLONE_VM, R0
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	$SYS_clone, R8
	SVC
	CBZ	R0, child
	MOVD	R0, ret+16(FP)
	RET

child:
	SUB	$64, RSP
	MOVD	ZR, R29
	MOVD	R10, 8(RSP)
	BL	·watchFor(SB) // does not return
	BRK
	B	child
