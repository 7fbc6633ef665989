// Package program carries the gateway program inside jail, so that one file is all
// there is to install. Only a sandbox that has a network of its own runs it, from
// the file in which an earlier start has kept it, or else from memory.
package program

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

//go:generate ./generate

// embedded holds the program once `go generate` has made it; before that only the
// README that keeps the folder in git.
//
//go:embed embedded
var embedded embed.FS

const name = "jail-net-gateway"

var memory = sync.OnceValues(open)

// Keep gives a file of that name and size, open for reading and fit to be executed,
// with the content that is given where there is none yet.
type Keep func(name string, size int64, content io.Reader) (*os.File, error)

// Open gives what netsetup.Options.Gateway asks for: the program as keep has it, or,
// without one and where that fails, in memory, where a copy of the program takes
// longer to make than the program to start.
func Open(keep Keep) (file *os.File, args []string, err error) {
	if file, err = kept(keep); err == nil {
		return file, []string{name}, nil
	}
	f, err := memory()
	if err != nil {
		return nil, nil, err
	}
	// One of its own for each start, which closes it.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("the network's gateway: %w", err)
	}
	return os.NewFile(uintptr(fd), name), []string{name}, nil
}

// kept has the program kept under a name that no other build of it has.
func kept(keep Keep) (*os.File, error) {
	if keep == nil {
		return nil, errors.ErrUnsupported
	}
	digest, err := embedded.ReadFile("embedded/" + name + ".sha256")
	if err != nil || len(digest) < 32 {
		return nil, errNotBuilt
	}
	program, err := embedded.Open("embedded/" + name)
	if err != nil {
		return nil, errNotBuilt
	}
	about, err := program.Stat()
	if err != nil {
		return nil, err
	}
	return keep(name+"-"+string(digest[:32]), about.Size(), program)
}

var errNotBuilt = errors.New("this jail was built without its network gateway\nbuild it with `make build`, which runs `go generate ./netsetup/program` first")

// writerOnly hides the file's own ways of copying, which make a buffer of their own.
type writerOnly struct{ io.Writer }

func open() (*os.File, error) {
	program, err := embedded.Open("embedded/" + name)
	if err != nil {
		return nil, errNotBuilt
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, where all were executable
		fd, err = unix.MemfdCreate(name, flags)
	}
	if errors.Is(err, unix.EACCES) { // the sysctl, at 2: Documentation/admin-guide/sysctl/vm.rst
		return nil, fmt.Errorf("the network's gateway: programs in memory are switched off by the sysctl vm.memfd_noexec=2: %w\nsudo sysctl -w vm.memfd_noexec=1", err)
	}
	if err != nil {
		return nil, fmt.Errorf("the network's gateway: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	// Piece by piece: a copy of the whole would touch two thousand fresh pages.
	if _, err := io.CopyBuffer(writerOnly{f}, program, make([]byte, 64<<10)); err != nil {
		f.Close()
		return nil, fmt.Errorf("the network's gateway: write to memory: %w", err)
	}
	// CVE-2019-5736 is what a program that can write to its runtime does.
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("the network's gateway: seal memory: %w", err)
	}
	return f, nil
}
