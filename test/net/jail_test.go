package net_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jail/netsetup"
	"jail/test/need"
)

// profileRules are the rules above, as a profile has them.
const profileRules = `
    - deny: bad.test
    - deny: sharedbad.test
    - allow: "good.test:80"
    - allow: "*.good.test:80"
    - allow: "shared.test:80"
    - allow: "*.rebind.test"
    - allow: 203.0.113.20
    - allow: "2001:db8:2::20"
    - allow: "0.0.0.0/0:8080"
    - allow: "[::/0]:8080/udp"
    - allow: "host:9000"
    - allow: "host:9002"
`

// mighty gives a program all that a profile can give it: root inside, every capability, every system call.
const mighty = `
process: {uid: 0, gid: 0}
capabilities: [NET_ADMIN, NET_RAW, NET_BIND_SERVICE, SYS_ADMIN, SETUID, SETGID, SYS_PTRACE, DAC_OVERRIDE]
syscalls: {default: log, allow: ["@default", "@userns", "@mount", "@network-io"]}
`

// writeProfile writes a profile with a network into a new folder.
func writeProfile(t *testing.T, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nname: p\nextends: [base]\n"+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func egress(more string) string {
	return "network:\n  mode: veth\n  egress:" + profileRules + more
}

// ordinary makes a command run as a user without the capabilities that the makers of the world have in it.
func ordinary(argv ...string) *exec.Cmd {
	cmd := exec.Command("setpriv", slices.Concat(dropAll, argv)...)
	if asRoot {
		cmd = exec.Command(argv[0], argv[1:]...)
	}
	cmd.Env = append(os.Environ(), "JAIL_ROLE=")
	return cmd
}

// jailProbe makes attempts in a sandbox of bin/jail. It gives the outcomes and what jail said.
func jailProbe(t *testing.T, profile string, attempts ...string) ([]outcome, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{need.Jail(t), "-p", profile, "--ro", self + ":/probe", "--env", "JAIL_ROLE=probe", "--env", "HOSTPID=" + strconv.Itoa(os.Getpid()), "--", "/probe"}
	cmd := ordinary(append(argv, attempts...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("jail: %v\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	var outcomes []outcome
	for line := range strings.Lines(stdout.String()) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4); len(f) == 4 {
			ms, _ := strconv.Atoi(f[2])
			outcomes = append(outcomes, outcome{f[0] == "reached", ms, f[3]})
		}
	}
	if len(outcomes) != len(attempts) {
		t.Fatalf("%d outcomes of %d attempts:\n%s%s", len(outcomes), len(attempts), stdout.Bytes(), stderr.Bytes())
	}
	return outcomes, stderr.String()
}

// allowed are attempts that the rules let through.
var allowed = []string{
	"lookup good.test", "tcp4 good.test:80", "tcp6 good.test:80", "tcp cdn.good.test:80", "twice shared.test 203.0.113.12:80",
	"udp 203.0.113.20:7", "udp [2001:db8:2::20]:7", "bigudp 203.0.113.20:7", "tcp 203.0.113.20:443", "ping 203.0.113.20", "ping 2001:db8:2::20",
	"tcp host.jail.internal:9000", "tcp $HOST4:9000", "query $GATEWAY4:53 good.test", "querytcp $GATEWAY4:53 good.test", "tcp 203.0.113.99:8080",
}

func TestJailAllowed(t *testing.T) {
	world(t)
	hostBait(t)
	got, said := jailProbe(t, writeProfile(t, egress("")), allowed...)
	for i, o := range got {
		if !o.reached {
			t.Errorf("%s: %s", allowed[i], o.detail)
		}
	}
	if said != "" {
		t.Errorf("jail said: %s", said)
	}
}

// The same ways around the rules, through jail: as an ordinary program, and as one with every right that a
// profile can give.
func TestJailBypasses(t *testing.T) {
	world(t)
	hostBait(t)
	attempts := bypassAttempts()
	without := controlRun(t, attempts)
	for name, more := range map[string]string{"ordinary": "", "mighty": mighty} {
		t.Run(name, func(t *testing.T) {
			with, said := jailProbe(t, writeProfile(t, egress("")+more), attempts...)
			checkBypasses(t, without, with)
			for _, want := range []string{
				"tcp to 203.0.113.11, port 80, is refused", "tcp to good.test (203.0.113.10), port 443, is refused", "the name bad.test is refused to probe: deny bad.test (",
				"udp to 203.0.113.99, port 53, is refused", "icmp to 203.0.113.11 is refused", "tcp to 169.254.169.254, port 8080, is refused",
				"tcp to host.jail.internal, port 9001, is refused",
			} {
				if n := strings.Count(said, "jail: network: "+want); n != 1 {
					t.Errorf("%q was said %d times, not once:\n%s", want, n, said)
				}
			}
			if !strings.Contains(said, `- allow: "203.0.113.11:80/tcp"`) {
				t.Errorf("no fix is named:\n%s", said)
			}
		})
	}
}

// A port that is taken is an error before the start, with the line of the profile.
func TestJailPublishTaken(t *testing.T) {
	world(t)
	profile := writeProfile(t, "network:\n  mode: veth\n  egress: []\n  publish:\n    - \"127.0.0.1:9009:80\"\n")
	l, err := net.Listen("tcp", "127.0.0.1:9009")
	if err != nil {
		t.Fatal(err)
	}
	cmd := ordinary(need.Jail(t), "-p", profile, "--", "echo", "started")
	out, err := cmd.CombinedOutput()
	if err == nil || strings.Contains(string(out), "started") || !strings.Contains(string(out), fmt.Sprintf("%s:8:7: publish 127.0.0.1:9009:80: listen on 127.0.0.1:9009: bind: address already in use", profile)) {
		t.Errorf("%v\n%s", err, out)
	}
	l.Close()
	cmd = ordinary(need.Jail(t), "-p", profile, "--", "echo", "started")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "started") {
		t.Errorf("control run: %v\n%s", err, out)
	}
}

// refusals reads what `jail net log --json` prints.
func refusals(t *testing.T, log *exec.Cmd) []string {
	t.Helper()
	got, err := log.Output()
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for line := range strings.Lines(string(got)) {
		var e netsetup.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind != "name" || e.Name == "cdn.test" { // a resolver may try the name below a search domain, too
			said = append(said, fmt.Sprint(e.Kind, " ", e.Proto, " ", e.Name, e.Port, " ", e.Program, " ", e.Write))
		}
	}
	return said
}

// What was refused is in the log of the running sandbox: once each, with the program and a fix.
func TestJailLog(t *testing.T) {
	world(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	jail := need.Jail(t)
	cmd := ordinary(jail, "--name", "logged", "-p", writeProfile(t, egress("")), "--ro", self+":/probe", "--env", "JAIL_ROLE=probe", "--",
		"sh", "-c", `/probe "tcp 203.0.113.11:80" "tcp 203.0.113.11:80" "lookup cdn.test" "udp 203.0.113.11:7" "ping 203.0.113.11"; read line || true`)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 5 {
		if !lines.Scan() {
			t.Fatal("the probe said nothing")
		}
	}
	want := []string{
		"flow tcp 80 probe 203.0.113.11:80/tcp", "name  cdn.test0 probe cdn.test",
		"flow udp 7 probe 203.0.113.11:7/udp", "flow icmp 0 probe 203.0.113.11/icmp",
	}
	var said []string
	// The program is answered before its refusal is told to the supervisor.
	for end := time.Now().Add(20 * time.Second); len(said) < len(want) && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		said = refusals(t, ordinary(jail, "net", "log", "--json", "logged"))
	}
	if !slices.Equal(said, want) {
		t.Errorf("the log says\n%s\nnot\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	text, err := ordinary(jail, "net", "log", "logged").Output()
	if err != nil || strings.Count(string(text), "to allow it, add under network.egress: - allow:") != len(want) {
		t.Errorf("the log in words: %v\n%s", err, text)
	}
	if out, err := ordinary(jail, "net", "log", "nobody").CombinedOutput(); err == nil || !strings.Contains(string(out), "nobody") {
		t.Errorf("the log of no sandbox: %v\n%s", err, out)
	}
	hold.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// What a running sandbox has exchanged is counted by destination, also of connections that have ended.
func TestJailTop(t *testing.T) {
	world(t)
	jail := need.Jail(t)
	s := startProbe(t, writeProfile(t, egress("")), "upload 1000000", "tcp4 good.test:80", "tcp4 good.test:80", "stay")
	for range 3 {
		if line := s.line(t); !strings.HasPrefix(line, "reached") {
			t.Fatal(line)
		}
	}
	pid := strconv.Itoa(s.cmd.Process.Pid)
	out, err := ordinary(jail, "net", "top", "--json", pid).Output()
	if err != nil {
		t.Fatal(err)
	}
	var totals []netsetup.Total
	if err := json.Unmarshal(out, &totals); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(totals) != 2 || totals[0].Out != 1000000 || totals[0].In != 64 || totals[0].Flows != 1 || totals[1].Name != "good.test" || totals[1].Flows != 2 || totals[1].In != 10 {
		t.Errorf("%s", out)
	}
	text, err := ordinary(jail, "net", "top", pid).Output()
	if err != nil || !strings.Contains(string(text), "976.6 KiB      64 B     0      1  tcp    203.0.113.20:9101\n") {
		t.Errorf("%v\n%s", err, text)
	}
	s.end(t)
}
