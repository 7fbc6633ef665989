// Package profiles holds the profiles that jail ships, embedded into the binary.
//
// Each file is also an example: it says beside every grant that is not obvious
// why it is there. What builds on what:
//
//	base ── default        nothing but the system's programs, and a home that is thrown away
//	     ├─ shell          an interactive shell with a home of its own
//	     ├─ build          compilers and package builds in the current folder
//	     └─ desktop        windows, fonts, themes
//	         ├─ document   viewers
//	         └─ browser ── firefox, chromium
package profiles

import "embed"

// Files are the shipped profiles, NAME.yaml each.
//
//go:embed programs *.yaml fragments/*.yaml
var Files embed.FS

// Helpers are the profiles of programs that jail itself starts beside a sandbox,
// helpers/NAME.yaml each. No other profile can extend one, and nobody runs them
// by name.
//
//go:embed helpers/*.yaml
var Helpers embed.FS
