//go:build cgo

package compile

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

// prologue compiles the calls that libseccomp cannot (see beyondLibseccomp). It
// answers those calls and falls through to libseccomp's program for all others,
// at the price of three instructions for most of them, and of none where the
// kernel has seen that a call is always allowed.
func prologue(tables []rules.Table) (bpf.Program, error) {
	var whole bpf.Program
	for i := range tables {
		t := &tables[i]
		numbers := slices.Sorted(maps.Keys(t.Calls))
		body := bpf.Program{{Code: bpf.LoadWord, K: bpf.OffsetNumber}}
		for _, n := range numbers {
			answer, err := answers(t, n)
			if err != nil {
				return nil, err
			}
			body = append(body, skipUnless(bpf.JumpEqual, n, answer)...)
			body = append(body, answer...)
		}
		// Most calls have lower numbers than all of these.
		body = append(bpf.Program{body[0]}, append(skipUnless(bpf.JumpAtLeast, numbers[0], body[1:]), body[1:]...)...)
		whole = append(whole, bpf.Instruction{Code: bpf.LoadWord, K: bpf.OffsetArch})
		whole = append(whole, skipUnless(bpf.JumpEqual, t.Arch.Token, body)...)
		whole = append(whole, body...)
	}
	return whole, nil
}

// skipUnless jumps over block when the test fails. The conditional jumps reach
// 255 instructions, the plain one any distance.
func skipUnless(test uint16, k uint32, block bpf.Program) bpf.Program {
	return bpf.Program{
		{Code: test, K: k, JT: 1},
		{Code: bpf.Jump, K: uint32(len(block))},
	}
}

// answers decides one call: the first entry that matches, else the default.
func answers(t *rules.Table, number uint32) (bpf.Program, error) {
	var p bpf.Program
	for _, e := range t.Calls[number] {
		var entry steps
		for _, c := range e.Conds {
			entry = append(entry, condition(c)...)
		}
		block, err := entry.link()
		if err != nil {
			return nil, fmt.Errorf("%s (%q): %w", e.Place, e.Name, err)
		}
		p = append(append(p, block...), bpf.Instruction{Code: bpf.Return, K: e.Action})
	}
	return append(p, bpf.Instruction{Code: bpf.Return, K: t.Default}), nil
}

// goal is where a test leads.
type goal int

const (
	onward goal = iota // the next instruction
	met                // behind the condition
	failed             // behind the entry
)

// step is an instruction whose jumps are not counted yet.
type step struct {
	in      bpf.Instruction
	yes, no goal
	behind  int // steps to the end of its condition, itself included
}

type steps []step

// condition compares the two halves of an argument with those of a value.
func condition(c rules.Cond) steps {
	low, high := bpf.OffsetArg(c.Index)
	var s steps
	half := func(offset uint32) {
		s = append(s, step{in: bpf.Instruction{Code: bpf.LoadWord, K: offset}})
	}
	test := func(code uint16, k uint32, yes, no goal) {
		s = append(s, step{in: bpf.Instruction{Code: code, K: k}, yes: yes, no: no})
	}
	bits := func(offset uint32, mask, want uint32) {
		if mask == 0 {
			return
		}
		half(offset)
		if mask != math.MaxUint32 {
			s = append(s, step{in: bpf.Instruction{Code: bpf.And, K: mask}})
		}
		test(bpf.JumpEqual, want, onward, failed)
	}
	order := func(last uint16, yes, no goal) {
		half(high)
		test(bpf.JumpGreater, uint32(c.Value>>32), yes, onward)
		test(bpf.JumpEqual, uint32(c.Value>>32), onward, no)
		half(low)
		test(last, uint32(c.Value), yes, no)
	}
	switch c.Op {
	case specs.OpMaskedEqual:
		bits(high, uint32(c.Value>>32), uint32(c.Two>>32))
		bits(low, uint32(c.Value), uint32(c.Two))
	case specs.OpEqualTo:
		bits(high, math.MaxUint32, uint32(c.Value>>32))
		bits(low, math.MaxUint32, uint32(c.Value))
	case specs.OpNotEqual:
		half(high)
		test(bpf.JumpEqual, uint32(c.Value>>32), onward, met)
		half(low)
		test(bpf.JumpEqual, uint32(c.Value), failed, met)
	case specs.OpGreaterThan:
		order(bpf.JumpGreater, met, failed)
	case specs.OpGreaterEqual:
		order(bpf.JumpAtLeast, met, failed)
	case specs.OpLessThan:
		order(bpf.JumpAtLeast, failed, met)
	case specs.OpLessEqual:
		order(bpf.JumpGreater, failed, met)
	}
	for i := range s {
		s[i].behind = len(s) - i
	}
	return s
}

// link counts the jumps. The return of the action follows the last step, and
// what is behind the entry follows that return.
func (s steps) link() (bpf.Program, error) {
	p := make(bpf.Program, len(s))
	for i, st := range s {
		distance := [...]int{onward: 0, met: st.behind - 1, failed: len(s) - i}
		if distance[failed] > math.MaxUint8 {
			return nil, fmt.Errorf("too many comparisons in one entry")
		}
		p[i] = st.in
		if st.in.Code != bpf.LoadWord && st.in.Code != bpf.And {
			p[i].JT, p[i].JF = uint8(distance[st.yes]), uint8(distance[st.no])
		}
	}
	return p, nil
}
