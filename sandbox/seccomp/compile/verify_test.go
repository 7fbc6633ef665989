//go:build cgo

package compile

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

// defaultSpec is of the kind that the shipped default profile compiles to.
func defaultSpec(t testing.TB) *specs.LinuxSeccomp {
	t.Helper()
	text, err := os.ReadFile("../testdata/default.json")
	if err != nil {
		t.Fatal(err)
	}
	var s specs.LinuxSeccomp
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// A filter in which one instruction does something else must not pass: that is
// what a fault of libseccomp would look like.
func TestVerifySeesEveryAlteredDecision(t *testing.T) {
	t.Parallel()
	spec := defaultSpec(t)
	program, err := tryCompile(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Read(spec)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := set.Tables(number)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(program, tables); err != nil {
		t.Fatal(err)
	}
	tried := 0
	reached := reachable(program)
	for i, in := range program {
		if !reached[i] {
			continue // libseccomp leaves some unused returns at the end
		}
		altered := slices.Clone(program)
		switch in.Code {
		case bpf.Return:
			altered[i].K = bpf.RetErrno | 99
		case bpf.JumpEqual:
			altered[i].K++
		default:
			continue
		}
		tried++
		if err := verify(altered, tables); err == nil {
			// Where the entries of a call cover every value, the default behind
			// them is never returned.
			if in != (bpf.Instruction{Code: bpf.Return, K: set.Default}) {
				t.Errorf("not seen: %v for %v at %d", altered[i], in, i)
			}
		} else if !strings.Contains(err.Error(), "does not do what the spec says") {
			t.Fatal(err)
		}
	}
	if tried < 300 {
		t.Errorf("only %d alterations were tried", tried)
	}
}

// reachable follows the jumps, which all go forward.
func reachable(p bpf.Program) []bool {
	reached := make([]bool, len(p))
	reached[0] = true
	for i, in := range p {
		if !reached[i] {
			continue
		}
		switch in.Code {
		case bpf.Return:
		case bpf.Jump:
			reached[i+1+int(in.K)] = true
		default:
			reached[i+1+int(in.JT)] = true
			reached[i+1+int(in.JF)] = true
		}
	}
	return reached
}

func BenchmarkCompile(b *testing.B) {
	spec := defaultSpec(b)
	for b.Loop() {
		if _, err := tryCompile(b, spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	spec := defaultSpec(b)
	program, err := tryCompile(b, spec)
	if err != nil {
		b.Fatal(err)
	}
	set, err := rules.Read(spec)
	if err != nil {
		b.Fatal(err)
	}
	tables, err := set.Tables(number)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := verify(program, tables); err != nil {
			b.Fatal(err)
		}
	}
}
