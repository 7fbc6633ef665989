//go:build cgo

package compile

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"

	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

const (
	// numbersChecked is beyond the last number of every ABI: 471 at present,
	// and 547 for the ones that only x32 has.
	numbersChecked = 1024
	// samplesPerCall bounds the argument values tried on a call with
	// conditions; a list of a few dozen masks stays below it.
	samplesPerCall = 40000
)

// Tokens of other machines and ABIs, and numbers at the ends: a filter must kill
// what it was not made for.
var (
	someTokens  = []uint32{0, 0x40000003, 0xc000003e, 0x40000028, 0xc00000b7, 0xc00000f3, math.MaxUint32}
	someNumbers = []uint32{0, 1, 59, rules.X32Bit - 1, rules.X32Bit, rules.X32Bit + 59, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32 - 1, math.MaxUint32}
)

// verify runs the program over every number of every ABI, and over the argument
// values at which the conditions change their mind, and compares with the plain
// reading of the spec.
func verify(p bpf.Program, tables []rules.Table) error {
	for _, token := range someTokens {
		for _, number := range someNumbers {
			if err := agree(p, tables, &bpf.Call{Number: number, Arch: token}); err != nil {
				return err
			}
		}
	}
	for i := range tables {
		for n := range uint32(numbersChecked) {
			for _, number := range []uint32{n, n | rules.X32Bit} {
				if err := agree(p, tables, &bpf.Call{Number: number, Arch: tables[i].Arch.Token}); err != nil {
					return err
				}
			}
		}
	}
	for i := range tables {
		for _, n := range slices.Sorted(maps.Keys(tables[i].Calls)) {
			if err := verifyArguments(p, tables, &tables[i], n); err != nil {
				return err
			}
		}
	}
	return nil
}

func agree(p bpf.Program, tables []rules.Table, call *bpf.Call) error {
	got, want := p.Run(call), rules.Verdict(tables, call)
	if got == want {
		return nil
	}
	return fmt.Errorf("libseccomp compiled a filter that does not do what the spec says: call %d of architecture %#x with arguments %#x gives %s instead of %s",
		call.Number, call.Arch, call.Args, bpf.ReturnText(got), bpf.ReturnText(want))
}

// verifyArguments starts from values that meet each entry in turn and replaces
// one argument at a time.
func verifyArguments(p bpf.Program, tables []rules.Table, t *rules.Table, number uint32) error {
	entries := t.Calls[number]
	var values [6][]uint64
	for _, e := range entries {
		for _, c := range e.Conds {
			values[c.Index] = append(values[c.Index], turningPoints(c, t.Arch.Narrow)...)
		}
	}
	used, samples := 0, 0
	for i := range values {
		slices.Sort(values[i])
		values[i] = slices.Compact(values[i])
		if len(values[i]) > 0 {
			used++
		}
	}
	bases := [][6]uint64{{}}
	if used > 1 {
		for _, e := range entries {
			bases = append(bases, meeting(e))
		}
	}
	for _, base := range bases {
		for i := range values {
			for _, v := range values[i] {
				if samples++; samples > samplesPerCall {
					return nil
				}
				call := bpf.Call{Number: number, Arch: t.Arch.Token, Args: base}
				call.Args[i] = v
				if err := agree(p, tables, &call); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// meeting gives arguments that meet the simple conditions of an entry.
func meeting(e rules.Entry) (args [6]uint64) {
	for _, c := range e.Conds {
		args[c.Index] = c.Value
		if c.Masked() {
			args[c.Index] = c.Two
		}
	}
	return args
}

// turningPoints are the values around those in a condition, in both halves.
func turningPoints(c rules.Cond, narrow bool) []uint64 {
	v, mask := c.Value, uint64(0)
	if c.Masked() {
		v, mask = c.Two, c.Value
	}
	points := []uint64{0, v, v + 1, v - 1, ^v, v | ^mask, math.MaxUint64, math.MaxUint32, 1 << 32, v ^ 1<<32, v ^ 1<<63, v + 1<<32, v - 1<<32}
	for rest := mask; rest != 0; rest &= rest - 1 {
		points = append(points, v^1<<bits.TrailingZeros64(rest))
	}
	if narrow {
		for i := range points {
			points[i] &= math.MaxUint32
		}
	}
	return points
}
