/*
 * What a system call costs: prints the nanoseconds of one getppid and of one pread of a byte, the least of several
 * rounds each, so that whatever else the machine does falls out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { rounds = 15, calls = 50000 };

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int
main(void)
{
	double getppid_least = 1e18, pread_least = 1e18;
	int fd = open("/dev/zero", O_RDONLY);
	char byte;

	if (fd < 0) {
		perror("/dev/zero");
		return 1;
	}
	for (int round = 0; round < rounds; round++) {
		double begun = now();
		for (int i = 0; i < calls; i++)
			syscall(SYS_getppid);
		double between = now();
		for (int i = 0; i < calls; i++)
			if (pread(fd, &byte, 1, 0) != 1)
				return 1;
		double ended = now();
		if (between - begun < getppid_least)
			getppid_least = between - begun;
		if (ended - between < pread_least)
			pread_least = ended - between;
	}
	printf("%.2f %.2f\n", getppid_least / calls, pread_least / calls);
	return 0;
}
