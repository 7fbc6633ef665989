package rules

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var operators = []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
	specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}

// What is called exclusive never holds together, tried on few bits but all of
// their values; and among plain comparisons none is missed.
func TestExclusiveConditionsNeverHoldTogether(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 5))
	pick := func() Cond {
		c := Cond{Op: operators[random.IntN(len(operators))], Value: uint64(random.IntN(16))}
		if c.Masked() {
			c.Value = 1 + uint64(random.IntN(15))
			c.Two = uint64(random.IntN(16)) & c.Value
		}
		return c
	}
	apartSeen := 0
	for range 20000 {
		a, b := pick(), pick()
		together := false
		for v := range uint64(20) {
			together = together || a.holds(v) && b.holds(v)
		}
		switch {
		case apart(&a, &b) && together:
			t.Fatalf("%+v and %+v are called exclusive and are not", a, b)
		case !apart(&a, &b) && !together && !a.Masked() && !b.Masked():
			t.Fatalf("%+v and %+v are exclusive and not seen to be", a, b)
		case apart(&a, &b):
			apartSeen++
		}
	}
	if apartSeen < 1000 {
		t.Errorf("only %d exclusive pairs were tried", apartSeen)
	}
}

func TestExclusiveAtTheEnds(t *testing.T) {
	t.Parallel()
	never := Cond{Op: specs.OpGreaterThan, Value: math.MaxUint64}
	always := Cond{Op: specs.OpGreaterEqual}
	last := Cond{Op: specs.OpEqualTo, Value: math.MaxUint64}
	if !apart(&never, &always) || !apart(&never, &last) || apart(&always, &last) {
		t.Error("the largest value is judged wrongly")
	}
}
