package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// bare is a profile that takes no namespace: the system's programs, and the folder box of the home.
const bare = `
filesystem:
  - {path: /usr, mode: ro}
  - {path: /bin, mode: ro}
  - {path: /lib, mode: ro}
  - {path: /lib64, mode: ro, optional: true}
  - {path: /etc/ld.so.cache, mode: ro}
  - {path: "~/box", mode: rw}
  - {path: "~/look", mode: ro}
syscalls: {default: EPERM, allow: ["@default"%s]}
process: {cwd: "~/box"}
enforcement: {namespaces: prefer}
`

// alone makes a machine without namespaces of the command that follows: a user namespace that may have no others.
func alone(t testing.TB) []string {
	t.Helper()
	need.Kernel(t, 6, 12)
	need.Program(t, "setpriv")
	return []string{need.Program(t, "unshare"), "--user", "--map-current-user", "--keep-caps", "sh", "-c",
		`echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"`, "sh"}
}

// aloneUser has a home with the folders that bare names, and jail without namespaces.
func aloneUser(t testing.TB, calls string) (u *user, without func(args ...string) *exec.Cmd) {
	t.Helper()
	wrap := alone(t)
	u = newUser(t)
	u.write("box/mine", "mine\n")
	u.write("look/shown", "shown\n")
	u.profile("bare", fmt.Sprintf(bare, calls))
	return u, func(args ...string) *exec.Cmd {
		words := append(append([]string{}, wrap...), args...)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir, cmd.Env = u.home, u.env
		return cmd
	}
}

// Landlock and the filter alone keep what the mounts and namespaces keep elsewhere. Each attempt is seen to go through
// on the same machine without jail.
func TestAloneHolds(t *testing.T) {
	need.Program(t, "python3")
	u, without := aloneUser(t, ", ptrace, process_vm_readv, keyctl, add_key")
	u.write("victim", "as it was\n")
	u.write("tool.sh", "#!/bin/sh\n")
	listeners := listenAround(t, u.home)
	// A process outside that lets itself be traced by anybody, with a secret in its environment: PR_SET_PTRACER, prctl(2).
	keeper := without("python3", "-c", "import ctypes, time; ctypes.CDLL(None).prctl(0x59616d61, -1); print(flush=True); time.sleep(600)")
	keeper.Env = append(keeper.Env, "SECRET=bait")
	ready, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = keeper.Process.Kill(); _ = keeper.Wait() }()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	preamble := fmt.Sprintf("import ctypes, os, resource, socket, sys\nH, K, NAME = %q, %d, %q\n", u.home, keeper.Process.Pid, listeners.abstract) +
		fmt.Sprintf("TCP, UDP = %d, %d\n", listeners.tcp, listeners.udp) + `
c = ctypes.CDLL(None, use_errno=True)
def call(*a):
    r = c.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
    if r < 0: raise OSError(ctypes.get_errno(), 'call')
    return r
`
	attempts := map[string]string{
		"read a key":                          "open(H + '/.ssh/id_bait').read()",
		"list the home":                       "os.listdir(H)",
		"make a file":                         "open(H + '/new', 'w'); os.unlink(H + '/new')",
		"change a file":                       "open(H + '/victim', 'r+')",
		"shorten a file":                      "os.truncate(H + '/victim', 10)",
		"make a folder":                       "os.mkdir(H + '/dir'); os.rmdir(H + '/dir')",
		"make a link":                         "os.symlink('x', H + '/ln'); os.unlink(H + '/ln')",
		"move a file in":                      "os.rename(H + '/victim', H + '/box/v'); os.rename(H + '/box/v', H + '/victim')",
		"link a file in":                      "os.link(H + '/victim', H + '/box/l'); os.unlink(H + '/box/l')",
		"go by a link":                        "os.symlink(H + '/.ssh/id_bait', H + '/box/s' + str(os.getpid())); open(H + '/box/s' + str(os.getpid())).read()",
		"go by /proc":                         "open('/proc/self/root' + H + '/.ssh/id_bait').read()",
		"execute what is outside":             "os.chmod(H + '/tool.sh', 0o755); os.spawnv(os.P_WAIT, H + '/tool.sh', ['x']) and sys.exit(1)",
		"change a mode":                       "os.chmod(H + '/victim', 0o600)",
		"change the mode of what it may read": "os.fchmod(os.open(H + '/look/shown', os.O_RDONLY), 0o600)",
		"change an owner":                     "os.chown(H + '/victim', os.getuid(), os.getgid())",
		"change an attribute":                 "os.setxattr(H + '/victim', 'user.x', b'1')",
		"change times":                        "os.utime(H + '/victim', (1, 1))",
		"change what it may read":             "open(H + '/look/shown', 'r+')",
		"make a file beside it":               "open(H + '/look/new', 'w'); os.unlink(H + '/look/new')",
		"watch a folder":                      "assert c.inotify_add_watch(c.inotify_init(), (H + '/.ssh').encode(), 0x100) >= 0",
		"reach an abstract socket":            "socket.socket(socket.AF_UNIX).connect('\\0' + NAME)",
		"reach a socket by its path":          "socket.socket(socket.AF_UNIX).connect(H + '/sock')",
		"reach one by half of a pair":         "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect(H + '/dgram')",
		"connect by TCP":                      "socket.create_connection(('127.0.0.1', TCP), 5)",
		"listen by TCP":                       "socket.socket().bind(('127.0.0.1', 0))",
		"send by UDP":                         "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP))",
		"look at the network's settings":      "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
		"signal a process":                    "os.kill(K, 0)",
		"signal who started it":               "os.kill(os.getppid(), 0)",
		"read its environment":                "assert b'bait' in open('/proc/%d/environ' % K, 'rb').read()",
		"read its memory":                     "open('/proc/%d/mem' % K, 'rb')",
		"trace it":                            "assert c.ptrace(0x4206, K, 0, 0) == 0; c.ptrace(17, K, 0, 0)",
		"limit it":                            "resource.prlimit(K, resource.RLIMIT_NPROC, (100, 100))",
		"slow it down":                        "os.setpriority(os.PRIO_PROCESS, K, os.getpriority(os.PRIO_PROCESS, K) + 1)",
		"move it to another processor":        "os.sched_setaffinity(K, os.sched_getaffinity(K))",
		"make shared memory":                  "m = c.shmget(0, 4096, 0o1600); assert m >= 0; c.shmctl(m, 0, 0)",
		"make a message queue":                "assert ctypes.CDLL('librt.so.1').mq_open(b'/jail%d' % os.getpid(), 0o102, 0o600, None) >= 0; ctypes.CDLL('librt.so.1').mq_unlink(b'/jail%d' % os.getpid())",
		"add a key":                           "assert call(248, b'user', b'jail-test', b'x', 1, -3 & 0xffffffff) if os.uname().machine == 'x86_64' else call(217, b'user', b'jail-test', b'x', 1, -3 & 0xffffffff)",
	}
	script := preamble
	for what, code := range attempts {
		script += fmt.Sprintf("try:\n    %s\nexcept (OSError, AssertionError) as e:\n    print(%q, '=', 'refused', e)\nelse:\n    print(%q, '=', 'open')\n", code, what, what)
	}
	// In the keeper's user namespace: from another one nobody could trace it.
	said := func(args ...string) map[string]string {
		cmd := exec.Command("nsenter", append([]string{"--preserve-credentials", "--user", "--target", fmt.Sprint(keeper.Process.Pid)}, args...)...)
		cmd.Dir, cmd.Env = u.home, u.env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return lines(string(out))
	}
	control, inside := said("python3", "-c", script), said(need.Jail(t), "-p", "bare", "python3", "-c", script)
	for what := range attempts {
		if control[what] != "open" {
			t.Errorf("control: %s: %s", what, control[what])
		}
		if !strings.HasPrefix(inside[what], "refused") {
			t.Errorf("%s: %q", what, inside[what])
		}
	}
	if text, err := os.ReadFile(u.home + "/victim"); err != nil || string(text) != "as it was\n" {
		t.Errorf("the file outside holds %q, %v", text, err)
	}
}

// around is what listens outside.
type around struct {
	abstract string
	tcp, udp int
}

func listenAround(t *testing.T, home string) around {
	t.Helper()
	a := around{abstract: fmt.Sprintf("jail-alone-%d", os.Getpid())}
	for _, address := range []string{"@" + a.abstract, home + "/sock"} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	d, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: home + "/dgram", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	a.tcp, a.udp = l.Addr().(*net.TCPAddr).Port, p.LocalAddr().(*net.UDPAddr).Port
	return a
}

// What is granted works, and so do the programs of everyday.
func TestAloneWorks(t *testing.T) {
	need.Program(t, "git")
	need.Program(t, "python3")
	u, without := aloneUser(t, "")
	script := `set -e
cat mine ../look/shown; echo more >> mine; mkdir a b; echo x > a/f; mv a/f b/g; ln b/g a/h; rm -r a b; touch mine
echo piped | tee /dev/stderr > /dev/stdout; python3 -c 'import subprocess, threading, json; print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout, end="")'
(sleep 600 & kill $!; wait $! || echo killed); echo "$$" > pid; test "$(cat pid)" = "$$"
grep -E 'NoNewPrivs|Cap(Inh|Prm|Eff|Amb)|^Seccomp:' /proc/self/status | tr -s '\t\n' ' '; umask`
	cmd := without(need.Jail(t), "-p", "bare", "bash", "-c", script)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	const none = "0000000000000000"
	want := "mine\nshown\npiped\nchild\nkilled\nCapInh: " + none + " CapPrm: " + none + " CapEff: " + none + " CapAmb: " + none + " NoNewPrivs: 1 Seccomp: 2 0022\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s%s\nwant\n%s", err, out, errs.String(), want)
	}
	for _, word := range []string{"jail: warning: no namespaces: user namespaces are switched off by the sysctl user.max_user_namespaces=0", "with Landlock alone: it sees the host's processes",
		"it has no /tmp", "  hint: sudo sysctl -w user.max_user_namespaces="} {
		if strings.Count(errs.String(), word) != 1 {
			t.Errorf("not said once: %q\n%s", word, errs.String())
		}
	}
	// A repository that is there: what git may not do without modes is to write its own settings.
	repository := u.home + "/box/repo"
	if out, err := exec.Command("git", "init", "-q", repository).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	git := `set -e; cd repo; echo 1 > f; git add f; git -c user.name=a -c user.email=a@b commit -qm one; git log --format=%s; git diff --stat; git checkout -q -b other; git status --short --branch`
	settings := []string{"--env", "GIT_CONFIG_NOSYSTEM=1", "--env", "GIT_CONFIG_GLOBAL=/dev/null"} // those of the machine and of the home are not granted
	if out, err := without(append(append([]string{need.Jail(t)}, settings...), "-p", "bare", "sh", "-c", git)...).Output(); err != nil || string(out) != "one\n## other\n" {
		t.Errorf("git: %v\n%s", err, out)
	}
	for code, command := range map[int]string{7: "exit 7", 128 + int(unix.SIGTERM): "kill $$", 127: "exec nothing-there"} {
		cmd := without(need.Jail(t), "-p", "bare", "sh", "-c", command)
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != code {
			t.Errorf("%s: exit code %d, want %d", command, cmd.ProcessState.ExitCode(), code)
		}
	}
	// A container whose filter knows no namespaces, as jail's own is one, is another machine without.
	self := need.Jail(t)
	nested := fmt.Sprintf("%s -p bare cat mine", self)
	u.profile("outer", "extends: [default]\nfilesystem:\n  - {path: \"~/box\", mode: rw}\n  - {path: \"~/look\", mode: ro}\n  - {path: \"~/.config\", mode: ro}\n  - {path: "+self+", mode: ro}\nprocess: {cwd: \"~/box\"}\n")
	if stdout, stderr, code := u.run("-p", "outer", "sh", "-c", nested); code != 0 || !strings.HasPrefix(stdout, "mine\n") || !strings.Contains(stderr, "no namespaces: ") {
		t.Errorf("in a sandbox: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// Below a folder that is only read what is hidden stays hidden, also what comes later, and what lies beside it does not.
func TestAloneHides(t *testing.T) {
	u, without := aloneUser(t, "")
	for _, name := range []string{"look/.env", "look/deep/.env", "look/deep/seen", "look/keys/id"} {
		u.write(name, name+"\n")
	}
	hides := "filesystem:\n  - {path: \"~/look/**/.env\", hide: true}\n  - {path: \"~/look/keys\", hide: true}\n"
	u.profile("hides", "extends: [bare]\n"+hides)
	script := "cd ../look; for f in .env deep/.env deep/seen keys/id shown; do cat $f 2>/dev/null || echo no; done; ls deep 2>/dev/null | tr '\\n' ' '; ls keys 2>/dev/null || echo hidden"
	for profile, want := range map[string]string{
		"bare":  "look/.env\nlook/deep/.env\nlook/deep/seen\nlook/keys/id\nshown\nseen id\n",
		"hides": "no\nno\nlook/deep/seen\nno\nshown\nseen hidden\n",
	} {
		if out, err := without(need.Jail(t), "-p", profile, "sh", "-c", script).Output(); err != nil || string(out) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", profile, err, out, want)
		}
	}
	// What can be written cannot have a hole in it.
	u.write("box/.env", "x\n")
	path := u.profile("hole", "extends: [bare]\nfilesystem:\n  - {path: \"~/box/.env\", hide: true}\n")
	cmd := without(need.Jail(t), "-p", "hole", "touch", "started")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), path+":5:12: "+u.home+"/box/.env: must not be reached, and lies below what can be written") {
		t.Errorf("exit code %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
	if _, err := os.Stat(u.home + "/box/started"); err == nil {
		t.Error("the program was started all the same")
	}
}

// Nothing outlives the program, nor jail, nor 'jail stop', though there is no pid namespace that would see to it.
func TestAloneLeavesNothing(t *testing.T) {
	u, without := aloneUser(t, "")
	mark := unique()
	start := func() *exec.Cmd {
		t.Helper()
		cmd := without(need.Jail(t), "--name", "family-alone", "-p", "bare", "sh", "-c", family(mark)+"; sleep 600 # "+mark)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			for _, pid := range marked(mark) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		})
		for end := time.Now().Add(30 * time.Second); len(sleepers(mark)) < 3; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d processes have started, want 3", len(sleepers(mark)))
			}
		}
		return cmd
	}
	for how, end := range map[string]func(cmd *exec.Cmd){
		"jail is killed":      func(cmd *exec.Cmd) { _ = cmd.Process.Kill() },
		"jail gets SIGTERM":   func(cmd *exec.Cmd) { _ = cmd.Process.Signal(unix.SIGTERM) },
		"jail stop":           func(*exec.Cmd) { stopAlone(t, u, "--time", "10s") },
		"jail stop --time 0s": func(*exec.Cmd) { stopAlone(t, u, "--time", "0s") },
	} {
		cmd := start()
		end(cmd)
		_ = cmd.Wait()
		if !remain(mark, 0) {
			t.Errorf("%s: %d processes are left", how, len(marked(mark)))
		}
	}
	// When the program ends by itself.
	out, err := without(need.Jail(t), "-p", "bare", "sh", "-c", "setsid sleep "+mark+" >/dev/null 2>&1 & (sleep "+mark+" >/dev/null 2>&1 &); echo done").Output()
	if err != nil || string(out) != "done\n" || !remain(mark, 0) {
		t.Errorf("%v %q: %d processes are left", err, out, len(marked(mark)))
	}
	// And when its time is up, also where it does not listen.
	begun := time.Now()
	cmd := without(need.Jail(t), "--set", "process.timeout=1s", "-p", "bare", "sh", "-c", "trap '' TERM; setsid sleep "+mark+" & while :; do sleep 0.1; done")
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 128+int(unix.SIGKILL) || !remain(mark, 0) {
		t.Errorf("after %v: exit code %d, %d processes are left", time.Since(begun), cmd.ProcessState.ExitCode(), len(marked(mark)))
	}
	// Control: without jail they stay.
	if err := without("sh", "-c", "setsid sleep "+mark+" >/dev/null 2>&1 & echo").Run(); err != nil || !remain(mark, 1) {
		t.Errorf("control: %v: %d processes are left, want 1", err, len(marked(mark)))
	}
}

func sleepers(mark string) []int {
	var all []int
	for _, pid := range marked(mark) {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(name) == "sleep\n" {
			all = append(all, pid)
		}
	}
	return all
}

// stopAlone stops the sandbox from where it can be seen, which is where it was started.
func stopAlone(t *testing.T, u *user, flags ...string) {
	t.Helper()
	pid := supervisors(t, "family-alone")[0]
	words := append([]string{"nsenter", "--preserve-credentials", "--user", "--target", fmt.Sprint(pid), need.Jail(u.t), "stop"}, append(flags, "family-alone")...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env = u.home, u.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("jail stop: %v\n%s", err, out)
	}
}

// The terminal is one of the sandbox's own, and the program can open no other.
func TestAloneHasATerminalOfItsOwn(t *testing.T) {
	wrap := alone(t)
	need.Program(t, "tmux")
	u := newUser(t)
	u.write("box/.keep", "")
	u.write("look/.keep", "")
	u.profile("bare", fmt.Sprintf(bare, ""))
	p := newPane(t, u)
	u.write("wrapped", "#!/bin/sh\nexec "+strings.Join(quoted(wrap), " ")+" \"$@\"\n")
	const device = "stat -L -c %d:%i /dev/fd/0"
	p.line("clear; " + device + " > mine; tty > path; sh wrapped " + need.Jail(t) + " -p bare sh -c '" + device + "; echo seen > /dev/tty; (: > '$(tty)') 2>/dev/null && echo opened; " +
		"stty size; echo end' > box/inside; echo loo''ked")
	p.sees("looked")
	mine, err := os.ReadFile(filepath.Join(u.home, "mine"))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := os.ReadFile(filepath.Join(u.home, "box/inside"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(mine)) == "" || strings.Contains(string(inside), strings.TrimSpace(string(mine))) || strings.Contains(string(inside), "opened") || !strings.Contains(string(inside), "end") {
		t.Errorf("the caller's terminal is %s, inside is\n%s", mine, inside)
	}
	p.sees("seen")
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = "'" + w + "'"
	}
	return out
}

// Calls of the set-up that are made to fail, or to do nothing and say that they did: the program is not started. The
// control is the same start without a fault.
func TestAloneFailsClosed(t *testing.T) {
	strace := need.Program(t, "strace")
	u, without := aloneUser(t, "")
	started := filepath.Join(u.home, "box/started")
	start := func(inject ...string) (int, string) {
		_ = os.Remove(started)
		cmd := without(append(append([]string{strace, "-f", "-qq", "-o", "/dev/null"}, inject...), need.Jail(t), "-p", "bare", "touch", started)...)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, out := start("-e", "trace=none"); code != 0 {
		t.Fatalf("control: exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(started); err != nil {
		t.Fatalf("control: the program was not started: %v", err)
	}
	for _, fault := range []string{"close_range:error=EPERM", "setsid:error=EPERM", "prctl:error=ENOMEM", "landlock_create_ruleset:error=ENOMEM", "landlock_add_rule:error=ENOMEM",
		"landlock_restrict_self:error=E2BIG", "landlock_restrict_self:retval=0:when=1", "kill:retval=0", "capset:error=EPERM",
		"seccomp:error=ENOMEM", "seccomp:error=EACCES:when=2", "setpgid:error=EPERM"} {
		call, _, _ := strings.Cut(fault, ":")
		code, out := start("-e", "trace="+call, "-e", "inject="+fault)
		if _, err := os.Stat(started); err == nil {
			t.Errorf("%s: the program was started", fault)
		}
		if code != 125 || !strings.Contains(out, "jail: ") {
			t.Errorf("%s: exit code %d\n%s", fault, code, out)
		}
	}
}

// A socket that could be connected to anything is not handed in.
func TestAloneTakesNoOpenSocket(t *testing.T) {
	_, without := aloneUser(t, "")
	for name, kind := range map[string]int{"a pair of datagrams": unix.SOCK_DGRAM, "a pair of streams": unix.SOCK_STREAM} {
		pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		stdin := os.NewFile(uintptr(pair[0]), name)
		_ = unix.Close(pair[1])
		cmd := without(need.Jail(t), "-p", "bare", "true")
		cmd.Stdin = stdin
		out, err := cmd.CombinedOutput()
		_ = stdin.Close()
		if refused := strings.Contains(string(out), "standard stream 0: is a socket that the program could connect elsewhere"); refused != (kind == unix.SOCK_DGRAM) || refused != (err != nil) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
