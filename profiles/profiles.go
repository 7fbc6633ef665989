// Package profiles holds the profiles that jail ships, embedded into the binary.
//
// Each file is also an example: it says beside every grant that is not obvious
// why it is there. What is only a part of others lies in fragments:
//
//	base       the system's programs; tool: and the current folder
//	desktop    windows, fonts, themes; sound, graphics, electron beside it
//	internet   public addresses; web: their web sites; registries: hosts by name
//	project    the current folder to work on; toolchains, no-secrets beside it
package profiles

import "embed"

// Files are the shipped profiles, NAME.yaml or fragments/NAME.yaml each, and the
// file programs, an index of the programs they are for ('make docs' writes it).
//
//go:embed programs *.yaml fragments/*.yaml
var Files embed.FS

// Helpers are the profiles of programs that jail itself starts beside a sandbox,
// helpers/NAME.yaml each. No other profile can extend one, and nobody runs them
// by name.
//
//go:embed helpers/*.yaml
var Helpers embed.FS
