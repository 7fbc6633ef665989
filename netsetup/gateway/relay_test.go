package gateway

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSocketReader: whatever sizes come in and whatever part of them the stack has room for, the bytes arrive in order,
// and the end after them.
func TestSocketReader(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	rnd := rand.New(rand.NewPCG(1, 2))
	s := &socketReader{few: make([]byte, fewBytes)}
	var sent, got bytes.Buffer
	drain := func() {
		t.Helper()
		for range 1000 {
			s.look(uintptr(pair[1]))
			if s.have == 0 {
				return
			}
			// The stack takes what it has room for, or nothing at all.
			room := make([]byte, rnd.IntN(s.Len()+1))
			n, err := s.Read(room)
			if err != nil || n > len(room) {
				t.Fatalf("%d of %d bytes: %v", n, len(room), err)
			}
			got.Write(room[:n])
		}
		t.Fatal("the socket does not get empty")
	}
	for _, n := range []int{1, fewBytes - 1, 1, fewBytes, 1, fewBytes + 1, 3 * fewBytes, 1, 1, 64 << 10, fewBytes, 2} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if k, err := unix.Write(pair[0], b); k != n || err != nil {
			t.Fatalf("wrote %d of %d: %v", k, n, err)
		}
		sent.Write(b)
		drain()
		if s.end != nil {
			t.Fatalf("an end after %d bytes: %v", n, s.end)
		}
		if !bytes.Equal(sent.Bytes(), got.Bytes()) {
			t.Fatalf("after %d bytes: %d were sent, %d came, or others", n, sent.Len(), got.Len())
		}
	}
	unix.Close(pair[0])
	if s.look(uintptr(pair[1])); !errors.Is(s.end, io.EOF) {
		t.Errorf("after the end: %v", s.end)
	}
}
