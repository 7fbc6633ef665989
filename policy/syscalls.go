package policy

import (
	"slices"
	"strings"
)

//go:generate go run jail/policy/internal/gensyscalls

// syscallArchs is a set of the machine architectures a system call exists on.
type syscallArchs uint8

const (
	onAMD64 syscallArchs = 1 << iota // x86_64, and x32 with it
	onARM64
	on386
)

// syscallEntry is one line of the table of known system calls.
type syscallEntry struct {
	name  string
	archs syscallArchs
}

// findSyscall returns the index of name in syscallTable.
func findSyscall(name string) (int, bool) {
	return slices.BinarySearchFunc(syscallTable[:], name, func(e syscallEntry, name string) int {
		return strings.Compare(e.name, name)
	})
}

// knownSyscall reports whether any architecture jail knows has a system call of
// that name.
func knownSyscall(name string) bool {
	_, ok := findSyscall(name)
	return ok
}

// syscallNames lists every known system call, sorted.
func syscallNames() []string {
	names := make([]string, len(syscallTable))
	for i := range syscallTable {
		names[i] = syscallTable[i].name
	}
	return names
}

// syscallSet is a set of system calls, one bit for each line of syscallTable.
type syscallSet [(len(syscallTable) + 63) / 64]uint64

func (s *syscallSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *syscallSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// addGroup adds every member of a group, and of the groups it is made of.
func (s *syscallSet) addGroup(g *syscallGroup) {
	for name := range strings.FieldsSeq(g.members) {
		if inner := findSyscallGroup(name); inner != nil {
			s.addGroup(inner)
		} else if i, ok := findSyscall(name); ok {
			s.add(i)
		}
	}
}

// findSyscallGroup returns the group called name ("@file-system"), or nil.
func findSyscallGroup(name string) *syscallGroup {
	if !strings.HasPrefix(name, "@") {
		return nil
	}
	for i := range syscallGroups {
		if syscallGroups[i].name == name {
			return &syscallGroups[i]
		}
	}
	return nil
}

// knownSyscallGroup reports whether name, which starts with "@", is a group.
func knownSyscallGroup(name string) bool { return findSyscallGroup(name) != nil }
