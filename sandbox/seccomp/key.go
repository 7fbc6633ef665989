package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// cacheKey names a filter by all that decides its code.
type cacheKey [sha256.Size]byte

func (k cacheKey) String() string { return hex.EncodeToString(k[:]) }

// keyOf hashes a spec in a form of its own, in which every text and every list
// comes after its length, so that different specs never read the same. JSON
// would do, at five times the price. What decides nothing about the code is
// left out: the flags, which Filter works out each time, and the listener.
func keyOf(s *specs.LinuxSeccomp, compiler string) cacheKey {
	size := 0
	for i := range s.Syscalls {
		size += 64 + 40*len(s.Syscalls[i].Args)
		for _, name := range s.Syscalls[i].Names {
			size += len(name) + 4
		}
	}
	b := make(keyText, 0, size+512)
	b.text("jail seccomp filter, form 1")
	b.text(runtime.GOARCH)
	b.text(compiler)
	b.text(string(s.DefaultAction))
	b.optional(s.DefaultErrnoRet)
	b.number(uint64(len(s.Architectures)))
	for _, a := range s.Architectures {
		b.text(string(a))
	}
	b.number(uint64(len(s.Syscalls)))
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		b.text(string(call.Action))
		b.optional(call.ErrnoRet)
		b.number(uint64(len(call.Names)))
		for _, name := range call.Names {
			b.text(name)
		}
		b.number(uint64(len(call.Args)))
		for _, arg := range call.Args {
			b.number(uint64(arg.Index))
			b.number(arg.Value)
			b.number(arg.ValueTwo)
			b.text(string(arg.Op))
		}
	}
	return sha256.Sum256(b)
}

type keyText []byte

func (b *keyText) number(n uint64) { *b = binary.AppendUvarint(*b, n) }

func (b *keyText) text(s string) {
	b.number(uint64(len(s)))
	*b = append(*b, s...)
}

// optional tells an absent number from zero.
func (b *keyText) optional(n *uint) {
	if n == nil {
		b.number(0)
		return
	}
	b.number(1)
	b.number(uint64(*n))
}
