package background

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Copy writes what is kept of the sandbox's words.
func (b *Sandbox) Copy(w io.Writer) error {
	r := &reader{dir: b.dir}
	defer r.close()
	return r.copy(w)
}

// Follow writes what is kept, and what comes, until the sandbox has ended.
func (b *Sandbox) Follow(w io.Writer) error {
	r := &reader{dir: b.dir}
	defer r.close()
	return b.until(func() error { return r.copy(w) })
}

// Wait waits until the sandbox has ended, and says how. It is nil when nobody was left to tell.
func (b *Sandbox) Wait() (*End, error) {
	err := b.until(func() error { return nil })
	return b.End, err
}

// glance is the time after which the files are looked at in any case: what another machine writes on a network file
// system, and the end of a lock, are told by no event.
const glance = time.Second

// until does something whenever the files change, and once more when the sandbox has ended.
func (b *Sandbox) until(do func() error) error {
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the log: %w", err)
	}
	defer unix.Close(events)
	if _, err := unix.InotifyAddWatch(events, b.dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_CLOSE_WRITE|unix.IN_DELETE_SELF); err != nil {
		return fmt.Errorf("watch the log of %s: %w", b.Name, err)
	}
	store := Store{filepath.Dir(b.dir)}
	for {
		now, err := store.read(filepath.Base(b.dir))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !now.Started.Equal(b.Started) {
			return fmt.Errorf("the log of %s was removed", b.Name)
		}
		if err != nil {
			return err
		}
		*b = *now
		if err := do(); err != nil || !b.Runs {
			return err
		}
		fds := []unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(glance.Milliseconds()))
		var drop [4096]byte
		for {
			if n, err := unix.Read(events, drop[:]); n <= 0 || err != nil {
				break
			}
		}
	}
}

// A reader goes through the two logs while they are written.
type reader struct {
	dir string
	at  *os.File // the one that is read; it may have become log.old
}

func (r *reader) close() {
	if r.at != nil {
		_ = r.at.Close()
	}
}

// copy writes what has not been read yet.
func (r *reader) copy(w io.Writer) error {
	if r.at == nil {
		if err := r.begin(w); err != nil {
			return err
		}
	}
	for {
		// What is there now is looked at before the rest of the one at hand: nothing is added to that once there is
		// another.
		next, err := os.Open(filepath.Join(r.dir, logFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // for a moment there is none
			return fmt.Errorf("read the log: %w", err)
		}
		if _, err := io.Copy(w, r.at); err != nil {
			if next != nil {
				_ = next.Close()
			}
			return err
		}
		if next == nil || same(next, r.at) {
			if next != nil {
				_ = next.Close()
			}
			return nil
		}
		_ = r.at.Close()
		r.at = next
	}
}

// begin opens the log, and writes what came before it.
func (r *reader) begin(w io.Writer) error {
	now, err := os.Open(filepath.Join(r.dir, logFile))
	for range 100 {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		time.Sleep(time.Millisecond) // it is being put behind the next one
		now, err = os.Open(filepath.Join(r.dir, logFile))
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	r.at = now
	old, err := os.Open(filepath.Join(r.dir, oldFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer old.Close()
	if same(old, now) {
		return nil
	}
	_, err = io.Copy(w, old)
	return err
}

func same(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}
