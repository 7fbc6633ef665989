package net_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNetwork is the annotation of a sandbox in a named network.
func inNetwork(name, egress string) string {
	return fmt.Sprintf(`{"mode":"veth","name":%q,"egress":[%s]%s}`, name, egress, everyNetwork)
}

// box is a sandbox that was started and may be killed.
type box struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// start starts the supervisor of a sandbox, an ordinary user's, with attempts to make.
func start(t *testing.T, name, network string, attempts ...string) *box {
	t.Helper()
	return startRole(t, "run", []string{"JAIL_NETWORK=" + network, "JAIL_NAME=" + name, "JAIL_LOCK=" + locks(t)}, attempts...)
}

func startRole(t *testing.T, role string, env []string, attempts ...string) *box {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &box{cmd: exec.Command("setpriv", slices.Concat(dropAll, []string{self}, attempts)...)}
	if asRoot {
		b.cmd = exec.Command(self, attempts...)
	}
	b.cmd.Env = append(os.Environ(), append(env, "JAIL_ROLE="+role, "JAIL_SELF="+self, "HOSTPID="+strconv.Itoa(os.Getpid()))...)
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.kill() })
	return b
}

// kill ends the supervisor, and then the program, which the launcher would have taken
// along.
func (b *box) kill() {
	_ = b.cmd.Process.Kill()
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	_ = b.cmd.Wait()
}

// outcomes waits for the end and gives what became of each attempt.
func (b *box) outcomes(t *testing.T) map[string]bool {
	t.Helper()
	if err := b.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, b.out.String())
	}
	got := map[string]bool{}
	for line := range strings.Lines(b.out.String()) {
		if f := strings.SplitN(line, "\t", 4); len(f) == 4 {
			got[f[1]] = f[0] == "reached"
		}
	}
	return got
}

// check compares what became of the attempts.
func (b *box) check(t *testing.T, reached, refused []string) {
	t.Helper()
	got := b.outcomes(t)
	for _, a := range reached {
		if !got[a] {
			t.Errorf("%s did not reach it:\n%s", a, b.out.String())
		}
	}
	for _, a := range refused {
		if ok, tried := got[a]; ok || !tried {
			t.Errorf("%s reached it, or was not tried:\n%s", a, b.out.String())
		}
	}
}

var lockFolder string

func locks(t *testing.T) string {
	t.Helper()
	if lockFolder == "" {
		dir, err := os.MkdirTemp("", "locks")
		if err != nil {
			t.Fatal(err)
		}
		lockFolder = dir
	}
	return lockFolder
}

// serving starts a sandbox that serves port 80, and waits for it.
func serving(t *testing.T, name, network string) (b *box, stop func()) {
	t.Helper()
	flag := filepath.Join(t.TempDir(), name)
	b = start(t, name, network, "listen "+flag)
	if !appears(flag+".up", time.Minute) {
		b.kill()
		t.Fatalf("%s does not serve: %s", name, b.out.String())
	}
	return b, func() {
		if err := os.WriteFile(flag+".stop", nil, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// appears waits for a file.
func appears(file string, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}

const allowGood = `{"action":"allow","host":"good.test","ports":["80"]}`

// Sandboxes of a named network find each other by name; one in another network, and
// one in none, cannot reach them; egress rules are each sandbox's own, the host's ports among them; and whoever
// was first may go first.
func TestNamedNetwork(t *testing.T) {
	world(t)
	hostBait(t)
	first, _ := serving(t, "first", inNetwork("n", ""))
	db, stop := serving(t, "db", inNetwork("n", ""))
	addr := "10.213.0.3:80"
	inside := []string{"tcp4 db:80", "tcp6 db:80", "tcp DB.jail.internal:80", "tcp first:80", "tcp " + addr}
	outside := []string{"lookup db", "lookup db.jail.internal", "tcp " + addr, "tcp [fd6a:6169:6c00::3]:80"}
	start(t, "a", inNetwork("n", allowGood), append(inside, "tcp good.test:80", "tcp 203.0.113.11:80")...).
		check(t, append(inside, "tcp good.test:80"), []string{"tcp 203.0.113.11:80"})
	start(t, "b", inNetwork("n", ""), "tcp db:80", "tcp good.test:80").check(t, []string{"tcp db:80"}, []string{"tcp good.test:80"})
	host := []string{"tcp host.jail.internal:9000", "tcp 10.213.0.254:9000", "tcp [fd6a:6169:6c00::fe]:9000"}
	closed := []string{"tcp 10.213.0.254:9001", "tcp [fd6a:6169:6c00::fe]:9001"}
	start(t, "h", inNetwork("n", `{"action":"allow","group":"host","ports":["9000"]}`), slices.Concat(host, closed)...).check(t, host, closed)
	start(t, "i", inNetwork("n", ""), host...).check(t, nil, host)
	private := `{"action":"allow","group":"private"},{"action":"allow","group":"any"}`
	other, none := start(t, "c", inNetwork("other", private), outside...), start(t, "d", inNetwork("", private), outside...)
	other.check(t, nil, outside)
	none.check(t, nil, outside)

	taken := start(t, "db", inNetwork("n", ""), "raw")
	if err := taken.cmd.Wait(); err == nil || !strings.Contains(taken.out.String(), "a sandbox named db is in it already") {
		t.Errorf("a name that is taken: %v\n%s", err, taken.out.String())
	}
	if everyNetwork != "" {
		mixed := start(t, "m", `{"mode":"veth","name":"n","egress":[]}`, "raw")
		if err := mixed.cmd.Wait(); err == nil || !strings.Contains(mixed.out.String(), "its way out is another") {
			t.Errorf("another way out: %v\n%s", err, mixed.out.String())
		}
	}
	first.kill()
	start(t, "e", inNetwork("n", allowGood), "tcp db:80", "tcp good.test:80", "lookup first").
		check(t, []string{"tcp db:80", "tcp good.test:80"}, []string{"lookup first"})
	stop()
	if err := db.cmd.Wait(); err != nil {
		t.Error(err, db.out.String())
	}
	gone(t)
}

// gone waits for the end of every gateway that the tests started.
func gone(t *testing.T) {
	t.Helper()
	var left []string
	for range 200 {
		if left = gateways(); len(left) == 0 {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("gateways are left: %v", left)
	}
}

// gateways are the gateway processes in this network namespace, which is the test's own, and those that wait to become one.
func gateways() []string {
	own, _ := os.Readlink("/proc/thread-self/ns/net")
	proc, _ := filepath.Glob("/proc/[0-9]*")
	var left []string
	for _, p := range proc {
		exe, _ := os.Readlink(p + "/exe")
		ns, _ := os.Readlink(p + "/ns/net")
		inMemory, inFile := strings.HasPrefix(exe, "/memfd:jail-net-gateway"), strings.HasPrefix(filepath.Base(exe), "jail-net-gateway-")
		comm, _ := os.ReadFile(p + "/comm")
		if (inMemory || inFile || string(comm) == waitingName) && ns == own && !isHostProcess(p) {
			left = append(left, p)
		}
	}
	return left
}

// waitingName is what the process is called that becomes a gateway when the first packet comes.
const waitingName = "jail-network\n"

// isHostProcess tells apart the process that starts a gateway as root.
func isHostProcess(proc string) bool {
	line, _ := os.ReadFile(proc + "/cmdline")
	return slices.Contains(strings.Split(string(line), "\x00"), "host")
}

// Members come and are killed at any moment: the network stays usable, there is
// never a second one of its name, and at the end nothing is left.
func TestNamedNetworkKills(t *testing.T) {
	world(t)
	_, stop := serving(t, "anchor", inNetwork("k", ""))
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		var all []*box
		for j := range 3 {
			all = append(all, start(t, fmt.Sprintf("x%d-%d", i, j), inNetwork("k", ""), "tcp anchor:80"))
		}
		for _, b := range all {
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
			b.kill()
		}
	}
	if left := gateways(); len(left) != 1 {
		t.Errorf("%d gateways serve one network", len(left))
	}
	start(t, "last", inNetwork("k", ""), "tcp anchor:80").check(t, []string{"tcp anchor:80"}, nil)
	stop()
	gone(t)
	// Nobody is there to begin with: all begin at once, and are killed.
	for i := range rounds {
		var all []*box
		for j := range 3 {
			all = append(all, start(t, fmt.Sprintf("y%d-%d", i, j), inNetwork("k", ""), "lookup nobody"))
		}
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		if left := gateways(); len(left) > 1 {
			// One that is ending may still be there beside the new one.
			time.Sleep(300 * time.Millisecond)
			if left = gateways(); len(left) > 1 {
				t.Errorf("round %d: gateways %v for one name", i, left)
			}
		}
		for _, b := range all {
			b.kill()
		}
	}
	gone(t)
}

// A process in a namespace of its own that calls itself the gateway of a network is not
// believed: whoever joined it would be in a network of its making.
func TestFakeGateway(t *testing.T) {
	world(t)
	mem, err := unix.MemfdCreate("jail-network", 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(mem), "memory")
	defer f.Close()
	if _, err := f.WriteString(`{"name":"fake"}`); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	door, knock := os.NewFile(uintptr(pair[0]), "door"), os.NewFile(uintptr(pair[1]), "knock")
	defer door.Close()
	defer knock.Close()
	cmd := exec.Command("setpriv", slices.Concat(dropAll, []string{"unshare", "-r", "-m", "sleep", "60"})...)
	cmd.ExtraFiles = []*os.File{f, f, door, knock}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	time.Sleep(300 * time.Millisecond)
	if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/4", cmd.Process.Pid)); !strings.Contains(to, "jail-network") {
		t.Fatalf("the fake has %q for its name, so this proves nothing", to)
	}
	start(t, "a", inNetwork("fake", allowGood), "tcp good.test:80").check(t, []string{"tcp good.test:80"}, nil)
	gone(t)
}

// Who joins a sandbox's network reaches what that sandbox may and nothing else, sees its
// loopback, and has no right over the network. Namespaces of others are refused.
func TestJoin(t *testing.T) {
	world(t)
	memo := filepath.Join(t.TempDir(), "memo")
	t.Setenv("JAIL_MEMO", memo)
	_, stop := serving(t, "target", inNetwork("", allowGood))
	joiner := []string{"JAIL_MEMO=" + memo}
	startRole(t, "join", joiner, "tcp 127.0.0.1:80", "tcp good.test:80", "lookup host.jail.internal", "tcp 203.0.113.11:80", "packet", "addroute 203.0.113.201/32").
		check(t, []string{"tcp 127.0.0.1:80", "tcp good.test:80", "lookup host.jail.internal"}, []string{"tcp 203.0.113.11:80", "packet", "addroute 203.0.113.201/32"})
	stop()

	for _, c := range []struct{ name, sh, want string }{
		{"the host's network", "ln -s /proc/$$/ns/net $0; exec sleep 60", "it has the host's network"},
		{"a network made inside a sandbox", `unshare -r unshare -rn sh -c 'ln -s /proc/$$/ns/net $0; exec sleep 60' $0`, "not a user namespace that was made from this one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := filepath.Join(t.TempDir(), "fake")
			cmd := exec.Command("setpriv", slices.Concat(dropAll, []string{"sh", "-c", c.sh, fake})...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() }()
			for range 200 {
				if _, err := os.Lstat(fake); err == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			b := startRole(t, "join", []string{"JAIL_MEMO=" + fake}, "raw")
			if err := b.cmd.Wait(); err == nil || !strings.Contains(b.out.String(), c.want) {
				t.Errorf("%v: %s, want %q", err, b.out.String(), c.want)
			}
		})
	}
	gone(t)
}
