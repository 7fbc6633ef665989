//go:build cgo

package compile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Whatever the spec, libseccomp comes to an end, and what it makes of an
// accepted spec need not be thrown away.
func FuzzSpec(f *testing.F) {
	seeds, err := filepath.Glob("../rules/testdata/specs/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range append(seeds, "../testdata/default.json") {
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
		// libseccomp has been seen to loop for ever.
		watchdog := time.AfterFunc(30*time.Second, func() { panic("no end with " + string(text)) })
		defer watchdog.Stop()
		if _, err := tryCompile(t, &s); err != nil && strings.Contains(err.Error(), "does not do what the spec says") {
			t.Error(err)
		}
	})
}
