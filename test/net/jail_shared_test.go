package net_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jail/test/need"
)

// jailServes starts a sandbox of bin/jail that serves port 80 until it is stopped.
func jailServes(t *testing.T, profile, name string, port ...string) (pid int, stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	flag := filepath.Join(dir, "flag")
	cmd := ordinary(need.Jail(t), "-p", profile, "--name", name, "--ro", self+":/probe", "--bind", dir, "--env", "JAIL_ROLE=probe", "--", "/probe", strings.Join(append([]string{"listen", flag}, port...), " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	for range 400 {
		if _, err := os.Stat(flag + ".up"); err == nil {
			return cmd.Process.Pid, end
		}
		time.Sleep(25 * time.Millisecond)
	}
	end()
	t.Fatalf("%s does not serve: %s", name, out.String())
	return 0, nil
}

func mustReach(t *testing.T, profile string, reached, refused []string) {
	t.Helper()
	got, said := jailProbe(t, profile, append(reached[:len(reached):len(reached)], refused...)...)
	for i, o := range got {
		if want := i < len(reached); o.reached != want {
			t.Errorf("%s: reached %t, want %t: %s\n%s", append(reached[:len(reached):len(reached)], refused...)[i], o.reached, want, o.detail, said)
		}
	}
}

// Profiles that name one network find each other by --name; who joins a sandbox reaches what that one may.
func TestJailNamedNetwork(t *testing.T) {
	world(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	shop := writeProfile(t, "network:\n  mode: veth\n  name: shop\n  egress: []\n")
	buyer := writeProfile(t, "network:\n  mode: veth\n  name: shop\n  egress: [{allow: \"good.test:80\"}]\n")
	other := writeProfile(t, "network:\n  mode: veth\n  egress: [{allow: private}, {allow: any}]\n")
	_, endFirst := jailServes(t, shop, "first")
	jailServes(t, shop, "db")
	mustReach(t, buyer, []string{"tcp db:80", "tcp db.jail.internal:80", "tcp first:80", "tcp good.test:80"}, []string{"tcp 203.0.113.11:80"})
	endFirst() // SIGKILL
	mustReach(t, buyer, []string{"tcp db:80", "tcp good.test:80"}, []string{"lookup first"})
	mustReach(t, other, []string{"tcp good.test:80"}, []string{"lookup db", "tcp 10.213.0.3:80"})

	join := writeProfile(t, "network: {mode: join, name: db}\n")
	mustReach(t, join, []string{"tcp 127.0.0.1:80", "tcp db:80"}, []string{"tcp good.test:80", "addaddr 203.0.113.200/32", "packet"})
	lone := writeProfile(t, "network: {mode: join, name: nobody}\n")
	for _, c := range []struct{ profile, want string }{
		{lone, lone + `:4:29: network.name: no running sandbox is called "nobody"`},
	} {
		out, err := ordinary(need.Jail(t), "-p", c.profile, "--", "echo", "started").CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "started") {
			t.Errorf("%v: %s, want %s", err, out, c.want)
		}
	}
}

// Sandboxes without a network of their own cannot be joined.
func TestJailJoinOthers(t *testing.T) {
	world(t)
	for name, c := range map[string]struct{ network, want string }{
		"hosted": {"host", "the sandbox hosted has the host's network"},
		"alone":  {"none", "the sandbox alone has no network that others can join"},
	} {
		jailServes(t, writeProfile(t, "network: {mode: "+c.network+"}\n"), name, "8088")
		out, err := ordinary(need.Jail(t), "-p", writeProfile(t, "network: {mode: join, name: "+name+"}\n"), "--", "echo", "started").CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "started") {
			t.Errorf("%v: %s, want %s", err, out, c.want)
		}
	}
}

// The same bypasses through jail as root, for a program with every right that a profile can give.
func TestRootJailNAT(t *testing.T) {
	need.Root(t)
	world(t)
	forwarding(t)
	hostBait(t)
	asRoot = true
	defer func() { asRoot = false }()
	attempts := bypassAttempts()
	without := controlRun(t, attempts)
	profile := writeProfile(t, egress("")+"  uplink: nat\n"+mighty)
	got, said := jailProbe(t, profile, allowed...)
	for i, o := range got {
		if !o.reached {
			t.Errorf("%s: %s\n%s", allowed[i], o.detail, said)
		}
	}
	with, said := jailProbe(t, profile, attempts...)
	checkBypasses(t, without, with)
	if want := "jail: network: tcp to 203.0.113.11, port 80, is refused"; strings.Count(said, want) != 1 {
		t.Errorf("%q was not said once:\n%s", want, said)
	}
	cleanHost(t)
	taken := writeProfile(t, "network: {mode: veth, egress: [], uplink: nat, publish: ['127.0.0.1:9000:80']}\n")
	out, err := exec.Command(need.Jail(t), "-p", taken, "--", "echo", "started").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "listen on 127.0.0.1:9000: address already in use") && !strings.Contains(string(out), "listen on 127.0.0.1:9000: bind: address already in use") {
		t.Errorf("%v: %s", err, out)
	}
}

// Root's sandboxes on a bridge, through jail: the bypasses, a port that another machine reaches, and a sandbox that joins
// the network of another.
func TestRootJailBridge(t *testing.T) {
	need.Root(t)
	world(t)
	forwarding(t)
	lan(t)
	hostBait(t)
	// jail looks for the bridge in /sys, which shows the links of who mounted it.
	if err := shell("mount -t sysfs none /sys"); err != nil {
		t.Fatal(err)
	}
	asRoot = true
	defer func() { asRoot = false }()
	keys := "  bridge: lan0\n  address: [192.0.2.60/24, \"2001:db8:5::60/64\"]\n"
	attempts := bypassAttempts()
	without := controlRun(t, attempts)
	profile := writeProfile(t, egress("")+keys+mighty)
	got, said := jailProbe(t, profile, allowed...)
	for i, o := range got {
		if !o.reached {
			t.Errorf("%s: %s\n%s", allowed[i], o.detail, said)
		}
	}
	with, _ := jailProbe(t, profile, attempts...)
	checkBypasses(t, without, with)

	served := writeProfile(t, "network:\n  mode: veth\n  egress: [{allow: \"good.test:80\"}]\n  publish: [\"192.0.2.60:8080:80\"]\n"+keys)
	_, end := jailServes(t, served, "bridged")
	if err := onNeighbour(func() error { return hello("tcp", "192.0.2.60:8080") }); err != nil {
		t.Errorf("another machine does not reach the published port: %v", err)
	}
	if err := onNeighbour(func() error { return hello("tcp", "192.0.2.60:80") }); err == nil {
		t.Error("another machine reaches a port that is not published")
	}
	join := writeProfile(t, "network: {mode: join, name: bridged}\n")
	mustReach(t, join, []string{"tcp 127.0.0.1:80", "tcp good.test:80"}, []string{"tcp 203.0.113.11:80", "addaddr 203.0.113.200/32", "packet"})
	taken := writeProfile(t, "network:\n  mode: veth\n  egress: []\n  bridge: lan0\n  address: [192.0.2.9/24]\n")
	out, err := exec.Command(need.Jail(t), "-p", taken, "--", "echo", "started").CombinedOutput()
	if want := taken + ":8:"; err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "another machine has this address") || strings.Contains(string(out), "started") {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
	end()
	cleanHost(t)
}

// Root's sandboxes find each other, and join, as an ordinary user's do.
func TestRootJailNamedNetwork(t *testing.T) {
	need.Root(t)
	asRoot = true
	defer func() { asRoot = false }()
	t.Run("named", TestJailNamedNetwork)
	t.Run("others", TestJailJoinOthers)
}
