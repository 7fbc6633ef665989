package rules

import "github.com/opencontainers/runtime-spec/specs-go"

// Numbers finds the number of a name on an architecture. For x32 the number
// includes [X32Bit].
type Numbers func(name string, a Arch) (number uint32, ok bool)

type numbered struct {
	name   string
	number uint32
}

// newer are the calls that libseccomp 2.5.4 does not know, which is all since
// Linux 5.18. Every architecture gives a new call the same number since 5.1.
var newer = []numbered{
	{"cachestat", 451},
	{"fchmodat2", 452},
	{"map_shadow_stack", 453},
	{"futex_wake", 454},
	{"futex_wait", 455},
	{"futex_requeue", 456},
	{"statmount", 457},
	{"listmount", 458},
	{"lsm_get_self_attr", 459},
	{"lsm_set_self_attr", 460},
	{"lsm_list_modules", 461},
	{"mseal", 462},
	{"setxattrat", 463},
	{"getxattrat", 464},
	{"listxattrat", 465},
	{"removexattrat", 466},
	{"open_tree_attr", 467},
	{"file_getattr", 468},
	{"file_setattr", 469},
	{"listns", 470},
	{"rseq_slice_yield", 471},
}

// newerX86_64 are calls of x86_64 alone (not of x32): the trampolines of
// uretprobes (Linux 6.11) and uprobes (6.18).
var newerX86_64 = []numbered{
	{"uretprobe", 335},
	{"uprobe", 336},
}

// i386Direct are the calls of i386 that came beside socketcall(2) and ipc(2), most in
// Linux 4.3 and 5.1. libseccomp cannot name them without the old ones.
var i386Direct = []numbered{
	{"socket", 359}, {"socketpair", 360}, {"bind", 361}, {"connect", 362}, {"listen", 363}, {"accept4", 364},
	{"getsockopt", 365}, {"setsockopt", 366}, {"getsockname", 367}, {"getpeername", 368}, {"sendto", 369},
	{"sendmsg", 370}, {"recvfrom", 371}, {"recvmsg", 372}, {"shutdown", 373}, {"recvmmsg", 337}, {"sendmmsg", 345},
	{"semget", 393}, {"semctl", 394}, {"shmget", 395}, {"shmctl", 396}, {"shmat", 397}, {"shmdt", 398},
	{"msgget", 399}, {"msgsnd", 400}, {"msgrcv", 401}, {"msgctl", 402},
}

// OwnNumber is [Numbers] for the names that libseccomp does not know, or not
// alone.
func OwnNumber(name string, a Arch) (number uint32, ok bool) {
	switch a.Name {
	case specs.ArchX86:
		if number, ok = find(i386Direct, name); ok {
			return number, true
		}
	case specs.ArchX86_64:
		if number, ok = find(newerX86_64, name); ok {
			return number, true
		}
	}
	number, ok = find(newer, name)
	if ok && a.Name == specs.ArchX32 {
		number |= X32Bit
	}
	return number, ok
}

func find(calls []numbered, name string) (number uint32, ok bool) {
	for _, c := range calls {
		if c.name == name {
			return c.number, true
		}
	}
	return 0, false
}
