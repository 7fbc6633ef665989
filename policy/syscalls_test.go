package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestSyscallTable(t *testing.T) {
	names := syscallNames()
	if !slices.IsSorted(names) || len(names) < 450 {
		t.Fatalf("%d names, sorted: %v", len(names), slices.IsSorted(names))
	}
	for _, n := range []string{"read", "openat2", "clone3", "newfstatat", "stat64", "io_uring_setup"} {
		if !knownSyscall(n) {
			t.Errorf("%s is not known", n)
		}
	}
	for _, n := range []string{"", "raed", "READ", "@default", "fstatat", "arch_specific_syscall"} {
		if knownSyscall(n) {
			t.Errorf("%s is known", n)
		}
	}
}

// A slip in a group's members would grant nothing and say nothing.
func TestSyscallGroupsHoldKnownCalls(t *testing.T) {
	for _, g := range syscallGroups {
		if !strings.HasPrefix(g.name, "@") || g.doc == "" {
			t.Errorf("group %q: %q", g.name, g.doc)
		}
		seen := map[string]bool{}
		for m := range strings.FieldsSeq(g.members) {
			if !knownSyscall(m) && !knownSyscallGroup(m) {
				t.Errorf("%s holds %s, which is neither a call nor a group", g.name, m)
			}
			if seen[m] {
				t.Errorf("%s holds %s twice", g.name, m)
			}
			seen[m] = true
		}
		if len(syscallGroupMembers(g.name)) == 0 {
			t.Errorf("%s is empty", g.name)
		}
	}
	for _, call := range slices.Concat(unfiltered[:], absent[:]) {
		if !knownSyscall(call) {
			t.Errorf("%s is not a known call", call)
		}
	}
	for _, g := range guards {
		if !knownSyscall(g.call) {
			t.Errorf("the guard of %s guards no known call", g.call)
		}
	}
}

// What the default profile must not open, by what it has been used for.
func TestDefaultGroupLeavesOut(t *testing.T) {
	members := syscallGroupMembers("@default")
	for why, calls := range map[string]string{
		"other processes":           "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp migrate_pages move_pages",
		"the kernel's newest parts": "io_uring_setup io_uring_enter io_uring_register userfaultfd bpf perf_event_open",
		"keyrings":                  "add_key keyctl request_key",
		"mounts": "mount umount umount2 mount_setattr move_mount open_tree open_tree_attr fsopen fsmount fsconfig fspick " +
			"pivot_root chroot setns statmount listmount",
		"the machine": "kexec_load kexec_file_load reboot init_module finit_module delete_module iopl ioperm swapon swapoff " +
			"settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname acct quotactl syslog vhangup",
		"old code":         "modify_ldt vm86 vm86old uselib ustat sysfs _sysctl lookup_dcookie nfsservctl",
		"files by handle":  "open_by_handle_at fanotify_init fanotify_mark",
		"a way round args": "clone3",
	} {
		for call := range strings.FieldsSeq(calls) {
			if slices.Contains(members, call) {
				t.Errorf("@default grants %s (%s)", call, why)
			}
			if !knownSyscall(call) {
				t.Errorf("%s is not a known call", call)
			}
		}
	}
}

// syscallGroupMembers lists the system calls of a group, sorted, those of the
// groups inside it included.
func syscallGroupMembers(name string) []string {
	g := findSyscallGroup(name)
	if g == nil {
		return nil
	}
	var set syscallSet
	set.addGroup(g)
	var names []string
	for i := range syscallTable {
		if set.has(i) {
			names = append(names, syscallTable[i].name)
		}
	}
	return names
}
