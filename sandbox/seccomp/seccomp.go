// Package seccomp turns the seccomp part of an OCI spec into a program for the
// kernel: classic BPF, compiled with libseccomp.
//
// libseccomp needs cgo, which would cost 0.7 ms at each start of jail, and 2 to
// 3 ms for a filter of some hundred calls. So it lives in a small static
// program (jail-seccomp, embedded into this package) that runs only when a
// filter is not in the cache:
//
//	Filter -- key --> cache -- hit -----------------------> Program, some 20 µs
//	             \-- miss --> jail-seccomp < JSON > BPF --> cache, Program
//
// What the entries of a spec mean, what is refused, and how to say "all but
// these values" is told in package rules.
//
// # The cache
//
// A filter that a sandboxed program could write would be no filter. Cached ones
// lie in $XDG_CACHE_HOME/jail/seccomp and are used only when the directories
// and the file are the user's own and nobody else's to write, are reached
// without a symbolic link, and the content is whole. That the directory is
// never writable inside a sandbox, under this or another name, is the
// launcher's part. The name of a file is the hash of all that decides its
// content: the spec, the machine's architecture, and the program that compiled
// it, libseccomp included. A cache that cannot be used costs time and nothing
// else: the filter is compiled anew, and Program.CacheProblem says why.
package seccomp

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/kept"
	"jail/sandbox/seccomp/bpf"
	"jail/sandbox/seccomp/rules"
)

//go:generate ./generate

// Options say where Filter may keep what it compiled.
type Options struct {
	// CacheHome is $XDG_CACHE_HOME, or what the XDG rules put in its place. It
	// may lack and is then created. Empty: nothing is kept.
	CacheHome string
}

// Program is a filter for seccomp(2), operation SECCOMP_SET_MODE_FILTER.
type Program struct {
	Code         []byte // array of struct sock_filter
	Flags        uint32 // SECCOMP_FILTER_FLAG_*
	Cached       bool   // came out of the cache
	CacheProblem error  // why the cache was not used, or could not be written; the filter is good all the same
}

// Len is the number of instructions, for struct sock_fprog.
func (p *Program) Len() int { return len(p.Code) / bpf.InstructionSize }

// Filter compiles a spec, or finds it compiled.
func Filter(s *specs.LinuxSeccomp, o Options) (Program, error) {
	if s == nil {
		return Program{}, errors.New("seccomp: no filter in the spec")
	}
	flags, err := rules.Flags(s.Flags)
	if err != nil {
		return Program{}, fmt.Errorf("seccomp: %w", err)
	}
	digest, err := compilerDigest()
	if err != nil {
		return Program{}, err
	}
	p := Program{Flags: flags}
	key := keyOf(s, digest)
	dir := -1
	if o.CacheHome != "" {
		if dir, err = openCache(o.CacheHome); err != nil {
			p.CacheProblem = err
		} else {
			defer kept.Close(dir)
			p.Code, p.CacheProblem = load(dir, key)
			if p.Code != nil {
				p.Cached = true
				return p, nil
			}
		}
	}
	if p.Code, err = compile(s, dir); err != nil {
		return Program{}, fmt.Errorf("seccomp: %w", err)
	}
	if dir >= 0 {
		if err := store(dir, key, p.Code); err != nil {
			p.CacheProblem = errors.Join(p.CacheProblem, err)
		}
	}
	return p, nil
}
