package main

import (
	"fmt"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(a *app) error {
	_, err := fmt.Fprintf(a.out, "jail %s\nOCI runtime spec %s\n%s %s/%s\n",
		version, specs.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
