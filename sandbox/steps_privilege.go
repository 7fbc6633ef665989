package sandbox

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// capSets is the capability state of the program: capabilities(7).
type capSets struct {
	bounding, effective, permitted, inheritable, ambient capMask
}

// A capMask has bit n for capability n.
type capMask uint64

func (m capMask) has(n int) bool { return m&(1<<n) != 0 }

func (m capMask) String() string {
	if m == 0 {
		return "none"
	}
	var names []string
	for n := 0; n < 64; n++ {
		if m.has(n) {
			names = append(names, capName(n))
		}
	}
	return strings.Join(names, ",")
}

// credentials sets ids and capabilities in the order that lets each be set: the bounding set and the
// securebits while CAP_SETPCAP is there, the ids without losing capabilities, the ambient set before raising
// it is forbidden, and the final sets last.
type credentials struct {
	uid, gid int
	groups   []int
	drop     bool // supplementary groups can be set: user_namespaces(7)
	plain    bool // without CAP_SETPCAP: no bits can be set, and no_new_privs alone keeps an exec from giving anything
	caps     capSets
	lastCap  int
}

func (c credentials) String() string {
	groups := "supplementary groups kept, the kernel lets none be dropped here"
	if c.drop {
		groups = "no supplementary groups"
		if len(c.groups) > 0 {
			groups = "groups " + strings.Trim(fmt.Sprint(c.groups), "[]")
		}
	}
	bits := "securebits locked"
	if c.plain {
		bits = "securebits as they are"
	}
	return fmt.Sprintf("become uid %d gid %d, %s; capabilities: permitted %s, ambient %s; %s",
		c.uid, c.gid, groups, c.caps.permitted, c.caps.ambient, bits)
}

// SECBIT_KEEP_CAPS is cleared and not locked: ping(8) sets it before it drops what it does not have, and ends when it
// may not. It keeps what a process has when its uids change from 0, and so gives nothing: the sets are empty, or the
// profile's, and an exec clears it (capabilities(7)).
const (
	secbitNoRoot           = 1 << 0
	secbitNoSetuidFixup    = 1 << 2
	secbitKeepCaps         = 1 << 4
	secbitNoAmbientRaise   = 1 << 6
	secbitsLocked          = secbitNoRoot | secbitNoRoot<<1 | secbitNoSetuidFixup | secbitNoSetuidFixup<<1 | secbitNoAmbientRaise | secbitNoAmbientRaise<<1
	ambientRaise, allClear = 2, 4 // PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL
)

func (c credentials) lower(a *assembler) {
	if !c.plain {
		a.op(unix.SYS_PRCTL, val(unix.PR_SET_SECUREBITS), val(secbitNoSetuidFixup|secbitKeepCaps), val(0), val(0), val(0))
	}
	if c.drop {
		var list []byte // gid_t
		for _, g := range c.groups {
			list = binary.NativeEndian.AppendUint32(list, uint32(g))
		}
		a.op(unix.SYS_SETGROUPS, val(len(c.groups)), a.bytes(list))
	}
	a.op(unix.SYS_SETRESGID, val(c.gid), val(c.gid), val(c.gid))
	a.op(unix.SYS_SETRESUID, val(c.uid), val(c.uid), val(c.uid))
	a.op(unix.SYS_PRCTL, val(unix.PR_CAP_AMBIENT), val(allClear), val(0), val(0), val(0))
	if c.caps.ambient != 0 {
		setpcap := capMask(1 << unix.CAP_SETPCAP)
		a.capset(capSets{effective: c.caps.effective | setpcap, permitted: c.caps.permitted | setpcap, inheritable: c.caps.inheritable})
		for n := 0; n <= c.lastCap; n++ {
			if c.caps.ambient.has(n) {
				a.op(unix.SYS_PRCTL, val(unix.PR_CAP_AMBIENT), val(ambientRaise), val(n), val(0), val(0))
			}
		}
	}
	if !c.plain {
		a.op(unix.SYS_PRCTL, val(unix.PR_SET_SECUREBITS), val(secbitsLocked), val(0), val(0), val(0))
	}
	a.capset(c.caps)
}

// dropBounding takes every capability out of the bounding set but those to keep, for pid 1 and the program
// alike: capabilities(7).
type dropBounding struct {
	keep    capMask
	lastCap int
}

func (d dropBounding) String() string { return "drop the bounding set but for " + d.keep.String() }
func (d dropBounding) lower(a *assembler) {
	for n := 0; n <= d.lastCap; n++ {
		if !d.keep.has(n) {
			a.op(unix.SYS_PRCTL, val(unix.PR_CAPBSET_DROP), val(n), val(0), val(0), val(0))
		}
	}
}

func (a *assembler) capset(c capSets) {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := &[2]unix.CapUserData{
		{Effective: uint32(c.effective), Permitted: uint32(c.permitted), Inheritable: uint32(c.inheritable)},
		{Effective: uint32(c.effective >> 32), Permitted: uint32(c.permitted >> 32), Inheritable: uint32(c.inheritable >> 32)},
	}
	a.op(unix.SYS_CAPSET, ptr(a, header), ptr(a, sets))
}

// noNewPrivileges makes set-uid and file capabilities dead: prctl(2), PR_SET_NO_NEW_PRIVS.
type noNewPrivileges struct{}

func (noNewPrivileges) String() string { return "set no_new_privs" }
func (noNewPrivileges) lower(a *assembler) {
	a.op(unix.SYS_PRCTL, val(unix.PR_SET_NO_NEW_PRIVS), val(1), val(0), val(0), val(0))
}

// installFilter puts the system-call filter in force: seccomp(2).
type installFilter struct {
	rules string // for a person
	flags uint
}

func (f installFilter) String() string { return "install the system-call filter (" + f.rules + ")" }
func (f installFilter) lower(a *assembler) {
	a.op(unix.SYS_SECCOMP, val(unix.SECCOMP_SET_MODE_FILTER), val(f.flags), a.fprog(a.filter))
}
