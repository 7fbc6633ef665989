package running

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stateFile = "jail-sandbox" // the memfd's name
	sealed    = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
)

// An Entry is this process's sandbox as others find it, for as long as this process lives or until Close.
type Entry struct {
	fd   int
	kept []int
}

// A TakenError is a given name that another running sandbox has.
type TakenError struct {
	Name       string
	Supervisor int // process id of the jail that has it
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("a running sandbox is called %s already (process %d)", e.Name, e.Supervisor)
}

// Hint gives the remedy.
func (e *TakenError) Hint() string {
	return fmt.Sprintf("choose another name, or end that sandbox: jail stop %s", e.Name)
}

// Publish makes this process's sandbox findable. It completes the state: the supervisor, the time, and the name
// where none is given. A given name that is taken is a *TakenError; only a given name costs a look at what runs.
func Publish(s *State) (*Entry, error) {
	s.Supervisor = os.Getpid()
	if s.Started.IsZero() {
		s.Started = time.Now()
	}
	if s.Name == "" {
		s.Name, s.Given = derivedName(s), false
	} else if !IsName(s.Name) {
		return nil, fmt.Errorf("%q is no name of a sandbox: use %s", s.Name, NameRule)
	}
	e := &Entry{fd: -1}
	s.pending = s.Given
	if err := e.Update(s); err != nil {
		return nil, err
	}
	if s.Given {
		if err := claim(s); err != nil {
			e.Close()
			return nil, err
		}
		s.pending = false
		if err := e.Update(s); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// Update tells the state anew. Readers find the old one or the new one, never a part of either.
func (e *Entry) Update(s *State) error {
	text, err := s.encode()
	if err != nil {
		return err
	}
	fd, err := sealedFile(stateFile, text)
	if err != nil {
		return fmt.Errorf("make the sandbox findable: %w", err)
	}
	if e.fd < 0 {
		e.fd = fd
		return nil
	}
	err = unix.Dup3(fd, e.fd, unix.O_CLOEXEC)
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("make the sandbox findable: %w", err)
	}
	return nil
}

// Keep holds text for whoever finds the sandbox and opens label. It cannot be changed any more.
func (e *Entry) Keep(label string, text []byte) error {
	fd, err := sealedFile(labelFile(label), text)
	if err != nil {
		return fmt.Errorf("keep the sandbox's %s: %w", label, err)
	}
	e.kept = append(e.kept, fd)
	return nil
}

// KeepFile holds a file in memory that this process goes on writing to, such as a log. It grows as it is written;
// a bound is the writer's to keep. The file belongs to the entry.
func (e *Entry) KeepFile(label string) (*os.File, error) {
	fd, err := memfd(labelFile(label))
	if err != nil {
		return nil, fmt.Errorf("keep the sandbox's %s: %w", label, err)
	}
	return os.NewFile(uintptr(fd), label), nil
}

// Close makes the sandbox unfindable. The end of the process does the same.
func (e *Entry) Close() {
	for _, fd := range append(e.kept, e.fd) {
		_ = unix.Close(fd)
	}
	e.kept, e.fd = nil, -1
}

func labelFile(label string) string { return "jail-" + label }

// memfd makes one that can never be executed, where the kernel has that (Linux 6.3): the sysctl vm.memfd_noexec may want it.
func memfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		return unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	return fd, err
}

// sealedFile makes a memfd that holds text and can never hold anything else: memfd_create(2), fcntl(2), "File Sealing".
func sealedFile(name string, text []byte) (int, error) {
	fd, err := memfd(name)
	if err != nil {
		return -1, err
	}
	for rest := text; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
		rest = rest[n:]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sealed); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// claim settles who gets a given name. This claim is published already, so of two that look at least one sees the
// other, and the lower process id goes first.
func claim(s *State) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		var waitFor int
		for p, other := range supervisors() {
			p.close()
			switch {
			case other.Supervisor == s.Supervisor || other.Name != s.Name:
			case !other.pending || other.Supervisor < s.Supervisor:
				return &TakenError{s.Name, other.Supervisor}
			default:
				waitFor = other.Supervisor
			}
		}
		if waitFor == 0 {
			return nil
		}
		if time.Now().After(deadline) { // it is stopped, or very slow
			return &TakenError{s.Name, waitFor}
		}
		time.Sleep(time.Millisecond)
	}
}
