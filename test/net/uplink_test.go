package net_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// uplinkPrograms are the programs that can be the way out.
var uplinkPrograms = []string{"pasta", "slirp4netns"}

// The same rules where another program is the way out. It takes a TUN device, which here only root may open; the
// supervisor is without capabilities, as an ordinary user is.
func TestRootUplinks(t *testing.T) {
	need.Root(t)
	for _, p := range uplinkPrograms {
		t.Run(p, func(t *testing.T) { uplinkHolds(t, p) })
	}
}

// The same for an ordinary user, who has a TUN device on most machines.
func TestTUNUplinks(t *testing.T) {
	need.TUN(t)
	for _, p := range uplinkPrograms {
		t.Run(p, func(t *testing.T) { uplinkHolds(t, p) })
	}
}

// slirpLacks is what libslirp does not carry: ICMPv6 echo.
const slirpLacks = "ping 2001:db8:2::20"

// closed are the doors that the programs keep to the host, at the addresses of their networks: the host's loopback,
// and their resolvers.
var closed = map[string][]string{
	"pasta":       {"tcp 10.213.1.1:9000", "tcp 10.213.1.1:9001", "tcp 10.213.1.2:9000", "tcp [fd6a:6169:6c75::1]:9000", "query 10.213.1.1:53 good.test"},
	"slirp4netns": {"tcp 10.213.1.2:9000", "tcp 10.213.1.2:9001", "tcp [fd00::2]:9000", "query 10.213.1.3:53 good.test", "query [fd00::3]:53 good.test"},
}

func uplinkHolds(t *testing.T, program string) {
	need.Program(t, program)
	world(t)
	more := `,"uplink":"` + program + `"`
	if program == "slirp4netns" {
		uncarried = slirpLacks
		defer func() { uncarried = "" }()
	}
	variant(t, false, program, more, all)
	variant(t, false, program, more, map[string]func(*testing.T){"named": TestNamedNetwork})
	hostBait(t)
	wide := `{"mode":"veth","egress":[{"action":"allow","group":"private"},{"action":"allow","group":"any"},{"action":"allow","prefix":"10.213.1.0/24"},{"action":"allow","prefix":"10.213.1.0/24","ports":["53"]},{"action":"allow","prefix":"fd00::/16"}]` + more + `}`
	start(t, "", wide, append(closed[program], "tcp 203.0.113.20:80", "tcp 10.99.0.1:8080")...).
		check(t, []string{"tcp 203.0.113.20:80", "tcp 10.99.0.1:8080"}, closed[program])
	uplinkGone(t, program)
	// Its end is the network's.
	b, _ := serving(t, "left", `{"mode":"veth","egress":[`+allowGood+`]`+more+`}`)
	if err := exec.Command("sh", "-c", "kill "+strings.Join(uplinks(program), " ")).Run(); err != nil {
		t.Error(err)
	}
	gone(t)
	b.kill()
	uplinkKills(t, program)
}

// uplinkKills kills supervisors at any moment of their start.
func uplinkKills(t *testing.T, program string) {
	t.Helper()
	rounds := 100
	if testing.Short() || os.Getenv("JAIL_TEST_FULL") == "" {
		rounds = 20
	}
	for i := range rounds {
		b := start(t, fmt.Sprintf("x%d", i), `{"mode":"veth","egress":[`+allowGood+`],"uplink":"`+program+`"}`, "tcp good.test:80", "tcp good.test:80")
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		b.kill()
	}
	gone(t)
	uplinkGone(t, program)
}

// uplinks are the processes of a program in this network namespace.
func uplinks(program string) []string {
	own, _ := os.Readlink("/proc/thread-self/ns/net")
	var left []string
	proc, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range proc {
		line, _ := os.ReadFile(p + "/cmdline")
		ns, err := os.Readlink(p + "/ns/net")
		if name, _, _ := strings.Cut(string(line), "\x00"); filepath.Base(name) == program && (err != nil || ns == own) {
			left = append(left, filepath.Base(p))
		}
	}
	return left
}

func uplinkGone(t *testing.T, program string) {
	t.Helper()
	for range 200 {
		if len(uplinks(program)) == 0 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Errorf("processes of %s are left: %v", program, uplinks(program))
}

// A program that is not there is an error before anything starts, with the line and the package.
func TestJailUplinkMissing(t *testing.T) {
	world(t)
	t.Setenv("PATH", t.TempDir())
	for program, pkg := range map[string]string{"pasta": "passt", "slirp4netns": "slirp4netns"} {
		profile := writeProfile(t, "network: {mode: veth, uplink: "+program+", egress: []}\n")
		cmd := exec.Command("/usr/bin/setpriv", append(dropAll[:len(dropAll):len(dropAll)], need.Jail(t), "-p", profile, "--", "/bin/echo", "started")...)
		cmd.Env = append(os.Environ(), "JAIL_ROLE=")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), profile+":4:31: network uplink "+program+": the program is not installed") ||
			!strings.Contains(string(out), "install the package "+pkg+",") || strings.Contains(string(out), "started") {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// The bypasses through jail itself, for a program with every right that a profile can give.
func TestRootJailUplinks(t *testing.T) {
	need.Root(t)
	jailUplinks(t)
}

func TestTUNJailUplinks(t *testing.T) {
	need.TUN(t)
	jailUplinks(t)
}

func jailUplinks(t *testing.T) {
	t.Helper()
	world(t)
	hostBait(t)
	attempts := bypassAttempts()
	without := controlRun(t, attempts)
	for _, p := range uplinkPrograms {
		need.Program(t, p)
		profile := writeProfile(t, egress("")+"  uplink: "+p+"\n"+mighty)
		got, said := jailProbe(t, profile, allowed...)
		for i, o := range got {
			if o.reached == (p == "slirp4netns" && allowed[i] == slirpLacks) {
				t.Errorf("%s: %s: %s\n%s", p, allowed[i], o.detail, said)
			}
		}
		with, _ := jailProbe(t, profile, attempts...)
		checkBypasses(t, without, with)
		// Who joins it enters the same user namespace.
		jailServes(t, profile, "joined-"+p)
		mustReach(t, writeProfile(t, "network: {mode: join, name: joined-"+p+"}\n"), []string{"tcp 127.0.0.1:80", "tcp good.test:80"}, []string{"tcp 203.0.113.11:80"})
	}
	for _, p := range uplinkPrograms {
		if len(uplinks(p)) == 0 {
			t.Errorf("%s does not run while a sandbox has its network", p)
		}
	}
}
