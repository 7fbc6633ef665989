// Package escape tries to get out of a sandbox, in the ways that others were got out of: one case for each row of the
// table in docs/threat-model.md, and for the class behind it.
//
// A case runs its attack three times. Under jail, and under jail's own packages as the test calls them, it must fail.
// As root the cases are run once more, with those that only root could do. With the protection taken out it must succeed: the test changes the compiled specification, or deletes steps from the
// plan, and so shows that it is this protection that holds, and that the attack is one. jail itself has nothing in it
// that could be switched off so.
//
// The test binary is also the attacker, started as "attack NAME ARGUMENT...", and the launcher of the weakened plan,
// started as "launch CASE".
package escape

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "attack":
			attack(os.Args[2], os.Args[3:])
		case "launch":
			os.Exit(launch(os.Args[2], len(os.Args) > 3))
		}
	}
	if len(os.Args) > 1 && strings.HasSuffix(os.Args[1], "/starts-the-launcher") {
		fmt.Println("won: the launcher's own program runs inside the sandbox")
		os.Exit(0)
	}
	os.Exit(m.Run())
}
