#include "textflag.h"

// The handler of forwarded signals: write(caughtFD, &number, 1). The kernel calls it as C would, with the number in R0,
// and gives every register back to what was interrupted.
TEXT onSignal<>(SB), NOSPLIT|NOFRAME, $0
	SUB	$16, RSP
	MOVD	R0, 8(RSP)
	MOVW	·caughtFD(SB), R0
	ADD	$8, RSP, R1
	MOVD	$1, R2
	MOVD	$64, R8 // write(2)
	SVC
	ADD	$16, RSP
	RET

// func handlerAddress() uintptr
TEXT ·handlerAddress(SB), NOSPLIT, $0-8
	MOVD	$onSignal<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET
