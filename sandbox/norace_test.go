//go:build !race

package sandbox

const rounds = 200
