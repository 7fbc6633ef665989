package policy

import (
	"io/fs"
	"path"
	"strconv"
)

// A profile that is found by its name is believed, so nobody but the caller and root may have had a hand in it: who can
// write a folder of the search path puts a profile of his own, with fewer walls, in the place of any that is shipped.
// ssh(1) treats its files much in the same way. A file that the caller names by its path is the caller's own affair, and
// so is a group that may write: a team may keep its profiles together, and where users have groups of their own what
// they write is open to those. Folders that nobody shares on purpose have a narrower rule, kept.OthersWrite.

// nobodyID is what the kernel shows for a user that a user namespace does not map, such as root: user_namespaces(7).
const nobodyID = 65534

// strangersMay says how somebody else could change what lies at p, a profile or a folder of them, or "". The folders
// above it count, and those above each link on the way. What is not there nobody has changed.
func (l *lookup) strangersMay(h *Host, p string) *Problem {
	f := l.walk(p)
	if f.missing() {
		return nil
	}
	if f.err != nil {
		return &Problem{File: p, Cause: reason(f.err), Fix: "jail must see whose it is: let yourself into the directories above it"}
	}
	if owner := int(f.stat.UID); owner != 0 && owner != h.UID && owner != nobodyID && h.UID != 0 {
		return &Problem{File: f.path, Cause: "belongs to user " + strconv.Itoa(owner) + ", who could loosen your profiles with it", Fix: "chown it, or move it away"}
	}
	if f.stat.Mode&0o002 != 0 {
		return openToAll(f.path)
	}
	for _, at := range append(f.links, f.path) {
		for at != "/" {
			at = path.Dir(at)
			// With the sticky bit, as /tmp has it, the names in it can be changed by their owners alone: inode(7).
			if dir := l.lstat(at); dir.err == nil && dir.stat.Mode&0o002 != 0 && dir.stat.Mode&fs.ModeSticky == 0 {
				return openToAll(at)
			}
		}
	}
	return nil
}

func openToAll(p string) *Problem {
	return &Problem{File: p, Cause: "every user may write here, and so loosen your profiles", Fix: "chmod o-w " + p}
}
