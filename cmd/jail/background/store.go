package background

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Store is the folder with a folder for each sandbox. It must belong to the user and be writable by nobody else.
type Store struct{ Dir string }

// Info is what is known of a sandbox when it has started.
type Info struct {
	Name       string    `json:"name"`
	Profile    string    `json:"profile"`
	Args       []string  `json:"args"`
	Supervisor int       `json:"supervisor"` // process id
	Started    time.Time `json:"started"`
}

// End is how a sandbox ended.
type End struct {
	Code   int       `json:"code"`             // as jail itself would have ended
	Signal string    `json:"signal,omitempty"` // that ended the program
	Ended  time.Time `json:"ended"`
}

// A Sandbox is one of those kept.
type Sandbox struct {
	Info
	Runs bool // its keeper is there
	End  *End // nil while it runs, and when its keeper was killed
	dir  string
}

// Names of the files.
const (
	infoFile = "sandbox"
	logFile  = "log"
	oldFile  = "log.old"
)

// infoLimit is above any real file: a command line alone can have 2 MiB.
const infoLimit = 8 << 20

// List gives what is kept, the oldest first.
func (s Store) List() ([]Sandbox, error) {
	names, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the kept logs: %w", err)
	}
	var all []Sandbox
	for _, n := range names {
		if !n.IsDir() || strings.HasPrefix(n.Name(), ".") {
			continue
		}
		b, err := s.read(n.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, *b)
	}
	slices.SortFunc(all, func(a, b Sandbox) int { return a.Started.Compare(b.Started) })
	return all, nil
}

// read reads one sandbox's file.
func (s Store) read(name string) (*Sandbox, error) {
	b := &Sandbox{dir: filepath.Join(s.Dir, name)}
	f, err := os.Open(filepath.Join(b.dir, infoFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The lock first: what is written before it is let go is there to be read.
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	b.Runs = errors.Is(err, unix.EWOULDBLOCK)
	text, err := io.ReadAll(io.LimitReader(f, infoLimit))
	if err != nil {
		return nil, fmt.Errorf("read the kept logs: %w", err)
	}
	first, second, _ := bytes.Cut(text, []byte("\n"))
	if err := json.Unmarshal(first, &b.Info); err != nil || b.Name != name {
		return nil, fmt.Errorf("%s: not what jail wrote; remove the folder", f.Name())
	}
	if second, _, whole := bytes.Cut(second, []byte("\n")); whole {
		b.End = new(End)
		if err := json.Unmarshal(second, b.End); err != nil {
			return nil, fmt.Errorf("%s: not what jail wrote; remove the folder", f.Name())
		}
		b.Runs = false
	}
	return b, nil
}

// An UnknownError is a name under which nothing is kept, or several things.
type UnknownError struct {
	Text string
	hint string
}

func (e *UnknownError) Error() string { return e.Text }

// Hint gives the remedy.
func (e *UnknownError) Hint() string { return e.hint }

// Find gives the one that name means: its name, else the process id of its jail, else its profile or program where that
// is one's only.
func (s Store) Find(name string) (*Sandbox, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, means := range []func(b *Sandbox) bool{
		func(b *Sandbox) bool { return b.Name == name },
		func(b *Sandbox) bool { return strconv.Itoa(b.Supervisor) == name },
		func(b *Sandbox) bool { return b.Profile == name || len(b.Args) > 0 && path.Base(b.Args[0]) == name },
	} {
		var found []*Sandbox
		for i := range all {
			if means(&all[i]) {
				found = append(found, &all[i])
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return nil, &UnknownError{fmt.Sprintf("%q means %d sandboxes in the background", name, len(found)), "name one of " + names(found)}
		}
	}
	e := &UnknownError{fmt.Sprintf("no sandbox in the background is called %q", name), "jail run --detach starts one; no log of another is kept"}
	if len(all) > 0 {
		var every []*Sandbox
		for i := range all {
			every = append(every, &all[i])
		}
		e.hint = "there are logs of " + names(every)
	}
	return nil, e
}

func names(list []*Sandbox) string {
	const most = 8
	var all []string
	for _, b := range slices.Backward(list) { // the latest first
		if len(all) == most {
			all = append(all, "...")
			break
		}
		all = append(all, b.Name)
	}
	return strings.Join(all, ", ")
}

// Remove removes what is kept of a sandbox that has ended.
func (b *Sandbox) Remove() error {
	if b.Runs {
		return &UnknownError{fmt.Sprintf("the sandbox %s is running", b.Name), "end it first: jail stop " + b.Name}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("remove the log of %s: %w", b.Name, err)
	}
	return nil
}

// most is how many sandboxes that have ended are kept.
const most = 100

// prune removes the oldest of those that have ended, beyond as many as are kept. What cannot be read or removed keeps no
// sandbox from starting.
func (s Store) prune() {
	all, _ := s.List()
	ended := slices.DeleteFunc(all, func(b Sandbox) bool { return b.Runs })
	for ; len(ended) > most; ended = ended[1:] {
		_ = ended[0].Remove()
	}
}
