package console

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is the user's side of an outer terminal: what a terminal emulator has.
type screen struct {
	t      *testing.T
	master *os.File
	leader *exec.Cmd // the session's leader

	mu    sync.Mutex
	shown []byte // all that was written
	seen  int    // how far expect has come
	hold  chan struct{}
}

// newScreen starts a session on a new terminal. In its environment $JAIL runs a
// program with a console.
func newScreen(t *testing.T, env []string, command ...string) *screen {
	t.Helper()
	master, slave, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 101})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = append(append(os.Environ(), "JAIL=env CONSOLE_TEST=jail "+self, "PS1=prompt> ", "HISTFILE=", "ENV="), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	s := &screen{t: t, master: master, leader: cmd}
	go s.read()
	t.Cleanup(func() {
		s.master.Close() // SIGHUP for the session
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	})
	return s
}

func (s *screen) read() {
	b := make([]byte, 64<<10)
	for {
		n, err := s.master.Read(b)
		s.mu.Lock()
		s.shown = append(s.shown, b[:n]...)
		hold := s.hold
		s.mu.Unlock()
		if err != nil {
			return
		}
		if hold != nil {
			<-hold
		}
	}
}

func (s *screen) send(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits until text is shown, after what was expected before, and returns
// what came in between.
func (s *screen) expect(text string) string {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		fresh := s.shown[s.seen:]
		if i := bytes.Index(fresh, []byte(text)); i >= 0 {
			s.seen += i + len(text)
			s.mu.Unlock()
			return string(fresh[:i])
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("%q is not shown; what is, since the last:\n%q", text, s.shown[s.seen:])
	return ""
}

func (s *screen) control(f func(fd int)) {
	conn, err := s.master.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	_ = conn.Control(func(fd uintptr) { f(int(fd)) })
}

func (s *screen) settings() (t unix.Termios) {
	s.control(func(fd int) {
		got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			s.t.Fatal(err)
		}
		t = *got
	})
	return t
}

func (s *screen) resize(rows, columns uint16) {
	s.control(func(fd int) {
		_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

func isTaken(t unix.Termios) bool { return t.Lflag&(unix.ICANON|unix.ISIG|unix.ECHO) == 0 }
func isRaw(t unix.Termios) bool   { return isTaken(t) && t.Oflag&unix.OPOST == 0 }

// becomes waits until the settings are as wanted.
func (s *screen) becomes(what string, ok func(unix.Termios) bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok(s.settings()) {
			return
		}
	}
	s.t.Fatalf("the terminal's settings do not become %s: %+v", what, s.settings())
}

func (s *screen) becomesRaw()   { s.t.Helper(); s.becomes("raw", isRaw) }
func (s *screen) becomesTaken() { s.t.Helper(); s.becomes("taken", isTaken) }
func (s *screen) becomesAgain(before unix.Termios) {
	s.t.Helper()
	s.becomes("those before jail", func(t unix.Termios) bool { return t == before })
}

// shell starts an interactive shell with job control that leaves the settings
// of the terminal alone while it reads a line.
func shell(t *testing.T) *screen {
	t.Helper()
	s := newScreen(t, nil, "bash", "--noprofile", "--norc", "--noediting", "-i")
	s.expect("prompt> ")
	return s
}

// childrenOf gives the children of a process.
func childrenOf(parent int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if ppid, _ := strconv.Atoi(fields[1]); ppid == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandName(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}
