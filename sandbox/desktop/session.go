package desktop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/desktop/wayland"
)

// patience is how long a helper may take until it serves. An X server on a loaded machine takes seconds.
const patience = 30 * time.Second

// A Helper is a program of other people that serves the sandbox's program from a sandbox of its own.
type Helper struct {
	What    string   // for messages
	Profile string   // the helper's own profile
	Binds   []string // what it needs beyond that, SOURCE:DESTINATION
	Vars    []string // variables of the profile, NAME=VALUE
	HostNet bool     // a socket it needs has no path, only a name that the network namespace holds
	Room    string   // the room it works in, and where it sees it
	RoomAt  string
	Args    []string
	Streams [3]*os.File // its standard streams
}

// Options is what Connect needs beside the Config.
type Options struct {
	// Rooms are the rooms of Config.Rooms: name to path, as this process sees them.
	Rooms map[string]string
	// Launch runs a helper until its end or until stop is closed, and says how it ended.
	Launch func(h *Helper, stop <-chan struct{}) error
	// Keys gives the keys of a display, in the form of an X authority file that fits any display (Xau(3)).
	Keys func(authority, number string) []byte
	// Open opens a link in the session.
	Open func(link string) error
}

// A Session is what has been connected.
type Session struct {
	config  *Config
	options Options
	parts   []part
	stop    chan struct{}
	ended   sync.WaitGroup // helpers

	mu      sync.Mutex
	notices []string
	closers []io.Closer
}

// A part is one connection on its way.
type part struct {
	what  string
	ready chan error
}

// Connect begins to connect everything at once and does not wait.
func Connect(c *Config, o Options) *Session {
	s := &Session{config: c, options: o, stop: make(chan struct{})}
	begin := func(wanted bool, what string, connect func() error) {
		if !wanted {
			return
		}
		p := part{what, make(chan error, 1)}
		s.parts = append(s.parts, p)
		go func() { p.ready <- connect() }()
	}
	begin(c.Wayland != nil, "the Wayland display", s.wayland)
	begin(c.X11 != nil, "the X11 display of its own", s.xserver)
	begin(c.DBus != nil, "the filter on the message buses", s.buses)
	begin(c.Links != "", "opening links", s.links)
	return s
}

// Ready waits until the program would find everything in its place.
func (s *Session) Ready() error {
	late := time.After(patience)
	for _, p := range s.parts {
		select {
		case err := <-p.ready:
			if err != nil {
				return fmt.Errorf("%s: %w", p.what, err)
			}
		case <-late:
			return fmt.Errorf("%s: not there after %v", p.what, patience)
		}
	}
	return nil
}

// Close ends the helpers and waits for them.
func (s *Session) Close() {
	close(s.stop)
	s.mu.Lock()
	closers := s.closers
	s.mu.Unlock()
	for _, c := range closers {
		_ = c.Close()
	}
	s.ended.Wait()
}

// Notices is what a person should know of the run, to be told at its end.
func (s *Session) Notices() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notices
}

// maxNotices keeps a program from having jail say something without end.
const maxNotices = 10

func (s *Session) notice(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.notices) < maxNotices {
		s.notices = append(s.notices, fmt.Sprintf(format, args...))
	}
}

func (s *Session) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, c)
}

// wayland gives the program a socket of the compositor's behind a security context, or one behind a filter.
func (s *Session) wayland() error {
	c, err := wayland.Offer(s.config.Wayland.Socket, s.options.Rooms[RoomWayland]+"/wayland-0", s.config.App)
	if err != nil {
		return err
	}
	s.keep(c)
	return nil
}

// serve launches a helper whose first words on its end of signal say that it serves, and waits for them. wanted
// tells whether the words are complete.
func (s *Session) serve(h *Helper, signal *os.File, wanted func(string) bool) error {
	log, err := newLog()
	if err != nil {
		return err
	}
	defer log.Close()
	for i, f := range h.Streams {
		if f == nil {
			h.Streams[i] = log
		}
	}
	ended := make(chan error, 1)
	var served atomic.Bool
	s.ended.Add(1)
	go func() {
		defer s.ended.Done()
		err := s.options.Launch(h, s.stop)
		select {
		case <-s.stop:
		default:
			if served.Load() {
				s.notice("%s ended before the program did: %v", h.What, orWord(err, "exit code 0"))
			}
		}
		ended <- err
		// The helper's end of the signal is closed here too, so that reading it ends.
		for _, f := range h.Streams {
			if f != log {
				_ = f.Close()
			}
		}
	}()
	words := make(chan string, 1)
	go func() {
		var text string
		b := make([]byte, 64)
		for !wanted(text) && len(text) < 256 {
			n, err := signal.Read(b)
			if text += string(b[:n]); err != nil {
				break
			}
		}
		words <- text
	}()
	select {
	case text := <-words:
		if wanted(text) {
			served.Store(true)
			return nil
		}
		err = <-ended
	case err = <-ended:
	}
	if last := lastLine(log); last != "" {
		return errors.New(last)
	}
	return orWord(err, "it ended at once")
}

func orWord(err error, word string) error {
	if err == nil {
		return errors.New(word)
	}
	return err
}

// logSize is how much of what a helper says is kept.
const logSize = 16 << 10

// newLog makes a file in memory for what a helper says. It cannot grow, or a program that makes the helper talk
// would fill the memory (memfd_create(2), F_SEAL_GROW).
func newLog() (*os.File, error) {
	fd, err := unix.MemfdCreate("log of a helper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a file for what a helper says: %w", err)
	}
	f := os.NewFile(uintptr(fd), "log of a helper")
	if err = f.Truncate(logSize); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make a file for what a helper says: %w", err)
	}
	return f, nil
}

func lastLine(log *os.File) string {
	text := make([]byte, logSize)
	n, _ := log.ReadAt(text, 0)
	lines := strings.Split(strings.TrimRight(string(text[:n]), "\x00\n"), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
