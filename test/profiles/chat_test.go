package profiles

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jail/test/need"
)

// A terminal is one that a program of a user's runs in, for the keys it gets and the text it shows.
type terminal struct {
	u      *user
	socket string
}

// terminal starts jail with the arguments in a terminal.
func (u *user) terminal(args ...string) *terminal {
	u.t.Helper()
	tm := &terminal{u, filepath.Join(u.home, "tmux")}
	words := append([]string{need.Jail(u.t), "run"}, args...)
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	u.must(tm.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", strings.Join(words, " ")+"; echo ended with $?; sleep 1000"))
	u.t.Cleanup(func() { _ = tm.tmux("kill-server").Run() })
	return tm
}

func (tm *terminal) tmux(args ...string) *exec.Cmd {
	return tm.u.command(append([]string{need.Program(tm.u.t, "tmux"), "-S", tm.socket}, args...)...)
}

// keys types; words such as C-x and Enter are keys.
func (tm *terminal) keys(words ...string) {
	tm.u.t.Helper()
	tm.u.must(tm.tmux(append([]string{"send-keys"}, words...)...))
}

// sees waits for a text on the terminal.
func (tm *terminal) sees(text string) {
	tm.u.t.Helper()
	screen := ""
	if !eventually(func() bool {
		out, err := tm.tmux("capture-pane", "-p").Output()
		screen = string(out)
		return err == nil && strings.Contains(screen, text)
	}) {
		tm.u.t.Fatalf("%q is not on the terminal:\n%s", text, screen)
	}
}

// TestTerminals: programs that are used in a terminal, by the keys they get.
func TestTerminals(t *testing.T) {
	world(t)
	for _, r := range []row{
		{profile: "nano", program: "nano", files: map[string]string{"a.txt": "one\n"}, do: func(t *testing.T, u *user) {
			tm := u.terminal("--", "nano", "a.txt")
			tm.sees("GNU nano")
			tm.keys("two ", "C-o", "Enter", "C-x")
			tm.sees("ended with 0")
			if got := string(u.read("a.txt")); got != "two one\n" {
				t.Errorf("a.txt: %q", got)
			}
		}},
		{profile: "irc", program: "irssi", net: public, do: func(t *testing.T, u *user) {
			tm := u.terminal("--", "irssi", "--connect=good.test", "--nick=irssier")
			tm.sees("irssier, be welcome")
			tm.keys("/join #place", "Enter")
			tm.sees("joined #place")
			tm.keys("/quit", "Enter")
			tm.sees("ended with 0")
		}},
		{profile: "irc", program: "weechat", net: public, do: func(t *testing.T, u *user) {
			tm := u.terminal("--", "weechat", "irc://weechatter@good.test/#place")
			tm.sees("#place")
			if !eventually(func() bool { return strings.Contains(ircHeard(), "weechatter JOIN #place") }) {
				t.Errorf("it did not join: %s", ircHeard())
			}
			tm.keys("/quit", "Enter")
			tm.sees("ended with 0")
		}},
		{profile: "mutt", program: "mutt", net: public, do: func(t *testing.T, u *user) {
			u.write(".muttrc", "set smtp_url=smtp://good.test:2525/ ssl_force_tls=no ssl_starttls=no from=somebody@good.test copy=no\n")
			cmd := u.jail("--", "mutt", "-s", "a subject", "friend@good.test")
			cmd.Stdin = strings.NewReader("a text by mail\n")
			said := u.must(cmd)
			if got := mailHeard(); !strings.Contains(got, "Subject: a subject") || !strings.Contains(got, "a text by mail") {
				t.Errorf("no mail came: %q\n%s", got, said)
			}
		}},
	} {
		t.Run(r.profile+"/"+r.program, func(t *testing.T) {
			t.Parallel()
			talkers(t)
			r.run(t)
		})
	}
}

// TestHexChat joins a channel from a window.
func TestHexChat(t *testing.T) {
	world(t)
	r := row{profile: "hexchat", program: "hexchat", net: public}
	r.do = func(t *testing.T, u *user) {
		talkers(t)
		u.screen()
		cmd, said := u.start(u.jail("--", "hexchat", "irc://good.test/place"))
		if !eventually(func() bool { return strings.Contains(ircHeard(), "somebody JOIN #place") }) {
			t.Errorf("it did not join: %s\n%s", ircHeard(), said())
		}
		stop(cmd)
		if _, err := os.Stat(u.home + "/.config/hexchat"); err == nil {
			t.Error("it wrote to the user's home")
		}
	}
	r.run(t)
}

// heard is what the talkers of the world were told.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(&h.text, format+"\n", args...)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

var irc, mail heard

func ircHeard() string  { return irc.String() }
func mailHeard() string { return mail.String() }

var startTalkers = sync.OnceValue(func() error {
	return inInternet(func() error {
		for port, serve := range map[string]func(net.Conn){"6667": serveIRC, "2525": serveMail} {
			l, err := net.Listen("tcp", goodHost+":"+port)
			if err != nil {
				return err
			}
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go serve(c)
				}
			}()
		}
		return nil
	})
})

// talkers starts a chat and a mail server in the world, once.
func talkers(t *testing.T) {
	t.Helper()
	if err := startTalkers(); err != nil {
		t.Fatal(err)
	}
}

// serveIRC knows as much of RFC 1459 as it takes to join a channel.
func serveIRC(c net.Conn) {
	defer c.Close()
	nick := "*"
	for lines := bufio.NewScanner(c); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		irc.add("%s %s", nick, strings.Join(words, " "))
		switch say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }; {
		case words[0] == "CAP" && len(words) > 1 && words[1] == "LS":
			say(":good.test CAP * LS :")
		case words[0] == "NICK" && len(words) > 1:
			nick = words[1]
		case words[0] == "USER":
			say(":good.test 001 %s :%s, be welcome", nick, nick)
			say(":good.test 376 %s :End of /MOTD command.", nick)
		case words[0] == "JOIN" && len(words) > 1:
			say(":%s!u@h JOIN %s", nick, words[1])
			say(":good.test 353 %s = %s :%s", nick, words[1], nick)
			say(":good.test 366 %s %s :End of /NAMES list.", nick, words[1])
			say(":other!u@h PRIVMSG %s :%s joined %s", words[1], nick, words[1])
		case words[0] == "PING":
			say(":good.test PONG good.test :%s", strings.Join(words[1:], " "))
		case words[0] == "QUIT":
			say("ERROR :bye")
			return
		}
	}
}

// serveMail takes mail: RFC 5321.
func serveMail(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	say := func(text string) { fmt.Fprint(c, text+"\r\n") }
	say("220 good.test")
	text := false
	for lines := bufio.NewScanner(c); lines.Scan(); {
		line := lines.Text()
		switch {
		case text && line == ".":
			text = false
			say("250 kept")
		case text:
			mail.add("%s", line)
		case strings.HasPrefix(line, "DATA"):
			text = true
			say("354 go on")
		case strings.HasPrefix(line, "QUIT"):
			say("221 bye")
			return
		default:
			say("250 good.test")
		}
	}
}
