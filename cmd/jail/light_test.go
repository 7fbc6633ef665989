package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"jail/test/need"
)

// TestNothingHeavyIsLinked: every package of the program is initialised in every start, whether the start uses it or
// not. These are known to cost one, by what they initialise or by how much code they bring; what needs them belongs
// into a program of its own, as the network's gateway is.
func TestNothingHeavyIsLinked(t *testing.T) {
	list := exec.Command(need.Program(t, "go"), "list", "-deps", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	heavy := regexp.MustCompile(`^(net/http|crypto/(tls|x509)|(text|html)/template|gvisor\.dev/.*|github\.com/(google/gopacket|containers/gvisor-tap-vsock|seccomp/libseccomp-golang)(/.*)?|runtime/(pprof|trace)|encoding/(gob|xml)|expvar)$`)
	packages := strings.Fields(string(out))
	if len(packages) < 50 {
		t.Fatalf("only %d packages: %q", len(packages), packages)
	}
	for _, p := range packages {
		if heavy.MatchString(p) {
			t.Errorf("%s is linked in", p)
		}
	}
}
