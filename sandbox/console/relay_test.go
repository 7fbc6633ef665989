package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUndoNewlines(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"no newline", "abc", "abc"},
		{"one line", "abc\r\n", "abc\n"},
		{"empty lines", "\r\n\r\n", "\n\n"},
		{"the program's own return stays", "abc\r\r\n", "abc\r\n"},
		{"a progress line", "10%\r20%\r", "10%\r20%\r"},
		{"a newline without a return", "a\nb", "a\nb"},
		{"returns at both ends", "\ra\r\n\r", "\ra\n\r"},
	} {
		if got := undoNewlines([]byte(test.in)); string(got) != test.want {
			t.Errorf("%s: %q gives %q, want %q", test.name, test.in, got, test.want)
		}
	}
}

func TestRawPassesEveryByte(t *testing.T) {
	_, slave := pty(t)
	now, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	set := raw(*now)
	if !isRaw(set) || set.Cc[unix.VMIN] != 1 || set.Cc[unix.VTIME] != 0 {
		t.Errorf("not raw: %+v", set)
	}
	if isRaw(*now) {
		t.Error("raw changed what it was given")
	}
}

func pty(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, slave, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// pair is a console between two terminals within this process. The outer one
// does not control our session, so the console always is in its foreground.
type pair struct {
	*Console
	user, tty       *os.File // both sides of the outer terminal
	program, master *os.File // both sides of the inner one
	signals         chan syscall.Signal
}

func newPair(t testing.TB, streams func(tty *os.File) [3]*os.File) *pair {
	t.Helper()
	p := &pair{signals: make(chan syscall.Signal, 8)}
	p.user, p.tty = pty(t)
	p.master, p.program = pty(t)
	c, err := Open(streams(p.tty))
	if err != nil {
		t.Fatal(err)
	}
	p.Console = c
	t.Cleanup(c.Close)
	return p
}

func (p *pair) attach(t testing.TB) {
	t.Helper()
	if err := p.Attach(p.master, Hooks{Signal: func(s syscall.Signal) { p.signals <- s }}); err != nil {
		t.Fatal(err)
	}
}

func all(tty *os.File) [3]*os.File { return [3]*os.File{tty, tty, tty} }

func settingsOf(t testing.TB, f *os.File) unix.Termios {
	t.Helper()
	got, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *got
}

func TestOpenLooksAtEachStream(t *testing.T) {
	_, tty := pty(t)
	_, other := pty(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, test := range []struct {
		name     string
		streams  [3]*os.File
		replaced [3]bool
		front    bool
	}{
		{"all are the terminal", [3]*os.File{tty, tty, tty}, [3]bool{true, true, true}, true},
		{"output to a file", [3]*os.File{tty, null, tty}, [3]bool{true, false, true}, true},
		{"output to a pipe", [3]*os.File{tty, writer, tty}, [3]bool{true, false, true}, false},
		{"input from a pipe", [3]*os.File{reader, tty, tty}, [3]bool{false, true, true}, false},
		{"no input", [3]*os.File{null, tty, tty}, [3]bool{false, true, true}, false},
		{"closed input", [3]*os.File{nil, tty, tty}, [3]bool{false, true, true}, false},
		{"errors only", [3]*os.File{reader, writer, tty}, [3]bool{false, false, true}, false},
		{"two terminals", [3]*os.File{tty, other, nil}, [3]bool{true, true, false}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := Open(test.streams)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Replaced() != test.replaced || c.Foreground() != test.front {
				t.Errorf("replaced %v, foreground %v; want %v, %v", c.Replaced(), c.Foreground(), test.replaced, test.front)
			}
			if c.outer.fd < 3 {
				t.Errorf("the terminal is held as descriptor %d", c.outer.fd)
			}
		})
	}
	if _, err := Open([3]*os.File{reader, writer, null}); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("without a terminal the error is %v", err)
	}
}

func TestCloseRestoresAtAnyTime(t *testing.T) {
	t.Run("before Attach", func(t *testing.T) {
		p := newPair(t, all)
		before := settingsOf(t, p.tty)
		p.Close()
		p.Close()
		if settingsOf(t, p.tty) != before {
			t.Error("Open changed the terminal's settings")
		}
	})
	t.Run("after Attach", func(t *testing.T) {
		p := newPair(t, all)
		before := settingsOf(t, p.tty)
		p.attach(t)
		if !isRaw(settingsOf(t, p.tty)) {
			t.Fatal("the terminal is not raw")
		}
		p.Close()
		p.Close()
		if settingsOf(t, p.tty) != before {
			t.Error("Close does not restore the terminal's settings")
		}
		if err := p.Suspend(unix.SIGTSTP); !errors.Is(err, ErrClosed) {
			t.Errorf("Suspend after Close answers %v", err)
		}
		if err := p.Drain(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("Drain after Close answers %v", err)
		}
	})
	t.Run("after settings that others made", func(t *testing.T) {
		p := newPair(t, all)
		p.attach(t)
		theirs := settingsOf(t, p.tty)
		theirs.Lflag |= unix.ECHO
		if err := unix.IoctlSetTermios(int(p.tty.Fd()), unix.TCSETS, &theirs); err != nil {
			t.Fatal(err)
		}
		p.Close()
		if settingsOf(t, p.tty) != theirs {
			t.Error("Close overrules settings that are not the console's")
		}
	})
}

// Two jails in a pipeline may both have the terminal and end in either order.
func TestTwoConsolesOnOneTerminal(t *testing.T) {
	for _, firstEndsFirst := range []bool{true, false} {
		p := newPair(t, all)
		before := settingsOf(t, p.tty)
		p.attach(t)
		second, err := Open(all(p.tty))
		if err != nil {
			t.Fatal(err)
		}
		master, _ := pty(t)
		if err := second.Attach(master, Hooks{}); err != nil {
			t.Fatal(err)
		}
		if firstEndsFirst {
			p.Close()
			second.Close()
		} else {
			second.Close()
			p.Close()
		}
		if settingsOf(t, p.tty) != before {
			t.Errorf("first ends first %v: the settings are not those before", firstEndsFirst)
		}
	}
}

func TestSettingsReachTheSlaveThatIsNotReady(t *testing.T) {
	p := newPair(t, func(tty *os.File) [3]*os.File {
		theirs := settingsOf(t, tty)
		theirs.Cc[unix.VERASE] = 11
		_ = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &theirs)
		_ = unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 7, Col: 9, Xpixel: 70, Ypixel: 90})
		return all(tty)
	})
	before := settingsOf(t, p.tty)
	p.attach(t)
	if got := settingsOf(t, p.program); got != before {
		t.Errorf("inside the settings are %+v, want %+v", got, before)
	}
	size, err := unix.IoctlGetWinsize(int(p.program.Fd()), unix.TIOCGWINSZ)
	if err != nil || *size != (unix.Winsize{Row: 7, Col: 9, Xpixel: 70, Ypixel: 90}) {
		t.Errorf("inside the size is %v (%v)", size, err)
	}
}

func TestBytesPassUnchangedBothWays(t *testing.T) {
	p := newPair(t, all)
	p.attach(t)
	set := raw(settingsOf(t, p.program))
	if err := unix.IoctlSetTermios(int(p.program.Fd()), unix.TCSETS, &set); err != nil {
		t.Fatal(err)
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, way := range []struct {
		name     string
		from, to *os.File
	}{{"keys", p.user, p.program}, {"output", p.program, p.user}} {
		if _, err := way.from.Write(every); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(every))
		if _, err := io.ReadFull(way.to, got); err != nil || !bytes.Equal(got, every) {
			t.Errorf("%s arrive as %q (%v)", way.name, got, err)
		}
	}
}

// A sandbox whose start failed never handed its terminal over: nobody is there to answer.
func TestWithoutTheSandboxsTerminalNothingIsWaitedFor(t *testing.T) {
	_, slave := pty(t)
	c, err := Open([3]*os.File{slave, nil, nil})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Drain(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Drain: %v", err)
	}
	suspended := make(chan error, 1)
	go func() { suspended <- c.Suspend(unix.SIGTSTP) }()
	select {
	case err := <-suspended:
		if !errors.Is(err, ErrClosed) {
			t.Errorf("Suspend: %v", err)
		}
	case <-ctx.Done():
		t.Error("Suspend waits")
	}
}

func TestDrainGivesUpOnAStoppedTerminal(t *testing.T) {
	p := newPair(t, all)
	p.attach(t)
	go func() { _, _ = p.program.Write(make([]byte, 1<<20)) }() // nobody reads p.user
	// POLLOUT would not tell when the terminal is full: the kernel makes room
	// once more when it moves what it holds to the reader's side.
	held := make(chan int)
	for same, last := 0, 0; same < 20; time.Sleep(5 * time.Millisecond) {
		p.do(func() { held <- len(p.shown) })
		if n := <-held; n > 0 && n == last {
			same++
		} else {
			same, last = 0, n
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain answers %v", err)
	}
	done := make(chan struct{})
	go func() { p.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("Close waits for a stopped terminal")
	}
}

func TestDrainEndsWhileAnOrphanWrites(t *testing.T) {
	p := newPair(t, all)
	p.attach(t)
	go func() { _, _ = io.Copy(io.Discard, p.user) }()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := p.program.WriteString("still here\n"); err != nil {
					return
				}
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		t.Error(err)
	}
}

func TestOutputComesBackAfterNobodyHeldTheSlave(t *testing.T) {
	p := newPair(t, all)
	p.attach(t)
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(p.program.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	p.program.Close()
	time.Sleep(100 * time.Millisecond)
	again, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	_, _ = again.WriteString("back")
	got := make([]byte, 4)
	if _, err := io.ReadFull(p.user, got); err != nil || string(got) != "back" {
		t.Errorf("%q arrives (%v)", got, err)
	}
}

func TestHangUpSignalsTheProgram(t *testing.T) {
	p := newPair(t, all)
	p.attach(t)
	p.tty.Close()
	p.user.Close()
	for _, want := range []syscall.Signal{unix.SIGHUP, unix.SIGCONT} {
		select {
		case got := <-p.signals:
			if got != want {
				t.Errorf("the program gets %v, want %v", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("the program does not get %v", want)
		}
	}
	if n, err := p.program.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("reading inside gives %d, %v; want the end", n, err)
	}
	if err := p.Drain(context.Background()); err != nil {
		t.Errorf("Drain after a hang-up: %v", err)
	}
}
