package background

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// half is the size at which log becomes log.old: at most twice as much is kept of a sandbox.
const half = 4 << 20

// A Log is one that is being written.
type Log struct {
	store Store
	dir   string
	info  *os.File // locked
	out   *os.File
	size  int64
	half  int64 // of what may be kept: half
	lost  int   // bytes that could not be written
	why   error // they could not
}

// Begin begins a log for a sandbox that has no name yet.
func (s Store) Begin() (*Log, error) {
	l := &Log{store: s, half: half, dir: filepath.Join(s.Dir, ".begun-"+strconv.Itoa(os.Getpid()))}
	if err := os.RemoveAll(l.dir); err != nil { // of one that was killed and had this process id
		return nil, fmt.Errorf("begin a log: %w", err)
	}
	err := os.Mkdir(l.dir, 0o700)
	if err == nil {
		l.info, err = os.OpenFile(filepath.Join(l.dir, infoFile), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	}
	if err == nil {
		err = unix.Flock(int(l.info.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		l.out, err = os.OpenFile(filepath.Join(l.dir, logFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		l.Discard()
		return nil, fmt.Errorf("begin a log: %w", err)
	}
	return l, nil
}

// Discard removes the log.
func (l *Log) Discard() {
	_ = os.RemoveAll(l.dir)
	for _, f := range []*os.File{l.info, l.out} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Name gives the log to the sandbox that has started. What was kept of an earlier one of that name is replaced.
func (l *Log) Name(info *Info) error {
	if err := l.add(info); err != nil {
		return err
	}
	to := filepath.Join(l.store.Dir, info.Name)
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("replace the log of an earlier %s: %w", info.Name, err)
	}
	if err := os.Rename(l.dir, to); err != nil {
		return fmt.Errorf("name the log: %w", err)
	}
	l.dir = to
	l.store.prune()
	return nil
}

// End says how the sandbox ended, and closes the log.
func (l *Log) End(e *End) error {
	l.tellLost()
	e.Ended = time.Now()
	return errors.Join(l.add(e), l.out.Close(), l.info.Close())
}

// add adds a line to the sandbox's file.
func (l *Log) add(value any) error {
	text, err := json.Marshal(value)
	if err == nil {
		_, err = l.info.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep a log: %w", err)
	}
	return nil
}

// Write keeps text. It never fails, since a program must not suffer from a full disk that it has nothing to do with: what
// could not be kept is counted, and said where the log goes on.
func (l *Log) Write(text []byte) (int, error) {
	if l.lost > 0 {
		l.tellLost()
	}
	l.keep(text)
	return len(text), nil
}

func (l *Log) tellLost() {
	lost := l.lost
	if lost == 0 {
		return
	}
	l.lost = 0
	l.keep(fmt.Appendf(nil, "jail: %d bytes of output were lost here: %v\n", lost, l.why))
	if l.lost > 0 {
		l.lost = lost // still no room
	}
}

func (l *Log) keep(text []byte) {
	if l.size+int64(len(text)) > l.half {
		l.turn()
	}
	n, err := l.out.Write(text)
	l.size += int64(n)
	if err != nil {
		l.lost += len(text) - n
		l.why = err
	}
}

// turn puts the log behind the next one.
func (l *Log) turn() {
	from := filepath.Join(l.dir, logFile)
	err := os.Rename(from, filepath.Join(l.dir, oldFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.why = err
		return // and goes on in the one it has
	}
	next, err := os.OpenFile(from, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		l.why = err
		return
	}
	_ = l.out.Close()
	l.out, l.size = next, 0
}
