package audit

import (
	"embed"
	"errors"
	"fmt"
	"os"
)

//go:generate ./generate

// embedded holds the probe once `go generate` has made it; before that only the README that keeps the folder in git.
//
//go:embed embedded
var embedded embed.FS

const probeName = "jail-probe"

// writeProbe puts the probe into a file.
func writeProbe(path string, mode os.FileMode) error {
	program, err := embedded.ReadFile("embedded/" + probeName)
	if err != nil {
		return errors.New("this jail was built without the probe of its audit\nhint: build it with `make build`, which runs `go generate ./sandbox/audit` first")
	}
	if err := os.WriteFile(path, program, 0o755); err != nil {
		return fmt.Errorf("the audit's probe: %w", err)
	}
	return os.Chmod(path, mode)
}
