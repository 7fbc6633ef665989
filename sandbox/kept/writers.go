package kept

import (
	"errors"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// accounts are the files of passwd(5) and group(5). A user that only another source of nsswitch.conf(5) knows is not
// asked for: that takes a C library, and may take a network.
type accounts struct{ passwd, group string }

var machineAccounts = accounts{"/etc/passwd", "/etc/group"}

// unmapped is what the kernel shows for every id that a user namespace does not map: user_namespaces(7).
const unmapped = 65534

// OthersWrite tells whether somebody but its owner, the caller and root may write to a folder, of which fd is any
// descriptor and st what fstat(2) says. Fedora, Ubuntu and Debian give each user a group of their own, and then a umask
// of 0002 (usergroups in pam_umask(8), USERGROUPS_ENAB in login.defs(5)), so that folders as ordinary as ~/.cache
// have the mode 0775 there. Their group does not count as others, if nobody else is in it and no ACL lets more in.
// Debian's ssh(1) judges its configuration in the same way.
//
// It is for folders alone: a file that only jail writes has no reason to be open to any group.
func OthersWrite(fd int, st *unix.Stat_t) bool { return machineAccounts.othersWrite(fd, st) }

func (a accounts) othersWrite(fd int, st *unix.Stat_t) bool {
	switch {
	case st.Mode&0o002 != 0:
		return true
	case st.Mode&0o020 == 0:
		return false
	}
	return mayHaveACL(fd) || !a.private(uint32(unix.Geteuid()), st.Gid)
}

// mayHaveACL tells whether a folder has an ACL, or does not let it be seen. With one, the group's bits of the mode are
// the most that any user and group named in it gets: acl(5). Without write there nobody has it.
func mayHaveACL(fd int) bool {
	// fgetxattr(2) refuses a descriptor of O_PATH.
	_, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(fd), "system.posix_acl_access", nil)
	return !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP)
}

// private tells whether a group is the user's own: their primary one, called like them, as pam_umask(8) has it, and
// nobody else's, which it does not ask. Where that cannot be told it is not. root never has one: some systems' accounts
// for services have its group.
func (a accounts) private(uid, gid uint32) bool {
	if uid == 0 || uid == unmapped || gid == unmapped {
		return false
	}
	user := ""
	for fields := range lines(a.passwd, 7) {
		its, primary := fields[2] == number(uid), fields[3] == number(gid)
		if primary && !its {
			return false
		}
		if its && user == "" {
			if !primary {
				return false
			}
			user = fields[0]
		}
	}
	found := false
	for fields := range lines(a.group, 4) {
		if fields[2] != number(gid) {
			continue
		}
		members := strings.FieldsFunc(fields[3], func(r rune) bool { return r == ',' })
		if fields[0] != user || slices.ContainsFunc(members, func(name string) bool { return name != user }) {
			return false
		}
		found = true
	}
	return found && user != ""
}

func number(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// lines takes the lines of a file apart at their first colons, into so many fields at most. Those of fewer than four say
// nothing about a group; of a file that cannot be read there are none.
func lines(path string, fields int) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		text, err := os.ReadFile(path)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(text)) {
			if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", fields); len(parts) >= 4 && !yield(parts) {
				return
			}
		}
	}
}
