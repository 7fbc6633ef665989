#include "textflag.h"

// The handler of forwarded signals: write(caughtFD, &number, 1). The kernel calls it as C would, with the number in DI,
// and gives every register back to what was interrupted.
TEXT onSignal<>(SB), NOSPLIT|NOFRAME, $0
	SUBQ	$8, SP
	MOVQ	DI, 0(SP)
	MOVL	·caughtFD(SB), DI
	MOVQ	SP, SI
	MOVQ	$1, DX
	MOVQ	$1, AX // write(2)
	SYSCALL
	ADDQ	$8, SP
	RET

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVQ	$onSignal<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
