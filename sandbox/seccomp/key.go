package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
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
	b := keyText{hash: sha256.New()}
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
	return b.sum()
}

// keyText is hashed piece by piece: at the start of a process, fresh memory for
// the whole of it costs more than the hash.
type keyText struct {
	hash  hash.Hash
	used  int
	piece [2048]byte
}

func (b *keyText) number(n uint64) {
	b.room(binary.MaxVarintLen64)
	b.used += binary.PutUvarint(b.piece[b.used:], n)
}

func (b *keyText) text(s string) {
	b.number(uint64(len(s)))
	for len(s) > 0 {
		b.room(1)
		n := copy(b.piece[b.used:], s)
		b.used += n
		s = s[n:]
	}
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

func (b *keyText) room(n int) {
	if len(b.piece)-b.used < n {
		b.flush()
	}
}

func (b *keyText) flush() {
	b.hash.Write(b.piece[:b.used])
	b.used = 0
}

func (b *keyText) sum() (key cacheKey) {
	b.flush()
	b.hash.Sum(key[:0])
	return key
}
