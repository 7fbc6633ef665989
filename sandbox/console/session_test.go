package console

import (
	"os"
	"os/exec"
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
	_ = unix.Kill(jail, unix.SIGSTOP)
	s.expect("Stopped")
	s.expect("prompt> ")
	s.becomesAgain(before) // by the shell
	s.send("fg\n")
	s.becomesRaw()
	s.send("key\n")
	s.expect("got key\r\n")
	s.becomesAgain(before)
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
	defer func() { _ = exec.Command("tmux", "-S", socket, "kill-server").Run() }()
	tmux("set-option", "-g", "status", "off")
	shows("outer>")
	tmux("send-keys", "PS1='inner> ' $JAIL bash --noprofile --norc -i", "Enter")
	shows("\ninner>")
	tmux("send-keys", "stty size", "Enter")
	shows("25 90")
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
