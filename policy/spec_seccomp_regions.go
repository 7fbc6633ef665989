package policy

import "github.com/opencontainers/runtime-spec/specs-go"

// The OCI list of rules has no order: libseccomp sorts what it is given, an
// unconditional rule swallows every conditional one of the same call whichever
// came first, and a "not equal" exists for whole arguments only, not for masked
// ones. Two conditions on one argument cannot be joined by "and" either
// (libseccomp refuses that, runc and crun turn it into "or").
//
// So jail writes conditions of which no two can hold at once, and together they
// cover every argument: whatever order a runtime takes them in, the verdict is
// the same. A `region` is the set of arguments a condition holds for; regions
// are cut against each other here until none overlap.

// piece is a set of values of one argument.
type piece struct {
	kind pieceKind
	// span: lo to hi, both included. cube: mask and value.
	a, b uint64
}

type pieceKind uint8

const (
	whole pieceKind = iota // every value
	span                   // a <= value <= b
	cube                   // value & a == b
)

// region is the set of calls whose arguments lie in all six pieces.
type region [6]piece

// intersect gives what lies in both pieces. Two pieces of one argument are of
// the same kind, or whole: argShapes sees to it.
func (p piece) intersect(q piece) (piece, bool) {
	switch {
	case p.kind == whole:
		return q, true
	case q.kind == whole:
		return p, true
	case p.kind == span:
		r := piece{span, max(p.a, q.a), min(p.b, q.b)}
		return r, r.a <= r.b
	}
	both := p.a & q.a
	return piece{cube, p.a | q.a, p.b | q.b}, p.b&both == q.b&both
}

// minus adds to out what lies in p and not in q, as pieces that do not overlap.
func (p piece) minus(q piece, out []piece) []piece {
	if q.kind == whole {
		return out
	}
	if q.kind == span {
		if p.kind == whole {
			p = piece{span, 0, ^uint64(0)}
		}
		if q.a > p.a {
			out = append(out, piece{span, p.a, min(p.b, q.a-1)})
		}
		if q.b < p.b {
			out = append(out, piece{span, max(p.a, q.b+1), p.b})
		}
		return out
	}
	if p.kind == whole {
		p = piece{cube, 0, 0}
	}
	// One piece for each bit that q fixes and p leaves open: equal to q in the
	// bits before, different in that one. The lower half goes first because most
	// conditions look at nothing else; then only the last pieces have an upper
	// half that others would cut again.
	for i := range 64 {
		bit := uint64(1) << ((31 - i) & 63)
		if q.a&bit == 0 || p.a&bit != 0 {
			continue
		}
		out = append(out, piece{cube, p.a | bit, p.b | (^q.b & bit)})
		p.a |= bit
		p.b |= q.b & bit
	}
	return out
}

// minus adds to out what lies in r and not in s, as regions that do not overlap.
func (r region) minus(s *region, out []region) []region {
	for i := range r {
		if _, meet := r[i].intersect(s[i]); !meet {
			return append(out, r)
		}
	}
	var room [64]piece
	for i := range r {
		for _, p := range r[i].minus(s[i], room[:0]) {
			rest := r
			rest[i] = p
			out = append(out, rest)
		}
		r[i], _ = r[i].intersect(s[i])
	}
	return out
}

// minusAll takes every region of s away from every region of rs. It reports
// false where the answer grows beyond limit: what a profile writes decides how
// long this takes, so it must end.
func minusAll(rs []region, s []region, limit int) ([]region, bool) {
	var spare []region // the list before last, to be written over
	for i := range s {
		rest := spare[:0]
		for j := range rs {
			if rest = rs[j].minus(&s[i], rest); len(rest) > limit {
				return nil, false
			}
		}
		spare, rs = rs, rest
		if i == 0 {
			spare = nil // the caller's
		}
	}
	return rs, true
}

// argShapes says for each argument whether any condition of a call masks it.
// Then all its conditions become cubes; otherwise they stay spans, which are
// fewer and easier to read.
type argShapes [6]bool

func (m *argShapes) note(args []SyscallArg) {
	for _, a := range args {
		if a.Op == "masked-eq" {
			m[a.Index] = true
		}
	}
}

// regionsOf gives the regions that all conditions of args hold in, or false
// where they are more than limit.
func (m *argShapes) regionsOf(args []SyscallArg, limit int) ([]region, bool) {
	regions := []region{{}}
	for _, a := range args {
		var next []region
		for _, p := range m.pieces(a) {
			for _, r := range regions {
				if both, ok := r[a.Index].intersect(p); ok {
					r[a.Index] = both
					next = append(next, r)
				}
			}
		}
		if regions = next; len(regions) > limit {
			return nil, false
		}
	}
	return regions, true
}

func (m *argShapes) pieces(a SyscallArg) []piece {
	const top = ^uint64(0)
	var spans []piece
	below, above := piece{span, 0, a.Value - 1}, piece{span, a.Value + 1, top}
	switch a.Op {
	case "masked-eq":
		if a.ValueTwo&^a.Value != 0 {
			return nil // asks for bits outside its mask: never true
		}
		return []piece{{cube, a.Value, a.ValueTwo}}
	case "eq":
		spans = []piece{{span, a.Value, a.Value}}
	case "le":
		spans = []piece{{span, 0, a.Value}}
	case "ge":
		spans = []piece{{span, a.Value, top}}
	case "ne", "lt", "gt":
		if a.Op != "gt" && a.Value > 0 {
			spans = append(spans, below)
		}
		if a.Op != "lt" && a.Value < top {
			spans = append(spans, above)
		}
	}
	if !m[a.Index] {
		return spans
	}
	var cubes []piece
	for _, s := range spans {
		cubes = append(cubes, s.cubes()...)
	}
	return cubes
}

// cubes cuts a span into the fewest blocks that share leading bits.
func (p piece) cubes() []piece {
	var out []piece
	for lo := p.a; ; {
		size := uint64(1) // 0 stands for 2^64
		for size != 0 && lo&(size<<1-1) == 0 && p.b-lo >= size<<1-1 {
			size <<= 1
		}
		out = append(out, piece{cube, ^(size - 1), lo})
		if size == 0 || p.b-lo < size {
			return out
		}
		lo += size
	}
}

// conditions gives a region in OCI's terms: lists of conditions, each of which
// says "and" within itself; the lists together are the region. It reports false
// where there are more than limit.
func (r region) conditions(limit int) ([][]specs.LinuxSeccompArg, bool) {
	lists := [][]specs.LinuxSeccompArg{nil}
	for i, p := range r {
		args := p.conditions(uint(i))
		if args == nil {
			continue
		}
		var next [][]specs.LinuxSeccompArg
		for _, list := range lists {
			for _, a := range args {
				next = append(next, append(list[:len(list):len(list)], a))
			}
		}
		if lists = next; len(lists) > limit {
			return nil, false
		}
	}
	return lists, true
}

// conditions gives the comparisons of which one holds when the value lies in p;
// nil where every value does.
func (p piece) conditions(index uint) []specs.LinuxSeccompArg {
	const top = ^uint64(0)
	one := func(op specs.LinuxSeccompOperator, value, two uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: index, Value: value, ValueTwo: two, Op: op}}
	}
	switch {
	case p.kind == whole, p.kind == span && p.a == 0 && p.b == top, p.kind == cube && p.a == 0:
		return nil
	case p.kind == cube: // what nearly every piece of a masked condition is
		return one(specs.OpMaskedEqual, p.a, p.b)
	case p.a == p.b:
		return one(specs.OpEqualTo, p.a, 0)
	case p.a == 0:
		return one(specs.OpLessEqual, p.b, 0)
	case p.b == top:
		return one(specs.OpGreaterEqual, p.a, 0)
	}
	var out []specs.LinuxSeccompArg
	for _, c := range p.cubes() {
		out = append(out, c.conditions(index)...)
	}
	return out
}
