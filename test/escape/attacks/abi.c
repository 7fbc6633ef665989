/* Calls unshare(CLONE_NEWUSER) by the ABI that is named: the native one, i386 by its gate, x32 by the bit in the number.
 * A filter that looks at the native numbers alone lets the others through. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define NEWUSER 0x10000000L

int main(int argc, char **argv) {
	long r;
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "native") == 0)
		r = unshare(NEWUSER);
	else if (strcmp(argv[1], "i386") == 0)
		__asm__ volatile("int $0x80" : "=a"(r) : "a"(310L), "b"(NEWUSER), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	else
		__asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000L | 272), "D"(NEWUSER), "S"(0L), "d"(0L) : "memory", "rcx", "r11");
	printf(r == 0 ? "won: a user namespace by %s\n" : "held: %s\n", argv[1]);
	return 0;
}
