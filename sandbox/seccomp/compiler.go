package seccomp

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox/kept"
	"jail/sandbox/seccomp/bpf"
)

// embedded holds the compiler and its hash once `go generate` has made them;
// before that only the README that keeps the folder in git.
//
//go:embed embedded
var embedded embed.FS

const (
	compilerFile = "embedded/jail-seccomp"
	digestFile   = "embedded/jail-seccomp.sha256"
	// patience is above the compiler's own limit of CPU time.
	patience = 2 * time.Minute
	// maxComplaint bounds what is shown of the compiler's standard error.
	maxComplaint = 4096
)

// errNoExec is the failure to start the compiler from one place.
var errNoExec = errors.New("may not be executed")

// compilerDigest tells one build of the compiler from another, libseccomp
// included. Hashing the program itself would take milliseconds.
func compilerDigest() (string, error) {
	digest, err := embedded.ReadFile(digestFile)
	if err != nil {
		return "", errors.New("seccomp: this jail was built without its filter compiler\nhint: build it with `make build`, which runs `go generate ./sandbox/seccomp` first (needs gcc, pkg-config and libseccomp-dev)")
	}
	return string(digest), nil
}

// compile runs the compiler from memory, or, where memory files may not be
// executed (sysctl vm.memfd_noexec, or an LSM), from a file without a name in
// the directory dir, if there is one (-1: none).
func compile(s *specs.LinuxSeccomp, dir int) ([]byte, error) {
	spec, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("pass the spec to the filter compiler: %w", err)
	}
	program, err := embedded.ReadFile(compilerFile)
	if err != nil {
		return nil, fmt.Errorf("find the filter compiler: %w", err)
	}
	code, err := runFrom(memoryFile, program, spec)
	if errors.Is(err, errNoExec) && dir >= 0 {
		inCache := func(program []byte) (*os.File, error) {
			return kept.UnnamedProgram(dir, int64(len(program)), bytes.NewReader(program))
		}
		var second error
		if code, second = runFrom(inCache, program, spec); errors.Is(second, errNoExec) {
			err = fmt.Errorf("%w; from the cache of filters: %w", err, second)
		} else {
			err = second
		}
	}
	if errors.Is(err, errNoExec) {
		return nil, fmt.Errorf("run the filter compiler: %w\nhint: allow files in memory to be executed (sysctl vm.memfd_noexec=1), or let XDG_CACHE_HOME be on a file system without noexec", err)
	}
	if err != nil {
		return nil, err
	}
	if err := bpf.Check(code); err != nil {
		return nil, fmt.Errorf("filter compiler: %w", err)
	}
	return code, nil
}

// runFrom puts the compiler somewhere and runs it.
func runFrom(place func([]byte) (*os.File, error), program, spec []byte) ([]byte, error) {
	f, err := place(program)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoExec, err)
	}
	defer f.Close()
	return run(f, spec)
}

// memoryFile is a sealed memfd_create(2) file.
func memoryFile(program []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("jail-seccomp", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, where all were executable
		fd, err = unix.MemfdCreate("jail-seccomp", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "jail-seccomp in memory")
	if _, err := f.Write(program); err != nil {
		f.Close()
		return nil, fmt.Errorf("write to memory: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal memory: %w", err)
	}
	return f, nil
}

// run starts the compiler with nothing of ours but the three streams: an empty
// environment, no arguments, and death together with jail.
func run(program *os.File, spec []byte) ([]byte, error) {
	// The death signal is tied to the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var p pipes
	defer p.close()
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("run the filter compiler: pipe: %w", err)
	}
	// A child moves what it is given to numbers above all of theirs, with a pipe of its own, before it looks the
	// path up: that of the program has to lie above those (package syscall, forkAndExecInChild).
	least := len(p.child) + 3
	for _, f := range p.child {
		least = max(least, int(f.Fd())+len(p.child)+3)
	}
	fd, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, least)
	if err != nil {
		return nil, fmt.Errorf("run the filter compiler: %w", err)
	}
	defer kept.Close(fd)
	child, err := os.StartProcess("/proc/self/fd/"+strconv.Itoa(fd), []string{"jail-seccomp"}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: p.child[:],
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: %w", errNoExec, err)
	}
	if err != nil {
		return nil, fmt.Errorf("run the filter compiler: %w (is /proc mounted?)", err)
	}
	watchdog := time.AfterFunc(patience, func() { _ = child.Kill() })
	code, complaint, broken := p.talk(spec)
	state, err := child.Wait()
	switch {
	case err != nil:
		return nil, fmt.Errorf("wait for the filter compiler: %w", err)
	case !watchdog.Stop():
		return nil, fmt.Errorf("the filter compiler did not end within %v", patience)
	case state.ExitCode() == 1 && complaint != "":
		return nil, errors.New(complaint)
	case !state.Success():
		return nil, fmt.Errorf("filter compiler: %s (a filter that takes so long or so much memory is refused) %s", state, complaint)
	case broken != nil:
		return nil, fmt.Errorf("talk to the filter compiler: %w", broken)
	}
	return code, nil
}

// pipes are the standard streams of the compiler.
type pipes struct {
	ours, child [3]*os.File
}

func (p *pipes) open() error {
	for i := range p.ours {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		if i == 0 {
			r, w = w, r
		}
		p.ours[i], p.child[i] = r, w
	}
	return nil
}

func (p *pipes) close() {
	for i := range p.ours {
		p.ours[i].Close()
		p.child[i].Close()
	}
}

// talk writes the spec and reads what comes back. The compiler reads all before
// it writes, and a complaint fits into the pipe, so that one after the other
// will do.
func (p *pipes) talk(spec []byte) (code []byte, complaint string, err error) {
	for _, f := range p.child {
		f.Close()
	}
	_, err = p.ours[0].Write(spec)
	p.ours[0].Close()
	code, readErr := io.ReadAll(io.LimitReader(p.ours[1], bpf.MaxInstructions*bpf.InstructionSize+1))
	text, textErr := io.ReadAll(io.LimitReader(p.ours[2], maxComplaint))
	if err == nil {
		err = errors.Join(readErr, textErr)
	}
	return code, strings.TrimSpace(string(bytes.ToValidUTF8(text, []byte("?")))), err
}
