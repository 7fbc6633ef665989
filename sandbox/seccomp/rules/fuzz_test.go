package rules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/seccomp/bpf"
)

// A spec from anywhere is read or refused; and one that is read gives known
// verdicts, kills what comes by an ABI that was not asked for, and never leaves
// a listed call more open than its entries say.
func FuzzRead(f *testing.F) {
	seeds, err := filepath.Glob("testdata/specs/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s specs.LinuxSeccomp
		if json.Unmarshal(text, &s) != nil {
			return
		}
		set, err := Read(&s)
		if err != nil {
			return
		}
		tables, err := set.Tables(testNumbers)
		if err != nil {
			return
		}
		if got := Verdict(tables, &bpf.Call{Arch: 0xc00000f3}); got != bpf.RetKillProcess {
			t.Errorf("a call of riscv gets %s", bpf.ReturnText(got))
		}
		for i := range tables {
			table := &tables[i]
			for _, number := range []uint32{0, 16, 41, 56, 135, 462, 359} {
				for _, v := range []uint64{0, 1, 0x5412, 1 << 32} {
					args := [6]uint64{v, v, v, v, v, v}
					checkVerdict(t, set, table, number, &args)
				}
			}
		}
	})
}

func checkVerdict(t *testing.T, set *Set, table *Table, number uint32, args *[6]uint64) {
	got := table.Verdict(number, args)
	listed := false
	for i := range set.Entries {
		e := &set.Entries[i]
		if n, ok := testNumbers(e.Name, table.Arch); !ok || n != number || !e.matches(args) {
			continue
		}
		listed = true
		if got != e.Action {
			t.Errorf("%s of %s: call %d with %#x gets %s", e.Place, table.Arch.Name, number, args, bpf.ReturnText(got))
		}
	}
	if !listed && got != set.Default {
		t.Errorf("call %d with %#x of %s is in no entry and gets %s", number, args, table.Arch.Name, bpf.ReturnText(got))
	}
}
