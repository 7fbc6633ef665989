package policy

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// constant is a name that may stand for a number in an argument rule.
type constant struct {
	name  string
	value uint64
}

// constants are those of the calls that are worth a rule: sockets, clone and
// unshare, prctl, ioctl on terminals, personality, open, mmap, madvise, fcntl.
var constants = [...]constant{
	{"AF_UNSPEC", unix.AF_UNSPEC}, {"AF_UNIX", unix.AF_UNIX}, {"AF_LOCAL", unix.AF_LOCAL}, {"AF_INET", unix.AF_INET},
	{"AF_INET6", unix.AF_INET6}, {"AF_NETLINK", unix.AF_NETLINK}, {"AF_PACKET", unix.AF_PACKET}, {"AF_VSOCK", unix.AF_VSOCK},
	{"AF_ALG", unix.AF_ALG}, {"AF_BLUETOOTH", unix.AF_BLUETOOTH}, {"AF_CAN", unix.AF_CAN}, {"AF_TIPC", unix.AF_TIPC},
	{"AF_XDP", unix.AF_XDP}, {"AF_KEY", unix.AF_KEY}, {"AF_RDS", unix.AF_RDS}, {"AF_SMC", unix.AF_SMC}, {"AF_QIPCRTR", unix.AF_QIPCRTR},
	{"SOCK_STREAM", unix.SOCK_STREAM}, {"SOCK_DGRAM", unix.SOCK_DGRAM}, {"SOCK_RAW", unix.SOCK_RAW}, {"SOCK_SEQPACKET", unix.SOCK_SEQPACKET},
	{"SOCK_NONBLOCK", unix.SOCK_NONBLOCK}, {"SOCK_CLOEXEC", unix.SOCK_CLOEXEC},
	{"IPPROTO_TCP", unix.IPPROTO_TCP}, {"IPPROTO_UDP", unix.IPPROTO_UDP}, {"IPPROTO_ICMP", unix.IPPROTO_ICMP}, {"IPPROTO_ICMPV6", unix.IPPROTO_ICMPV6},
	{"NETLINK_ROUTE", unix.NETLINK_ROUTE}, {"NETLINK_KOBJECT_UEVENT", unix.NETLINK_KOBJECT_UEVENT}, {"NETLINK_AUDIT", unix.NETLINK_AUDIT}, {"NETLINK_NETFILTER", unix.NETLINK_NETFILTER},
	{"CLONE_NEWUSER", unix.CLONE_NEWUSER}, {"CLONE_NEWNS", unix.CLONE_NEWNS}, {"CLONE_NEWPID", unix.CLONE_NEWPID}, {"CLONE_NEWNET", unix.CLONE_NEWNET},
	{"CLONE_NEWIPC", unix.CLONE_NEWIPC}, {"CLONE_NEWUTS", unix.CLONE_NEWUTS}, {"CLONE_NEWCGROUP", unix.CLONE_NEWCGROUP}, {"CLONE_NEWTIME", unix.CLONE_NEWTIME},
	{"CLONE_VM", unix.CLONE_VM}, {"CLONE_FS", unix.CLONE_FS}, {"CLONE_FILES", unix.CLONE_FILES}, {"CLONE_THREAD", unix.CLONE_THREAD}, {"CLONE_VFORK", unix.CLONE_VFORK},
	{"PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE}, {"PR_SET_NAME", unix.PR_SET_NAME}, {"PR_SET_PTRACER", unix.PR_SET_PTRACER}, {"PR_SET_SECCOMP", unix.PR_SET_SECCOMP},
	{"PR_SET_MM", unix.PR_SET_MM}, {"PR_SET_NO_NEW_PRIVS", unix.PR_SET_NO_NEW_PRIVS}, {"PR_CAPBSET_DROP", unix.PR_CAPBSET_DROP}, {"PR_SET_SECUREBITS", unix.PR_SET_SECUREBITS},
	{"TIOCSTI", unix.TIOCSTI}, {"TIOCLINUX", unix.TIOCLINUX}, {"TIOCSCTTY", unix.TIOCSCTTY}, {"TIOCGWINSZ", unix.TIOCGWINSZ}, {"TIOCSWINSZ", unix.TIOCSWINSZ},
	{"TCGETS", unix.TCGETS}, {"TCSETS", unix.TCSETS}, {"FIONREAD", unix.TIOCINQ}, {"FIONBIO", 0x5421},
	{"PER_LINUX", 0}, {"PER_LINUX32", 8}, {"UNAME26", 0x0020000}, {"ADDR_NO_RANDOMIZE", 0x0040000}, {"READ_IMPLIES_EXEC", 0x0400000},
	{"O_RDONLY", unix.O_RDONLY}, {"O_WRONLY", unix.O_WRONLY}, {"O_RDWR", unix.O_RDWR}, {"O_CREAT", unix.O_CREAT}, {"O_TMPFILE", unix.O_TMPFILE},
	{"PROT_READ", unix.PROT_READ}, {"PROT_WRITE", unix.PROT_WRITE}, {"PROT_EXEC", unix.PROT_EXEC},
	{"MAP_SHARED", unix.MAP_SHARED}, {"MAP_PRIVATE", unix.MAP_PRIVATE}, {"MAP_FIXED", unix.MAP_FIXED}, {"MAP_ANONYMOUS", unix.MAP_ANONYMOUS},
	{"S_IFIFO", unix.S_IFIFO}, {"S_IFCHR", unix.S_IFCHR}, {"S_IFBLK", unix.S_IFBLK}, {"S_IFREG", unix.S_IFREG}, {"S_IFSOCK", unix.S_IFSOCK}, {"S_IFMT", unix.S_IFMT},
	{"F_SETFL", unix.F_SETFL}, {"F_SETFD", unix.F_SETFD}, {"F_DUPFD", unix.F_DUPFD}, {"F_SETLK", unix.F_SETLK},
	{"PTRACE_TRACEME", unix.PTRACE_TRACEME}, {"PTRACE_ATTACH", unix.PTRACE_ATTACH}, {"PTRACE_SEIZE", unix.PTRACE_SEIZE},
}

// parseConstant reads a number (decimal, 0x, 0o) or constants joined by |.
func parseConstant(s string) (uint64, *varError) {
	var value uint64
	for part := range strings.SplitSeq(s, "|") {
		part = strings.TrimSpace(part)
		if n, err := strconv.ParseUint(part, 0, 64); err == nil {
			value |= n
			continue
		}
		if n, err := strconv.ParseInt(part, 0, 64); err == nil {
			value |= uint64(n)
			continue
		}
		found := false
		for i := range constants {
			if constants[i].name == part {
				value, found = value|constants[i].value, true
				break
			}
		}
		if !found {
			names := make([]string, len(constants))
			for i := range constants {
				names[i] = constants[i].name
			}
			return 0, &varError{quote(part) + " is neither a number nor a constant jail knows", orElse(didYouMean(part, names), "write the number, as 0x10")}
		}
	}
	return value, nil
}
