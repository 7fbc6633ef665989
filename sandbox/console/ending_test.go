package console

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// jailUnder finds the jail that a shell runs.
func jailUnder(t *testing.T, shell int) int {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for _, pid := range childrenOf(shell) {
			env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if strings.Contains(string(env), "CONSOLE_TEST=jail") {
				return pid
			}
		}
	}
	t.Fatal("no jail runs")
	return 0
}

// script runs jail under a shell without job control, which touches no settings
// and so hides nothing.
func script(t *testing.T, env []string, text string) (s *screen, before unix.Termios) {
	t.Helper()
	s = newScreen(t, env, "sh", "-c", "echo st''art; read x; "+text)
	s.expect("start\r\n")
	before = s.settings()
	s.send("\n")
	return s, before
}

func TestSettingsAreRestoredHoweverJailEnds(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGINT, unix.SIGSEGV, unix.SIGABRT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			s, before := script(t, nil, "$JAIL sh -c 'echo re''ady; exec sleep 100'; echo en''ded; sleep 100")
			s.expect("ready\r\n")
			s.becomesRaw()
			_ = unix.Kill(jailUnder(t, s.leader.Process.Pid), sig)
			s.expect("ended")
			s.becomesAgain(before)
		})
	}
	t.Run("panic", func(t *testing.T) {
		s, before := script(t, []string{"CONSOLE_PANIC=1"}, "$JAIL sleep 100; echo en''ded; sleep 100")
		s.becomesRaw()
		s.expect("ended")
		s.becomesAgain(before)
	})
	t.Run("SIGKILL of the whole process group", func(t *testing.T) {
		s := shell(t)
		before := s.settings()
		s.send("$JAIL sleep 100\n")
		s.becomesRaw()
		_ = unix.Kill(-jailUnder(t, s.leader.Process.Pid), unix.SIGKILL)
		s.expect("prompt> ")
		s.becomesAgain(before)
	})
}

// The control run: without the watcher the settings are lost, so the test above
// is not green for another reason.
func TestWithoutTheWatcherSettingsAreLost(t *testing.T) {
	s, _ := script(t, nil, "$JAIL sleep 100; echo en''ded; sleep 100")
	s.becomesRaw()
	jail := jailUnder(t, s.leader.Process.Pid)
	_ = unix.Kill(watcherOf(t, jail), unix.SIGKILL)
	_ = unix.Kill(jail, unix.SIGKILL)
	s.expect("ended")
	time.Sleep(200 * time.Millisecond)
	if !isRaw(s.settings()) {
		t.Error("something other than the watcher restores the settings")
	}
}

func watcherOf(t *testing.T, jail int) int {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for _, pid := range childrenOf(jail) {
			if commandName(pid) == "jail-terminal" {
				return pid
			}
		}
	}
	t.Fatal("no watcher runs")
	return 0
}

func TestTheWatcherHoldsNothingElseAndGoesWithJail(t *testing.T) {
	s, _ := script(t, nil, "$JAIL sleep 100; echo en''ded; sleep 100")
	s.becomesRaw()
	jail := jailUnder(t, s.leader.Process.Pid)
	watcher := watcherOf(t, jail)
	time.Sleep(20 * time.Millisecond)
	var open []string
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", watcher))
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", watcher, fd.Name()))
		open = append(open, to)
	}
	sort.Strings(open)
	if len(open) != 2 || open[0] != "/dev/tty" || !strings.HasPrefix(open[1], "pipe:") {
		t.Errorf("the watcher holds %q, want the terminal and a pipe", open)
	}
	if sid, _ := unix.Getsid(watcher); sid != watcher {
		t.Errorf("the watcher is in session %d, want its own, %d", sid, watcher)
	}
	s.send("\x03")
	s.expect("ended")
	for end := time.Now().Add(5 * time.Second); unix.Kill(watcher, 0) == nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the watcher outlives jail")
		}
	}
}

func TestAllOutputArrivesBeforeTheEnd(t *testing.T) {
	s, _ := script(t, nil, "$JAIL sh -c 'seq 200000; printf la''st; exit 3'; echo code $?; sleep 100")
	if got := s.expect("code 3\r\n"); !strings.HasSuffix(got, "199999\r\n200000\r\nlast") {
		t.Errorf("the end of the output is %q", got[max(0, len(got)-40):])
	} else if lines := strings.Count(got, "\r\n"); lines < 200000 {
		t.Errorf("%d lines arrived, want 200000", lines)
	}
}

func TestATerminalThatNobodyReadsHoldsTheProgramUpAndNotJail(t *testing.T) {
	s := shell(t)
	hold := make(chan struct{})
	s.send("echo $$; $JAIL sh -c 'echo re''ady; exec yes'\n")
	s.expect("ready\r\n")
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	jail := jailUnder(t, s.leader.Process.Pid)
	_ = unix.Kill(jail, unix.SIGTERM)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		// A zombie is an end: the shell may itself be held up.
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", jail))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(end) {
			t.Error("jail does not end while its terminal is blocked")
			break
		}
	}
	s.mu.Lock()
	s.hold = nil
	s.mu.Unlock()
	close(hold)
}

func TestClosingTheTerminalHangsTheProgramUp(t *testing.T) {
	mark := t.TempDir() + "/hup"
	// nohup keeps the shell's and the kernel's SIGHUP from jail, which must
	// notice by itself.
	s := newScreen(t, nil, "sh", "-c", "trap '' HUP; $JAIL sh -c 'trap \"echo hup >"+mark+"; exit\" HUP; echo re''ady; while :; do sleep 0.05; done'; echo $? >"+mark+".code")
	s.expect("ready\r\n")
	s.master.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(mark + ".code"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("jail does not end after its terminal was closed")
		}
	}
	if b, _ := os.ReadFile(mark); string(b) != "hup\n" {
		t.Errorf("the program got no SIGHUP")
	}
}

func TestAnOrphanedGroupIsNotStopped(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The session's leader itself: there is no shell that could continue it.
	s := newScreen(t, []string{"CONSOLE_TEST=jail"}, self, "sh", "-c", "echo re''ady; read x; echo got $x; sleep 0.2")
	s.expect("ready\r\n")
	s.becomesRaw()
	s.send("\x1a")
	s.send("on\n")
	s.expect("got on\r\n")
}

func TestTheCallersDescriptorsKeepTheirFlags(t *testing.T) {
	s, _ := script(t, []string{"CONSOLE_FD_FLAGS=1"}, "$JAIL true")
	s.expect("flags kept: true")
}

func TestClosedStreamsStayClosed(t *testing.T) {
	s := shell(t)
	for _, closed := range []string{"0", "2"} {
		s.send("$JAIL sh -c 'ls -l /proc/self/fd/ | wc -l; echo e''nd' " + closed + ">&-\n")
		s.expect("end\r\n")
		s.expect("prompt> ")
	}
}
