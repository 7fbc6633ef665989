package rules

import (
	"fmt"
	"maps"
	"slices"

	"jail/sandbox/seccomp/bpf"
)

// Table is the plain reading of a spec for one architecture: what a filter must
// answer.
type Table struct {
	Arch    Arch
	Default uint32
	Calls   map[uint32][]Entry // by number; entries that only repeat the default are left out
}

// Tables resolves the names and checks the entries of each call against each
// other.
func (set *Set) Tables(numbers Numbers) ([]Table, error) {
	tables := make([]Table, 0, len(set.Arches))
	for _, a := range set.Arches {
		t := Table{Arch: a, Default: set.Default, Calls: map[uint32][]Entry{}}
		for _, e := range set.Entries {
			number, ok := numbers(e.Name, a)
			if !ok {
				continue
			}
			if len(t.Calls[number]) == maxEntriesPerCall {
				return nil, fmt.Errorf("%s: more than %d entries for %s", e.Place, maxEntriesPerCall, e.Name)
			}
			t.Calls[number] = append(t.Calls[number], e)
		}
		for _, number := range slices.Sorted(maps.Keys(t.Calls)) {
			entries := t.Calls[number]
			if err := compatible(entries, a); err != nil {
				return nil, err
			}
			t.Calls[number] = reduce(entries, set.Default)
			if len(t.Calls[number]) == 0 {
				delete(t.Calls, number)
			}
		}
		tables = append(tables, t)
	}
	return tables, set.unknown(numbers)
}

// unknown finds a name that no architecture of the machine has, and that would
// be stricter treated if it were known: a deny-list with a hole.
func (set *Set) unknown(numbers Numbers) error {
	for _, e := range set.Entries {
		if strictness(e.Action) >= strictness(set.Default) {
			continue
		}
		known := slices.ContainsFunc(machine(), func(a Arch) bool {
			_, ok := numbers(e.Name, a)
			return ok
		})
		if !known {
			return fmt.Errorf("%s: unknown system call %q, which would be left to the default action (%s) though the entry says %s",
				e.Place, e.Name, bpf.ReturnText(set.Default), bpf.ReturnText(e.Action))
		}
	}
	return nil
}

// strictness orders actions as the kernel does between several filters
// (seccomp(2)): signed, the lower one wins.
func strictness(action uint32) int32 {
	return int32(action & bpf.RetActionMask)
}

// compatible refuses entries of one call that contradict each other or that
// the architecture cannot express.
func compatible(entries []Entry, a Arch) error {
	for i := range entries {
		e := &entries[i]
		for _, c := range e.Conds {
			// The argument has 32 bits there, and libseccomp would compare
			// with the low half of the value.
			if a.Narrow && !c.Masked() && c.Value>>32 != 0 {
				return fmt.Errorf("%s (%q): the value %#x does not fit into an argument of %s (compare with SCMP_CMP_MASKED_EQ)", e.Place, e.Name, c.Value, a.Name)
			}
			if a.Narrow && c.Masked() && (c.Two>>32 != 0 || uint32(c.Value) == 0) {
				return fmt.Errorf("%s (%q): the mask %#x does not fit into an argument of %s", e.Place, e.Name, c.Value, a.Name)
			}
		}
		for j := range i {
			other := &entries[j]
			if e.Action != other.Action && !exclusive(e.Conds, other.Conds) {
				return fmt.Errorf("%s and %s both match some calls of %q, one with %s and one with %s (entries of different actions must exclude each other, as no order decides between them)",
					other.Place, e.Place, e.Name, bpf.ReturnText(other.Action), bpf.ReturnText(e.Action))
			}
		}
	}
	return nil
}

// reduce leaves out what changes nothing. libseccomp refuses entries with the
// default action, and ignores conditions beside an entry that has none.
func reduce(entries []Entry, standard uint32) []Entry {
	if i := slices.IndexFunc(entries, func(e Entry) bool { return len(e.Conds) == 0 }); i >= 0 {
		entries = entries[i : i+1]
	}
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.Action == standard })
}

// Verdict is the return value that the spec demands for a call with this
// number and these arguments.
func (t *Table) Verdict(number uint32, args *[6]uint64) uint32 {
	for _, e := range t.Calls[number] {
		if e.matches(args) {
			return e.Action
		}
	}
	return t.Default
}

// Verdict is the return value that the spec demands of a filter.
func Verdict(tables []Table, call *bpf.Call) uint32 {
	for i := range tables {
		if tables[i].Arch.takes(call) {
			return tables[i].Verdict(call.Number, &call.Args)
		}
	}
	return bpf.RetKillProcess
}
