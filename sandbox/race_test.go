//go:build race

package sandbox

// The launcher of these tests is the test binary itself, which starts some twenty times slower with the race
// detector in it: fewer rounds find the same races.
const rounds = 20
