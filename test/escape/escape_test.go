package escape

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A victim is a home with baits in it, and a session around it.
type victim struct {
	t    *testing.T
	home string
	env  []string
	self string // the test binary

	dir        string // of what it starts, if not the home
	privileged bool   // see privilegedCaller
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	if strings.HasPrefix(t.Name(), "TestRoot") {
		need.Root(t)
	} else {
		need.OrdinaryUser(t)
	}
	need.UserNamespaces(t)
	home, err := os.MkdirTemp("/var/tmp", "jail-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(home, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
		_ = os.RemoveAll(home)
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{t: t, home: home, self: self, env: []string{"HOME=" + home, "PATH=/usr/bin:/bin", "LANG=C", "BAIT_SELF=" + self}}
	for name, text := range map[string]string{
		"secrets/bait": "bait\n", "work/project/.env": "bait\n", "work/given/mine": "mine\n", "work/closed/.env": "bait\n", "stream": "read only\n",
		"work/starts-the-launcher": "#!/proc/self/exe\n", "leak/bait": "bait\n",
	} {
		v.write(name, text)
	}
	if err := os.Chmod(filepath.Join(home, "work/starts-the-launcher"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("project/.env", filepath.Join(home, "work/link")); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *victim) write(name, text string) string {
	v.t.Helper()
	path := filepath.Join(v.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		v.t.Fatal(err)
	}
	return path
}

func (v *victim) profile(name, body string) {
	v.t.Helper()
	v.write(".config/jail/profiles/"+name+".yaml", "version: 1\nname: "+name+"\nextends: [default]\n"+body)
}

// session plants what an attacker may find beside files: listeners, a segment, a key. The key goes to the session
// keyring of this thread, and so to the programs that it starts.
func (v *victim) session() {
	v.t.Helper()
	runtime.LockOSThread() // for good: the keyring must not be another test's
	abstract, err := net.Listen("unix", "@jail-escape-"+filepath.Base(v.home))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { abstract.Close() })
	port, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { port.Close() })
	key := 0x6a000000 | os.Getpid()
	id, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	if _, err := unix.KeyctlJoinSessionKeyring("jail-escape-" + filepath.Base(v.home)); err != nil {
		v.t.Fatal(err)
	}
	if _, err := unix.AddKey("user", "jail-bait", []byte("bait"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		v.t.Fatal(err)
	}
	v.env = append(v.env, "BAIT_ABSTRACT=jail-escape-"+filepath.Base(v.home), fmt.Sprint("BAIT_PORT=", port.Addr().(*net.TCPAddr).Port), fmt.Sprint("BAIT_SHM=", key))
}

// run starts a command with a stream that is read-only and a directory that leaked to descriptors 3 to 12, with or
// without a terminal of the caller's. typed tells whether something was typed into that.
func (v *victim) run(terminal bool, args ...string) (out string, code int, typed bool) {
	v.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = cmp.Or(v.dir, v.home), v.env
	leak, err := os.Open(filepath.Join(v.home, "leak"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer leak.Close()
	for range 10 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, leak)
	}
	stdin, err := os.Open(filepath.Join(v.home, "stream"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer stdin.Close()
	cmd.Stdin = stdin
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if v.privileged {
		cmd.SysProcAttr = privilegedCaller()
	}
	var slave *os.File
	if terminal {
		master, s := v.terminal()
		defer master.Close()
		defer s.Close()
		slave, cmd.Stdin = s, s
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		v.t.Fatal(err)
	}
	if slave != nil {
		n, err := unix.IoctlGetInt(int(slave.Fd()), unix.TIOCINQ)
		typed = err != nil || n > 0
	}
	return both.String(), cmd.ProcessState.ExitCode(), typed
}

// terminal is the caller's, in raw mode so that what is typed is there at once.
func (v *victim) terminal() (master, slave *os.File) {
	v.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		v.t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		v.t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	settings, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		v.t.Fatal(err)
	}
	settings.Lflag &^= unix.ICANON | unix.ECHO
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, settings); err != nil {
		v.t.Fatal(err)
	}
	return master, slave
}

// TestEscapes runs each attack under jail, under jail's packages as the control uses them, and with the protection out.
func TestEscapes(t *testing.T) { tryEscapes(t, false) }

// TestRootEscapes is TestEscapes as root, with what only root could do without a sandbox.
func TestRootEscapes(t *testing.T) {
	need.Root(t)
	tryEscapes(t, true)
}

func tryEscapes(t *testing.T, root bool) {
	for i := range escapes {
		c := &escapes[i]
		if c.root && !root || c.notRoot && root {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.terminal {
				c.needTIOCSTI(t)
			}
			v := newVictim(t)
			if strings.HasPrefix(c.attack, "/abi") {
				v.compileC("abi")
				if out, _, _ := v.run(false, filepath.Join(v.home, "abi"), strings.Fields(c.attack)[1]); !strings.Contains(out, "won: ") {
					t.Skip("this kernel has no calls by that ABI for anybody, or no user namespaces by them")
				}
			}
			v.session()
			v.write(".config/jail/profiles/"+profileName(i)+".yaml", v.withAttacker(i))
			for _, run := range []struct {
				name string
				wins bool
				args []string
			}{
				{"jail", false, append([]string{need.Jail(t), "-p", profileName(i), "--"}, v.command(c)...)},
				{"jail's packages", false, []string{v.self, "launch", profileName(i)}},
				{"without the protection", true, []string{v.self, "launch", profileName(i), "weakened"}},
			} {
				if c.between != nil {
					v.restore()
					if run.name == "jail" {
						continue // nothing comes between plan and start of a whole jail but by chance: see TestSwaps
					}
				}
				out, code, typed := v.run(c.terminal, run.args...)
				won := strings.Contains(out, "won: ") || typed
				held := strings.Contains(out, "held: ") || code != 0
				if won != run.wins || !won && !held {
					t.Errorf("%s: won %t, want %t; exit code %d\n%s", run.name, won, run.wins, code, out)
				}
			}
		})
	}
}

// withAttacker is the profile of a case with the attacker in it.
func (v *victim) withAttacker(i int) string {
	body := strings.NewReplacer("${HOME}", v.home, "${SELF}", v.self).Replace(escapes[i].profile)
	entry := "{path: /attack, source: " + v.self + ", mode: ro}"
	if strings.Contains(body, "filesystem: [") {
		body = strings.Replace(body, "filesystem: [", "filesystem: ["+entry+", ", 1)
	} else {
		body += "filesystem: [" + entry + "]\n"
	}
	return "version: 1\nname: " + profileName(i) + "\nextends: [default]\n" + body
}

func (v *victim) command(c *escape) []string {
	words := c.command(v.home)
	for i := range words {
		for _, e := range v.env {
			if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "BAIT_") {
				words[i] = strings.ReplaceAll(words[i], "${"+strings.TrimPrefix(name, "BAIT_")+"}", value)
			}
		}
	}
	return words
}

// restore undoes what came between.
func (v *victim) restore() {
	given := filepath.Join(v.home, "work/given")
	if _, err := os.Lstat(given + ".old"); err == nil {
		_ = os.Remove(given)
		_ = os.Rename(given+".old", given)
	}
}

// needTIOCSTI skips where the kernel has taken the call from everybody (sysctl dev.tty.legacy_tiocsti, Linux 6.2): the
// control run would prove nothing.
func (c *escape) needTIOCSTI(t *testing.T) {
	if text, err := os.ReadFile("/proc/sys/dev/tty/legacy_tiocsti"); err == nil && strings.TrimSpace(string(text)) == "0" {
		t.Skip("this kernel has TIOCSTI for nobody (dev.tty.legacy_tiocsti=0)")
	}
}

// compileC makes a small attacker of C in the home. The virtual machine has no compiler: there test/vm has compiled it.
func (v *victim) compileC(name string) {
	v.t.Helper()
	program := filepath.Join(v.home, name)
	compile := exec.Command("cp", "/stage/attack-"+name, program)
	if os.Getenv("JAIL_GUEST") == "" {
		compile = exec.Command(need.Program(v.t, "gcc", "cc"), "-static", "-O1", "-o", program, filepath.Join(need.Tree(v.t), "test/escape/attacks", name+".c"))
	}
	if out, err := compile.CombinedOutput(); err != nil {
		v.t.Fatalf("%v\n%s", err, out)
	}
}

// jail runs jail, for cases that need no weakened plan, and gives what it said.
func (v *victim) jail(args ...string) (out string, code int) {
	v.t.Helper()
	began := time.Now()
	out, code, _ = v.run(false, append([]string{need.Jail(v.t)}, args...)...)
	if took := time.Since(began); took > time.Minute {
		v.t.Errorf("took %s", took)
	}
	return out, code
}
