//go:build race

package cgroup

// The race detector puts calls of its own around the watcher's entry from assembly, where there is no goroutine
// that they could ask: under it no watcher lives.
const raceDetector = true
