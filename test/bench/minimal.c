/*
 * The least a sandbox can cost: the namespaces and mounts of
 *
 *   bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp PROGRAM
 *
 * made with as few system calls as the kernel allows, no checks of anything, no options, no supervisor but the wait.
 * It is the floor that the benchmark measures the others against.
 *
 * usage: minimal PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> cannot both be included with Debian 12's C library. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define MNT_DETACH 2
#define AT_RECURSIVE 0x8000

static void
check(int failed, const char *what)
{
	if (failed) {
		fprintf(stderr, "minimal: %s: %s\n", what, strerror(errno));
		_exit(125);
	}
}

static void
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	check(fd < 0, path);
	check(write(fd, text, strlen(text)) < 0, path);
	close(fd);
}

/* Without its loopback up a network namespace is of little use, and bubblewrap brings it up too. */
static void
loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	check(fd < 0, "socket");
	check(ioctl(fd, SIOCSIFFLAGS, &request) < 0, "loopback up");
	close(fd);
}

/* The new root is put together at /tmp: pivot_root(2) needs a mount point that is not the old root. */
static void
root(void)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
	int tree;

	check(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0, "slave /");
	tree = syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	check(tree < 0, "open_tree /");
	/* One call for every mount there is; a loop over them is what costs others time where there are many. */
	check(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &readonly, sizeof readonly) < 0, "mount_setattr");
	check(syscall(SYS_move_mount, tree, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH) < 0, "move_mount");
	close(tree);
	check(chdir("/tmp") < 0, "chdir");
}

static void
devices(void)
{
	static const char *const names[] = { "null", "zero", "full", "random", "urandom", "tty" };
	static const char *const links[][2] = {
		{ "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" }, { "pts/ptmx", "dev/ptmx" },
	};
	char from[32], to[32];

	check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755") < 0, "mount dev");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		int device, file;

		snprintf(from, sizeof from, "/dev/%s", names[i]);
		snprintf(to, sizeof to, "dev/%s", names[i]);
		device = syscall(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		check(device < 0, from);
		file = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
		check(file < 0, to);
		close(file);
		check(syscall(SYS_move_mount, device, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0, to);
		close(device);
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		check(symlink(links[i][0], links[i][1]) < 0, links[i][1]);
	check(mkdir("dev/pts", 0755) < 0 || mkdir("dev/shm", 01777) < 0, "mkdir dev");
	check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620") < 0, "mount dev/pts");
}

static void
inside(uid_t uid, gid_t gid, char **argv)
{
	char map[64];

	check(prctl(PR_SET_PDEATHSIG, SIGKILL) < 0, "pdeathsig");
	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "%u %u 1\n", uid, uid);
	put("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "%u %u 1\n", gid, gid);
	put("/proc/self/gid_map", map);
	loopback_up();
	root();
	check(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0, "mount proc");
	devices();
	check(mount("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") < 0, "mount tmp");
	check(syscall(SYS_pivot_root, ".", ".") < 0, "pivot_root");
	check(umount2(".", MNT_DETACH) < 0, "umount old root");
	check(chdir("/") < 0, "chdir /");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0, "no_new_privs");
	execv(argv[0], argv);
	check(1, argv[0]);
}

int
main(int argc, char **argv)
{
	unsigned long flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
		CLONE_NEWCGROUP | SIGCHLD;
	uid_t uid = getuid();
	gid_t gid = getgid();
	int status;
	pid_t child;

	if (argc < 2) {
		fprintf(stderr, "usage: minimal PROGRAM [ARGUMENT...]\n");
		return 125;
	}
	child = syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	check(child < 0, "clone");
	if (child == 0)
		inside(uid, gid, argv + 1);
	check(waitpid(child, &status, 0) < 0, "wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
