#include "textflag.h"

#define SYS_clone	56
#define CLONE_VM	0x100

// func cloneWatcher(o *orders, stack uintptr) int
//
// In Go the two returns of a clone that shares memory would use the same stack frame, so the child's way goes on
// here, on its own stack.
TEXT ·cloneWatcher(SB), NOSPLIT, $0-24
	MOVQ	o+0(FP), R12 // survives the system call
	MOVQ	stack+8(FP), SI
	MOVQ	$CLONE_VM, DI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVQ	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, ret+16(FP)
	RET

child:
	SUBQ	$64, SP
	XORL	BP, BP
	MOVQ	R12, 0(SP)
	CALL	·watchFor(SB) // does not return
	INT	$3
	JMP	child
