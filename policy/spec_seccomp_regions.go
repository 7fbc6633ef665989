package policy

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The OCI list of rules has no order: libseccomp sorts what it is given, an
// unconditional rule swallows every conditional one of the same call whichever
// came first, and a "not equal" exists for whole arguments only, not for masked
// ones. Two conditions on one argument cannot be joined by "and" either
// (libseccomp refuses that, runc and crun turn it into "or"). And libseccomp
// 2.5.4 merges several comparisons by size wrongly: {arg < 5} and {arg >= 9} may
// come out as a filter that lets more pass than either.
//
// So jail writes only equality, of all bits or of some, and conditions of which
// no two can hold at once: whatever order a runtime takes them in, the verdict
// is the same. A region is the set of arguments a condition holds for; regions
// are cut against each other here until none overlap.

// cube is the set of values with value & mask == bits. A mask of 0 means all.
type cube struct{ mask, bits uint64 }

// region is the set of calls whose six arguments each lie in a cube.
type region [6]cube

// meet gives what lies in both cubes.
func (p cube) meet(q cube) (cube, bool) {
	both := p.mask & q.mask
	return cube{p.mask | q.mask, p.bits | q.bits}, p.bits&both == q.bits&both
}

// cutter cuts regions. It goes through the bits of an argument from the one
// called first downwards, and round. Where that begins decides how many pieces
// there are: at 63 ranges of whole arguments stay ranges; at 31, where most
// conditions look at the lower half alone, only the last pieces have an upper half
// that others would cut again.
type cutter struct {
	first int
	limit int // of pieces: what a profile writes decides how long this takes
	// room is written over by each minusAll.
	room *[2][]region
}

// minus adds to out what lies in p and not in q, as cubes that do not overlap:
// one for each bit that q fixes and p leaves open, equal to q in the bits before
// and different in that one.
func (k cutter) minus(p, q cube, out []cube) []cube {
	for i := range 64 {
		bit := uint64(1) << ((k.first - i) & 63)
		if q.mask&bit == 0 || p.mask&bit != 0 {
			continue
		}
		out = append(out, cube{p.mask | bit, p.bits | (^q.bits & bit)})
		p.mask |= bit
		p.bits |= q.bits & bit
	}
	return out
}

// minusRegion adds to out what lies in r and not in s, as regions that do not
// overlap.
func (k cutter) minusRegion(r region, s *region, out []region) []region {
	for i := range r {
		if _, ok := r[i].meet(s[i]); !ok {
			return append(out, r)
		}
	}
	var room [64]cube
	for i := range r {
		for _, p := range k.minus(r[i], s[i], room[:0]) {
			rest := r
			rest[i] = p
			out = append(out, rest)
		}
		r[i], _ = r[i].meet(s[i])
	}
	return out
}

// minusAll takes every region of s away from every region of rs, or reports false
// where the answer grows beyond the limit. The answer is good until the next call.
func (k cutter) minusAll(rs []region, s []region) ([]region, bool) {
	for i := range s {
		rest := k.room[i%2][:0]
		for j := range rs {
			if rest = k.minusRegion(rs[j], &s[i], rest); len(rest) > k.limit {
				return nil, false
			}
		}
		rs, k.room[i%2] = rest, rest
	}
	return rs, true
}

// within tells whether all of r lies in s.
func (r *region) within(s *region) bool {
	for i := range r {
		if s[i].mask&^r[i].mask != 0 || r[i].bits&s[i].mask != s[i].bits {
			return false
		}
	}
	return true
}

// union adds regions to a list, and leaves out those that lie in another.
func union(list, more []region) []region {
	for i := range more {
		if slices.ContainsFunc(list, func(r region) bool { return more[i].within(&r) }) {
			continue
		}
		list = slices.DeleteFunc(list, func(r region) bool { return r.within(&more[i]) })
		list = append(list, more[i])
	}
	return list
}

// regionsOf gives the regions in which all conditions of args hold, none of
// which overlap, or false where they are more than the limit.
func (k cutter) regionsOf(args []SyscallArg) ([]region, bool) {
	regions := []region{{}}
	for _, a := range args {
		var next []region
		for _, p := range k.cubes(&a) {
			for _, r := range regions {
				if both, ok := r[a.Index].meet(p); ok {
					r[a.Index] = both
					next = append(next, r)
				}
			}
		}
		if regions = next; len(regions) > k.limit {
			return nil, false
		}
	}
	return regions, true
}

// cubes gives the values for which a comparison holds.
func (k cutter) cubes(a *SyscallArg) []cube {
	const top = ^uint64(0)
	v := a.Value
	switch a.Op {
	case "masked-eq":
		if a.ValueTwo&^v != 0 {
			return nil // asks for bits outside its mask: never true
		}
		return []cube{{v, a.ValueTwo}}
	case "eq":
		return []cube{{top, v}}
	case "ne":
		return k.minus(cube{}, cube{top, v}, nil)
	case "le":
		return between(0, v)
	case "ge":
		return between(v, top)
	case "lt":
		if v == 0 {
			return nil
		}
		return between(0, v-1)
	case "gt":
		if v == top {
			return nil
		}
		return between(v+1, top)
	}
	panic("comparison " + a.Op + " passed the check of the profile")
}

// between cuts the values from lo to hi, both included, into the fewest cubes:
// blocks that share leading bits.
func between(lo, hi uint64) []cube {
	var out []cube
	for {
		size := uint64(1) // 0 stands for 2^64
		for size != 0 && lo&(size<<1-1) == 0 && hi-lo >= size<<1-1 {
			size <<= 1
		}
		out = append(out, cube{^(size - 1), lo})
		if size == 0 || hi-lo < size {
			return out
		}
		lo += size
	}
}

// fixed counts the arguments that the region depends on.
func (r *region) fixed() int {
	n := 0
	for i := range r {
		if r[i].mask != 0 {
			n++
		}
	}
	return n
}

// appendConditions adds the region in OCI's terms.
func (r *region) appendConditions(out []specs.LinuxSeccompArg) []specs.LinuxSeccompArg {
	for i, c := range r {
		switch c.mask {
		case 0:
		case ^uint64(0):
			out = append(out, specs.LinuxSeccompArg{Index: uint(i), Op: specs.OpEqualTo, Value: c.bits})
		default:
			out = append(out, specs.LinuxSeccompArg{Index: uint(i), Op: specs.OpMaskedEqual, Value: c.mask, ValueTwo: c.bits})
		}
	}
	return out
}
