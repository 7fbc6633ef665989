package bpf

import (
	"math"
	"strings"
	"testing"
)

var (
	allow = Instruction{Code: Return, K: RetAllow}
	deny  = Instruction{Code: Return, K: RetErrno | 1}
)

func TestCheckRefusesWhatTheKernelOrWeWouldNotRun(t *testing.T) {
	t.Parallel()
	long := make(Program, MaxInstructions+1)
	for i := range long {
		long[i] = allow
	}
	for _, c := range []struct {
		name    string
		program Program
		want    string
	}{
		{"empty", nil, "not a whole number of instructions"},
		{"too long", long, "over the kernel's limit"},
		{"no return", Program{{Code: LoadWord}}, "does not end with a return"},
		{"load between words", Program{{Code: LoadWord, K: 2}, allow}, "loads from outside of struct seccomp_data"},
		{"load behind the data", Program{{Code: LoadWord, K: 64}, allow}, "loads from outside of struct seccomp_data"},
		{"jump out", Program{{Code: Jump, K: 1}, allow}, "jumps out"},
		{"jump far out", Program{{Code: Jump, K: math.MaxUint32}, allow}, "jumps out"},
		{"branch out when true", Program{{Code: JumpEqual, JT: 1}, allow}, "jumps out"},
		{"branch out when false", Program{{Code: JumpAnyBitIn, JF: 200}, allow}, "jumps out"},
		{"jump from the last", Program{allow, {Code: Jump}}, "jumps out"},
		{"return of the accumulator", Program{{Code: 0x16}}, "(unknown 0x16) has an unexpected code"},
		{"scratch memory", Program{{Code: 0x02}, allow}, "(unknown 0x2) has an unexpected code"},
		{"unknown action", Program{{Code: Return, K: 0x12340000}}, "(return unknown 0x12340000) returns an unknown value"},
		{"a listener that nobody has", Program{{Code: Return, K: RetUserNotif}}, "(return notify) returns an unknown value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Check(c.program.Bytes()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	if err := Check(append(Program{allow}.Bytes(), 0)); err == nil {
		t.Error("a byte too many was not seen")
	}
}

func TestRunFollowsEveryKindOfInstruction(t *testing.T) {
	t.Parallel()
	low, high := OffsetArg(5)
	p, err := Parse(Program{
		{Code: LoadWord, K: OffsetArch},
		{Code: JumpEqual, K: 7, JF: 9}, // else deny
		{Code: LoadWord, K: low},
		{Code: And, K: 0xf0},
		{Code: JumpEqual, K: 0x50, JF: 6},
		{Code: LoadWord, K: high},
		{Code: JumpGreater, K: 10, JF: 4},
		{Code: JumpAtLeast, K: 20, JT: 3},
		{Code: JumpAnyBitIn, K: 1, JT: 2},
		{Code: Jump, K: 0},
		allow,
		deny,
	}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		arch uint32
		arg  uint64
		want uint32
	}{
		{7, 12<<32 | 0xff5f, RetAllow},
		{8, 12<<32 | 0xff5f, RetErrno | 1},
		{7, 12<<32 | 0xff6f, RetErrno | 1},
		{7, 10<<32 | 0x50, RetErrno | 1},
		{7, 20<<32 | 0x50, RetErrno | 1},
		{7, 13<<32 | 0x50, RetErrno | 1},
		{7, 18<<32 | 0x50, RetAllow},
	} {
		call := Call{Arch: c.arch, Args: [6]uint64{5: c.arg}}
		if got := p.Run(&call); got != c.want {
			t.Errorf("arch %d, argument %#x: got %s, want %s\n%s", c.arch, c.arg, ReturnText(got), ReturnText(c.want), p)
		}
	}
}

func TestTextNamesEveryInstruction(t *testing.T) {
	t.Parallel()
	p := Program{
		{Code: LoadWord, K: OffsetNumber}, {Code: LoadWord, K: 28}, {Code: And, K: 15}, {Code: Jump, K: 1},
		{Code: JumpGreater, K: 3, JT: 1}, allow, {Code: Return, K: RetKillProcess},
	}
	const want = `   0  load number
   1  load argument 1 high
   2  and 0xf
   3  goto 5
   4  if > 0x3 goto 6 else 5
   5  return allow
   6  return kill process
`
	if got := p.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Whatever passes the check can be run to its end.
func FuzzParse(f *testing.F) {
	f.Add(Program{allow}.Bytes())
	f.Add(Program{{Code: LoadWord, K: 4}, {Code: JumpEqual, K: 7, JT: 1}, deny, allow}.Bytes())
	f.Add([]byte("\x05\x00\x00\x00\xff\xff\xff\xff\x06\x00\x00\x00\x00\x00\xff\x7f"))
	f.Fuzz(func(t *testing.T, code []byte) {
		p, err := Parse(code)
		if err != nil {
			return
		}
		if string(p.Bytes()) != string(code) {
			t.Errorf("%x became %x", code, p.Bytes())
		}
		for _, word := range []uint64{0, math.MaxUint64} {
			got := p.Run(&Call{Number: uint32(word), Arch: uint32(word), Args: [6]uint64{word, word, word, word, word, word}})
			if !knownReturn(got) {
				t.Errorf("returned %#x", got)
			}
		}
		_ = p.String()
	})
}
