package policy

// syscallGroup is a set of system calls that a profile can grant by one name.
type syscallGroup struct {
	name    string // with the leading "@"
	doc     string // what it is, for `jail explain` and the reference
	members string // system calls and other groups, separated by white space
}

// syscallGroups are the groups a profile may name. All but @default and @userns
// bear the names and hold the members that systemd gives them in
// SystemCallFilter= (systemd.exec(5)), so that what is known there holds here;
// system calls of architectures jail does not run on are left out, newer ones
// stand where they belong. systemd's own @default is @always here, because
// @default is what a profile grants by default.
//
// A group never opens what a guard (syscalls_guards.go) keeps shut.
//
// There is no map and no init: a table of constants costs a start nothing.
var syscallGroups = [...]syscallGroup{
	{"@default", "what ordinary programs need, and nothing that reaches deep into the kernel", `
		@always @basic-io @chown @file-system @io-event @memlock @network-io
		@pkey @sandbox @setuid @signal @sync @timer

		io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
		io_setup io_submit

		ipc memfd_create memfd_secret mq_getsetattr mq_notify mq_open
		mq_timedreceive mq_timedreceive_time64 mq_timedsend
		mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2
		process_madvise semctl semget semop semtimedop semtimedop_time64 shmat
		shmctl shmdt shmget

		capget capset clone execveat fork getrusage kill pidfd_open
		pidfd_send_signal prctl process_mrelease rt_sigqueueinfo
		rt_tgsigqueueinfo tgkill times tkill unshare vfork wait4 waitid
		waitpid

		ioprio_get ioprio_set mbind nice sched_setaffinity sched_setattr
		sched_setparam sched_setscheduler set_mempolicy
		set_mempolicy_home_node setpriority setrlimit

		copy_file_range fadvise64 fadvise64_64 flock get_mempolicy getcpu
		getpriority ioctl madvise map_shadow_stack mincore mremap mseal
		name_to_handle_at oldolduname olduname personality readahead readdir
		remap_file_pages sched_get_priority_max sched_get_priority_min
		sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
		sched_rr_get_interval_time64 sendfile sendfile64 setfsgid setfsgid32
		setfsuid setfsuid32 setpgid setsid splice sysinfo tee umask uname
		vmsplice`},
	// Seen with strace in firefox-esr 140 and chromium 142: both clone their
	// helpers into user, pid, net and ipc namespaces, then chroot one of them
	// to an empty folder of /proc. Neither mounts anything.
	{"@userns", "namespaces for a program that sandboxes its own helpers, as browsers do", `
		chroot clone unshare`},

	{"@aio", "asynchronous I/O, io_uring too", `
		io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
		io_setup io_submit io_uring_enter io_uring_register io_uring_setup`},
	{"@always", "what every process needs to run at all", `
		arch_prctl brk clock_getres clock_getres_time64 clock_gettime
		clock_gettime64 clock_nanosleep clock_nanosleep_time64 execve exit
		exit_group futex futex_requeue futex_time64 futex_wait futex_waitv
		futex_wake get_robust_list get_thread_area getegid getegid32 geteuid
		geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid
		getppid getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
		getsid gettid gettimeofday getuid getuid32 membarrier mmap mmap2
		mprotect munmap nanosleep pause prlimit64 restart_syscall rseq
		rseq_slice_yield rt_sigreturn sched_getaffinity sched_yield
		set_robust_list set_thread_area set_tid_address sigreturn time
		ugetrlimit uprobe uretprobe`},
	{"@basic-io", "reading and writing open files", `
		_llseek close close_range dup dup2 dup3 lseek pread64 preadv preadv2
		pwrite64 pwritev pwritev2 read readv write writev`},
	{"@chown", "changing who owns a file", `
		chown chown32 fchown fchown32 fchownat lchown lchown32`},
	{"@clock", "setting the clock", `
		adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64
		settimeofday`},
	{"@cpu-emulation", "emulating older processors", `
		modify_ldt vm86 vm86old`},
	{"@debug", "debugging and profiling other processes", `
		lookup_dcookie perf_event_open pidfd_getfd ptrace`},
	{"@file-system", "opening, naming, listing and changing files", `
		access chdir chmod close creat faccessat faccessat2 fallocate fchdir
		fchmod fchmodat fchmodat2 fcntl fcntl64 fgetxattr file_getattr
		file_setattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64
		fstatfs fstatfs64 ftruncate ftruncate64 futimesat getcwd getdents
		getdents64 getxattr getxattrat inotify_add_watch inotify_init
		inotify_init1 inotify_rm_watch lgetxattr link linkat listxattr
		listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir
		mkdirat mknod mknodat newfstatat oldfstat oldlstat
		oldstat open openat openat2 readlink readlinkat removexattr
		removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat
		stat64 statfs statfs64 statx symlink symlinkat truncate truncate64
		unlink unlinkat utime utimensat utimensat_time64 utimes`},
	{"@io-event", "waiting for events on files", `
		_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old
		epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
		poll ppoll ppoll_time64 pselect6 pselect6_time64 select`},
	{"@ipc", "pipes, shared memory and message queues", `
		ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive
		mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
		msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise
		process_vm_readv process_vm_writev semctl semget semop semtimedop
		semtimedop_time64 shmat shmctl shmdt shmget`},
	{"@keyring", "the kernel's keyring", `
		add_key keyctl request_key`},
	{"@memlock", "locking memory", `
		mlock mlock2 mlockall munlock munlockall`},
	{"@module", "loading kernel modules", `
		delete_module finit_module init_module`},
	{"@mount", "changing what is mounted where", `
		chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount
		open_tree open_tree_attr pivot_root umount umount2`},
	{"@network-io", "sockets", `
		accept accept4 bind connect getpeername getsockname getsockopt listen
		recvfrom recvmmsg recvmmsg_time64 recvmsg sendmmsg sendmsg sendto
		setsockopt shutdown socket socketcall socketpair`},
	{"@obsolete", "calls the kernel hardly serves any more", `
		_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms
		getpmsg gtty idle lock mpx prof profil putpmsg query_module security
		sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat vserver`},
	{"@pkey", "memory protection keys", `
		pkey_alloc pkey_free pkey_mprotect`},
	{"@privileged", "what is of use with capabilities only", `
		@chown @clock @module @raw-io @reboot @swap
		_sysctl acct bpf capset chroot fanotify_init fanotify_mark nfsservctl
		open_by_handle_at pivot_root quotactl quotactl_fd setdomainname
		setfsuid setfsuid32 setgroups setgroups32 sethostname setresuid
		setresuid32 setreuid setreuid32 setuid setuid32 vhangup`},
	{"@process", "starting, signalling and awaiting processes", `
		capget clone clone3 execveat fork getrusage kill pidfd_open
		pidfd_send_signal prctl rt_sigqueueinfo rt_tgsigqueueinfo setns tgkill
		times tkill unshare vfork wait4 waitid waitpid`},
	{"@raw-io", "ports and buses of the machine", `
		ioperm iopl`},
	{"@reboot", "restarting the machine", `
		kexec_file_load kexec_load reboot`},
	{"@resources", "priorities, memory and processor placement", `
		ioprio_set mbind migrate_pages move_pages nice sched_setaffinity
		sched_setattr sched_setparam sched_setscheduler set_mempolicy
		set_mempolicy_home_node setpriority setrlimit`},
	{"@sandbox", "limiting oneself further", `
		landlock_add_rule landlock_create_ruleset landlock_restrict_self
		seccomp`},
	{"@setuid", "changing the user and group ids", `
		setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid
		setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32`},
	{"@signal", "handling signals", `
		rt_sigaction rt_sigpending rt_sigprocmask rt_sigsuspend rt_sigtimedwait
		rt_sigtimedwait_time64 sigaction sigaltstack signal signalfd signalfd4
		sigpending sigprocmask sigsuspend`},
	{"@swap", "swap space", `
		swapoff swapon`},
	{"@sync", "flushing files to disk", `
		fdatasync fsync msync sync sync_file_range syncfs`},
	{"@system-service", "what systemd grants an ordinary service", `
		@aio @always @basic-io @chown @file-system @io-event @ipc @keyring
		@memlock @network-io @process @resources @setuid @signal @sync @timer
		capget capset copy_file_range fadvise64 fadvise64_64 flock
		get_mempolicy getcpu getpriority ioctl ioprio_get kcmp madvise mremap
		name_to_handle_at oldolduname olduname personality readahead readdir
		remap_file_pages sched_get_priority_max sched_get_priority_min
		sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
		sched_rr_get_interval_time64 sendfile sendfile64 setfsgid setfsgid32
		setfsuid setfsuid32 setpgid setsid splice sysinfo tee umask uname
		userfaultfd vmsplice`},
	{"@timer", "alarms and timers", `
		alarm getitimer setitimer timer_create timer_delete timer_getoverrun
		timer_gettime timer_gettime64 timer_settime timer_settime64
		timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
		timerfd_settime64 times`},
}
