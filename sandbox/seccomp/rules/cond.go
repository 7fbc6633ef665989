package rules

import (
	"math"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/seccomp/bpf"
)

// noCall is the number by which a tracer skips a call; libseccomp leaves it to
// the default action, and the kernel knows no such call.
const noCall = math.MaxUint32

// takes says whether a call came through this architecture. x86_64 and x32
// share a token; the number tells them apart.
func (a *Arch) takes(call *bpf.Call) bool {
	if call.Arch != a.Token {
		return false
	}
	switch a.Name {
	case specs.ArchX86_64:
		return call.Number < X32Bit || call.Number == noCall
	case specs.ArchX32:
		return call.Number >= X32Bit && call.Number != noCall
	}
	return true
}

func (e *Entry) matches(args *[6]uint64) bool {
	for i := range e.Conds {
		if !e.Conds[i].holds(args[e.Conds[i].Index]) {
			return false
		}
	}
	return true
}

// Masked says that Value is a mask and Two what it must leave.
func (c *Cond) Masked() bool { return c.Op == specs.OpMaskedEqual }

func (c *Cond) holds(arg uint64) bool {
	switch c.Op {
	case specs.OpMaskedEqual:
		return arg&c.Value == c.Two
	case specs.OpEqualTo:
		return arg == c.Value
	case specs.OpNotEqual:
		return arg != c.Value
	case specs.OpLessThan:
		return arg < c.Value
	case specs.OpLessEqual:
		return arg <= c.Value
	case specs.OpGreaterEqual:
		return arg >= c.Value
	case specs.OpGreaterThan:
		return arg > c.Value
	}
	return false
}

// exclusive says whether two lists of conditions can be seen never to hold
// together: some argument cannot meet both. It may miss a pair, and never
// calls one exclusive that is not.
func exclusive(a, b []Cond) bool {
	for i := range a {
		for j := range b {
			if a[i].Index == b[j].Index && apart(&a[i], &b[j]) {
				return true
			}
		}
	}
	return false
}

func apart(a, b *Cond) bool {
	maskA, wantA, okA := a.bits()
	maskB, wantB, okB := b.bits()
	if okA && okB {
		return maskA&maskB&(wantA^wantB) != 0
	}
	for _, x := range a.ranges() {
		for _, y := range b.ranges() {
			if x.low <= y.high && y.low <= x.high {
				return false
			}
		}
	}
	return true
}

// bits gives a condition as bits that must have a value.
func (c *Cond) bits() (mask, want uint64, ok bool) {
	switch c.Op {
	case specs.OpMaskedEqual:
		return c.Value, c.Two, true
	case specs.OpEqualTo:
		return math.MaxUint64, c.Value, true
	}
	return 0, 0, false
}

type span struct{ low, high uint64 }

// ranges gives the values that meet a condition, or more than those.
func (c *Cond) ranges() []span {
	full := span{0, math.MaxUint64}
	switch c.Op {
	case specs.OpEqualTo:
		return []span{{c.Value, c.Value}}
	case specs.OpLessEqual:
		return []span{{0, c.Value}}
	case specs.OpGreaterEqual:
		return []span{{c.Value, math.MaxUint64}}
	case specs.OpLessThan, specs.OpGreaterThan, specs.OpNotEqual:
		var spans []span
		if c.Value > 0 && c.Op != specs.OpGreaterThan {
			spans = append(spans, span{0, c.Value - 1})
		}
		if c.Value < math.MaxUint64 && c.Op != specs.OpLessThan {
			spans = append(spans, span{c.Value + 1, math.MaxUint64})
		}
		return spans
	case specs.OpMaskedEqual:
		if c.Value == math.MaxUint64 {
			return []span{{c.Two, c.Two}}
		}
	}
	return []span{full}
}
