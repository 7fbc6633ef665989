package console

import (
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheProgramFindsTheCallersSettingsAndSize(t *testing.T) {
	s := shell(t)
	s.send("stty erase ^K -ixany; $JAIL sh -c 'stty size; stty -a; echo e''nd'\n")
	s.expect("33 101\r\n")
	if got := s.expect("end\r\n"); !strings.Contains(got, "erase = ^K") || !strings.Contains(got, "opost") || !strings.Contains(got, "icanon") {
		t.Errorf("inside the settings are %q", got)
	}
}

func TestAResizeReachesTheProgram(t *testing.T) {
	s := shell(t)
	s.send("$JAIL sh -c 'trap \"stty size\" WINCH; echo re''ady; while :; do sleep 0.05; done'\n")
	s.expect("ready\r\n")
	s.resize(41, 77)
	s.expect("41 77\r\n")
	s.send("\x03")
	s.expect("prompt> ")
}

func TestAResizeWhileStoppedReachesTheProgram(t *testing.T) {
	s := shell(t)
	s.send("$JAIL sh -c 'echo re''ady; read x; stty size'\n")
	s.expect("ready\r\n")
	s.send("\x1a")
	s.expect("Stopped")
	s.resize(20, 30)
	s.expect("prompt> ")
	s.send("fg\n")
	s.becomesRaw()
	s.send("\n")
	s.expect("20 30\r\n")
}

func TestCtrlCEndsTheProgramAndNotJail(t *testing.T) {
	s := shell(t)
	before := s.settings()
	s.send("$JAIL sh -c 'trap \"echo cau''ght; exit 7\" INT; echo re''ady; while :; do sleep 0.05; done'; echo code $?\n")
	s.expect("ready\r\n")
	s.becomesRaw()
	s.send("\x03")
	s.expect("caught\r\n")
	s.expect("code 7\r\n")
	s.becomesAgain(before)
	s.send("$JAIL sh -c 'echo ag''ain; exec sleep 100'; echo code $?\n")
	s.expect("again\r\n")
	s.becomesRaw()
	s.send("\x03")
	s.expect("code 130\r\n")
}

func TestCtrlZStopsTheJobAndFgContinuesIt(t *testing.T) {
	for _, name := range []string{"bash", "dash"} {
		t.Run(name, func(t *testing.T) {
			command := []string{"bash", "--noprofile", "--norc", "--noediting", "-i"}
			if name == "dash" {
				command = []string{"dash", "-i"}
			}
			s := newScreen(t, nil, command...)
			s.expect("prompt> ")
			before := s.settings()
			s.send("$JAIL sh -c 'echo re''ady; read x; echo got $x; exit 9'\n")
			s.expect("ready\r\n")
			for range 3 {
				s.becomesRaw()
				time.Sleep(100 * time.Millisecond) // SIGCONT takes back a stop that came before it
				s.send("\x1a")
				s.expect("Stopped")
				s.expect("prompt> ")
				s.becomesAgain(before)
				s.send("fg\n")
			}
			s.becomesRaw()
			s.send("hello\n")
			s.expect("got hello\r\n")
			s.expect("prompt> ")
			s.becomesAgain(before)
			s.send("echo co''de $?\n")
			s.expect("code 9\r\n")
		})
	}
}

func TestTheShellSeesWhichSignalStopped(t *testing.T) {
	s := shell(t)
	for _, sig := range []struct{ name, shown string }{{"TSTP", "Stopped  "}, {"STOP", "Stopped(SIGSTOP)"}} {
		// POSIX mode words the stop signals apart.
		s.send("set -o posix; $JAIL sh -c 'kill -" + sig.name + " $$; echo on''ward'\n")
		if sig.name == "TSTP" {
			s.expect("Stopped(SIGTSTP)")
		} else {
			s.expect(sig.shown)
		}
		s.expect("prompt> ")
		s.send("fg\n")
		s.expect("onward\r\n")
		s.expect("prompt> ")
	}
}

func TestThePipelineStopsAsAWhole(t *testing.T) {
	s := shell(t)
	s.send("$JAIL sh -c 'echo re''ady >&2; read x; echo got $x' | (sleep 0.01; cat; echo no''w done)\n")
	s.expect("ready\r\n")
	s.becomesTaken() // when the program read
	time.Sleep(100 * time.Millisecond)
	s.send("\x1a")
	s.expect("Stopped")
	s.expect("prompt> ")
	s.send("fg\n")
	s.becomesTaken()
	s.send("text\n")
	s.expect("got text\r\n")
	s.expect("now done\r\n")
}

func TestBgThenFgGivesTheKeyboardBack(t *testing.T) {
	s := shell(t)
	before := s.settings()
	s.send("$JAIL sh -c 'echo re''ady; sleep 2; read x; echo got $x'\n")
	s.expect("ready\r\n")
	s.becomesRaw()
	time.Sleep(100 * time.Millisecond) // dash cannot be stopped in the middle of vfork(2)
	s.send("\x1a")
	s.expect("Stopped")
	s.send("bg\n")
	s.expect("prompt> ")
	s.becomesAgain(before)
	s.send("fg\n") // a running job: no SIGCONT
	s.becomesRaw()
	s.send("again\n")
	s.expect("got again\r\n")
	s.becomesAgain(before)
}

func TestABackgroundJobStopsWhenItReads(t *testing.T) {
	s := shell(t)
	before := s.settings()
	s.send("$JAIL sh -c 'echo fi''rst; read x; echo got $x' &\n")
	s.expect("first\r\n")
	time.Sleep(100 * time.Millisecond)
	s.send("jobs\n")
	s.expect("Stopped")
	if s.settings() != before {
		t.Error("a background jail changed the terminal's settings")
	}
	s.expect("prompt> ")
	s.send("fg\n")
	s.becomesRaw()
	s.send("late\n")
	s.expect("got late\r\n")
	s.becomesAgain(before)
}

func TestAPipelineLeavesTheTerminalUntilTheProgramAsks(t *testing.T) {
	s := shell(t)
	before := s.settings()
	s.send("printf 'a\\nb\\n' | $JAIL sh -c 'cat; echo lis''ted; sleep 0.3; read x </dev/tty; echo got $x'\n")
	shown := s.expect("listed\r\n")
	if !strings.HasSuffix(shown, "a\r\nb\r\n") {
		t.Errorf("newlines are processed twice or not at all: %q", shown)
	}
	if s.settings() != before {
		t.Error("the terminal's settings changed before the program asked for it")
	}
	s.becomesTaken()
	s.send("key\n")
	s.expect("got key\r\n")
	s.becomesAgain(before)
	s.expect("prompt> ")
}

func TestOutputProcessingFollowsTheProgramInAPipeline(t *testing.T) {
	s := shell(t)
	before := s.settings()
	s.send("echo | $JAIL sh -c 'stty -opost </dev/tty; printf \"ab\\ncd\\n\"; read x </dev/tty; stty opost </dev/tty; echo on''e; echo tw''o; read x </dev/tty'\n")
	s.expect("ab\ncd\n")
	s.becomesRaw()
	s.send("\n")
	s.expect("one\r\ntwo\r\n")
	s.becomes("taken", func(t unix.Termios) bool { return isTaken(t) && t.Oflag == before.Oflag })
	s.send("\n")
	s.expect("prompt> ")
	s.becomesAgain(before)
}

func TestCtrlCAndCtrlZReachAProgramBehindAPipe(t *testing.T) {
	s := shell(t)
	s.send("echo | $JAIL sh -c 'echo re''ady; sleep 100; echo more'\n")
	s.expect("ready\r\n")
	time.Sleep(100 * time.Millisecond) // dash cannot be stopped in the middle of vfork(2)
	s.send("\x1a")
	s.expect("Stopped")
	s.expect("prompt> ")
	s.send("fg\n")
	time.Sleep(100 * time.Millisecond)
	s.send("\x03")
	s.expect("prompt> ")
	s.send("echo co''de $?\n")
	s.expect("code 130\r\n")
}

func TestANeighbourInThePipelineKeepsTheKeyboard(t *testing.T) {
	s := shell(t)
	s.send("$JAIL sh -c 'sleep 0.3; echo from inside' | (read x </dev/tty; echo neigh''bour $x; cat)\n")
	time.Sleep(100 * time.Millisecond)
	s.send("mine\n")
	s.expect("neighbour mine\r\n")
	s.expect("from inside\r\n")
}

func TestStopOfTheSupervisorItself(t *testing.T) {
	s := shell(t)
	before := s.settings()
	s.send("$JAIL sh -c 'echo $PPID; read x; echo got $x'\n")
	s.expect("\r\n")
	s.expect("\r\n")
	s.becomesRaw()
	jail := jailUnder(t, s.leader.Process.Pid)
	unix.Kill(jail, unix.SIGSTOP)
	s.expect("Stopped")
	s.expect("prompt> ")
	s.becomesAgain(before) // by the shell
	s.send("fg\n")
	s.becomesRaw()
	s.send("key\n")
	s.expect("got key\r\n")
	s.becomesAgain(before)
}

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
			unix.Kill(jailUnder(t, s.leader.Process.Pid), sig)
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
		unix.Kill(-jailUnder(t, s.leader.Process.Pid), unix.SIGKILL)
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
	unix.Kill(watcherOf(t, jail), unix.SIGKILL)
	unix.Kill(jail, unix.SIGKILL)
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
	unix.Kill(jail, unix.SIGTERM)
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

func TestTmux(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatalf("this test needs tmux: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	socket := t.TempDir() + "/s"
	tmux := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", socket}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	shows := func(want string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if got = tmux("capture-pane", "-p"); strings.Contains(got, want) {
				return
			}
		}
		t.Fatalf("tmux does not show %q but\n%s", want, got)
	}
	tmux("new-session", "-d", "-x", "90", "-y", "25", "env PS1='outer> ' JAIL='env CONSOLE_TEST=jail "+self+"' bash --noprofile --norc -i")
	defer exec.Command("tmux", "-S", socket, "kill-server").Run()
	tmux("set-option", "-g", "status", "off")
	shows("outer>")
	tmux("send-keys", "PS1='inner> ' $JAIL bash --noprofile --norc -i", "Enter")
	shows("\ninner>")
	tmux("send-keys", "stty size", "Enter")
	shows(strconv.Itoa(25) + " 90")
	tmux("resize-window", "-x", "70", "-y", "18")
	tmux("send-keys", "stty size", "Enter")
	shows("18 70")
	tmux("send-keys", "sh -c \"echo st''arted; exec sleep 100\"", "Enter")
	shows("\nstarted")
	time.Sleep(100 * time.Millisecond)
	tmux("send-keys", "C-z")
	shows("Stopped")
	tmux("send-keys", "fg", "Enter")
	shows("fg\nsh -c")
	time.Sleep(100 * time.Millisecond)
	tmux("send-keys", "C-c")
	tmux("send-keys", "echo code $?", "Enter")
	shows("code 130")
	tmux("send-keys", "exit 5", "Enter")
	shows("exit\nouter>")
	tmux("send-keys", "echo outer code $?", "Enter")
	shows("outer code 5")
}
