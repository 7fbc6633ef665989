package seccomp

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"jail/sandbox/kept"
	"jail/sandbox/seccomp/bpf"
)

// A cached filter is this mark, a hash of the key and the code, and the code.
// The hash finds files that were cut short or damaged; against somebody who
// can write the directory it is no defence, owner and mode are.
const cacheMark = "jailbpf1"

const (
	cacheHeader  = len(cacheMark) + sha256.Size
	cacheMaxFile = cacheHeader + bpf.MaxInstructions*bpf.InstructionSize
)

// openCache opens the directory of the filters, and makes it where it lacks.
func openCache(home string) (int, error) {
	dir, err := kept.Open(home, "seccomp")
	if err != nil {
		return -1, fmt.Errorf("cache of filters: %w", err)
	}
	return dir, nil
}

// load gives the code of a filter, or nil when it is not there. An error says
// that a file was there and was not fit to be used.
func load(dir int, key cacheKey) ([]byte, error) {
	name := key.String()
	fd, size, err := kept.File(dir, name, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cached filter %s: %w (compiled anew)", name, err)
	}
	if fd < 0 {
		return nil, nil
	}
	defer kept.Close(fd)
	code, err := readFilter(fd, size, key)
	if err != nil {
		return nil, fmt.Errorf("cached filter %s: %w (compiled anew)", name, err)
	}
	return code, nil
}

func readFilter(fd int, size int64, key cacheKey) ([]byte, error) {
	if size <= int64(cacheHeader) || size > int64(cacheMaxFile) {
		return nil, fmt.Errorf("has %d bytes", size)
	}
	text := make([]byte, size)
	for n := 0; n < len(text); {
		got, err := unix.Read(fd, text[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read: %w", err)
		case got == 0:
			return nil, errors.New("cut short")
		}
		n += got
	}
	code := text[cacheHeader:]
	if sum := checksum(key, code); string(text[:len(cacheMark)]) != cacheMark || !bytes.Equal(text[len(cacheMark):cacheHeader], sum[:]) {
		return nil, errors.New("damaged")
	}
	if err := bpf.Check(code); err != nil {
		return nil, err
	}
	return code, nil
}

// checksum binds the code to its key, so that one filter never passes for
// another under its name.
func checksum(key cacheKey, code []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(key[:])
	h.Write(code)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}
