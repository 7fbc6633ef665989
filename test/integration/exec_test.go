package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A background is a sandbox that runs until it is stopped.
type background struct {
	t    *testing.T
	u    *user
	name string
	cmd  *exec.Cmd
}

// background starts one whose program makes observations, writes them down in the home and waits.
func (u *user) background(t *testing.T, flags, command []string) *background {
	t.Helper()
	b := &background{t: t, u: u, name: "test-" + filepath.Base(u.home)}
	b.cmd = u.jail(append(append([]string{"--name", b.name}, flags...), append([]string{"--"}, command...)...)...)
	b.cmd.Stderr = os.Stderr
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() })
	return b
}

// exec runs a program in it.
func (b *background) exec(args ...string) (stdout, stderr string, code int) {
	b.t.Helper()
	return b.u.run(append([]string{"exec", b.name, "--"}, args...)...)
}

// must runs one that has to succeed.
func (b *background) must(args ...string) string {
	b.t.Helper()
	out, errs, code := b.exec(args...)
	if code != 0 {
		b.t.Fatalf("jail exec %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// up waits until the program runs.
func (b *background) up() *background {
	b.t.Helper()
	var out, errs string
	var code int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if out, errs, code = b.u.run("ps", "--json"); code == 0 && strings.Contains(out, `"name": "`+b.name+`"`) {
			return b
		}
	}
	var where strings.Builder
	for _, pid := range append([]int{b.cmd.Process.Pid}, descendants(b.cmd.Process.Pid)...) {
		for _, f := range []string{"stat", "wchan", "syscall"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, f))
			fmt.Fprintf(&where, "%s: %s %v\n", f, text, err)
		}
	}
	b.t.Fatalf("%s does not run; ps: exit code %d, %s%s\nits processes:\n%s", b.name, code, out, errs, where.String())
	return nil
}

// TestExecIsAsConfinedAsTheStart makes the same observations by the sandbox's own program, by one that joins, and
// outside.
func TestExecIsAsConfinedAsTheStart(t *testing.T) {
	need.UserNamespaces(t)
	names := []string{"ids", "umask", "cwd", "hostname", "rlimits", "mounts", "environment", "descriptors", "securebits", "list:/",
		"status:CapInh", "status:CapPrm", "status:CapEff", "status:CapBnd", "status:CapAmb", "status:NoNewPrivs", "status:Seccomp",
		"status:Seccomp_filters", "status:Groups", "status:SigBlk", "status:SigIgn", "status:CoreDumping", "status:Cpus_allowed",
		"read:/proc/1/environ"}
	for _, kind := range []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"} {
		names = append(names, "namespace:"+kind)
	}
	for call := range dangerousCalls {
		names = append(names, "call:"+call)
	}
	for _, c := range []struct {
		name    string
		profile string
		needs   func(*testing.T)
		differs string // what is another one outside, so that the comparison means something
	}{
		{"default", "extends: [default]\n", nil, "namespace:user"},
		{"with capabilities, limits and a clock of its own", `extends: [default]
namespaces: [user, mount, pid, ipc, uts, cgroup, net, {value: time, boottime: 1h}]
capabilities: [CAP_NET_BIND_SERVICE]
syscalls: {allow: [unshare]}
rlimits: {nofile: 100, core: 0}
environment: {set: {COLOUR: blue}}
process: {hostname: elsewhere, umask: "0077", nice: 3, cwd: /tmp, oom-score: 500}
`, nil, "namespace:time"},
		{"as root inside", "extends: [default]\nprocess: {uid: 0, gid: 0}\n", nil, "ids"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != nil {
				c.needs(t)
			}
			u := newUser(t)
			u.env = append(u.env, "TOKEN=a-secret")
			u.profile("tested", c.profile)
			_, own := observer(t)
			if _, errs, code := u.run("check", "tested"); code != 0 {
				t.Fatalf("the profile: %s", errs)
			}
			said := filepath.Join(u.home, "said")
			if err := os.Mkdir(said, 0o700); err != nil {
				t.Fatal(err)
			}
			script := `/observer observe "$@" >` + said + `/part && mv ` + said + `/part ` + said + `/all; exec sleep 1000`
			b := u.background(t, append([]string{"-p", "tested", "--bind", said}, own...), append([]string{"sh", "-c", script, "sh"}, names...)).up()
			for range 500 {
				if _, err := os.Stat(said + "/all"); err == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			text, err := os.ReadFile(said + "/all")
			if err != nil {
				t.Fatal(err)
			}
			start := lines(string(text))
			joined := lines(b.must(append([]string{"sh", "-c", `/observer observe "$@"`, "sh"}, names...)...))
			outside := u.outside(names...)
			differences := 0
			for _, name := range names {
				if start[name] != joined[name] {
					t.Errorf("%s: %q at the start, %q by exec", name, start[name], joined[name])
				}
				if start[name] != outside[name] {
					differences++
				}
			}
			if outside[c.differs] == start[c.differs] || differences < 20 {
				t.Errorf("the control run shows the same: %s is %q, %d observations differ", c.differs, outside[c.differs], differences)
			}
		})
	}
}

func TestExecPassesCodesAndSignals(t *testing.T) {
	u := newUser(t)
	b := u.background(t, nil, []string{"sleep", "1000"}).up()
	for _, c := range []struct {
		want int
		args []string
	}{
		{0, []string{"true"}}, {42, []string{"sh", "-c", "exit 42"}}, {143, []string{"sh", "-c", "kill -TERM $$"}},
		{127, []string{"no-such-program"}}, {126, []string{"/etc/passwd"}}, {0, []string{"--", "true"}},
	} {
		if c.args[0] == "--" {
			continue // a second -- is the program's name
		}
		if _, errs, code := b.exec(c.args...); code != c.want {
			t.Errorf("exec %v: code %d, want %d\n%s", c.args, code, c.want, errs)
		}
	}
	// A signal to jail is one to the program, which may answer it.
	cmd := u.jail("exec", b.name, "sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("code %d after SIGTERM, want the program's own 7", code)
	}
}

// TestExecEndsWithItsJailAndWithTheSandbox: 100 kills of exec's jail leave no process in the sandbox, and the end of
// the sandbox ends what has joined.
func TestExecEndsWithItsJailAndWithTheSandbox(t *testing.T) {
	u := newUser(t)
	b := u.background(t, nil, []string{"sleep", "1000"}).up()
	mark := fmt.Sprintf("%d.%d", 7000000+os.Getpid(), time.Now().Nanosecond())
	began := time.Now()
	b.must("true")
	span := 2 * time.Since(began)
	kills, ran := 100, 0
	for i := range kills {
		cmd := u.jail("exec", b.name, "sleep", mark)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(span * time.Duration(i) / time.Duration(kills))
		if len(processesNamed(mark, "sleep")) > 0 {
			ran++
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	none(t, mark)
	if ran == 0 {
		t.Errorf("no kill met a running program in %d: nothing is proved", kills)
	}
	t.Logf("%d of %d kills met a running program", ran, kills)

	// Control: the sandbox still runs and takes more.
	b.must("true")
	cmd := u.jail("exec", b.name, "sleep", mark)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if len(processesNamed(mark, "sleep")) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if out, errs, code := u.run("stop", "--time", "0s", b.name); code != 0 {
		t.Fatalf("stop: code %d %s%s", code, out, errs)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 137 || !strings.Contains(errs.String(), "the sandbox "+b.name+" has ended") {
		t.Errorf("code %d after the sandbox was ended, want 137 and that it has ended; %s", code, errs.String())
	}
	none(t, mark)
	if _, errs, code := b.exec("true"); code != 125 || !strings.Contains(errs, "no running sandbox is called") {
		t.Errorf("exec in a sandbox that has ended: code %d, %s", code, errs)
	}
}

// processesNamed finds processes with a word on their command line, jail's own apart.
func processesNamed(mark, program string) []int {
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(text), program+"\x00") && strings.Contains(string(text), mark) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			out = append(out, pid)
		}
	}
	return out
}

// none waits until no process with the mark is left, jail's helpers included.
func none(t *testing.T, mark string) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for len(processesNamed(mark, "sleep")) > 0 {
		if time.Now().After(end) {
			t.Fatalf("processes %v are left", processesNamed(mark, "sleep"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestExecKnowsTheSandboxFromWhatItsProgramMade: a program that may make namespaces can leave the sandbox's own.
func TestExecKnowsTheSandboxFromWhatItsProgramMade(t *testing.T) {
	u := newUser(t)
	u.profile("nesting", "extends: [default]\nsyscalls: {rules: [{names: [clone, clone3, unshare], action: allow}]}\n")
	_, own := observer(t)
	flags := append([]string{"-p", "nesting"}, own...)
	link := func(pid string, kind string) string {
		out, err := os.Readlink("/proc/" + pid + "/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Run("a user namespace", func(t *testing.T) {
		b := u.background(t, flags, []string{"unshare", "-U", "sleep", "1000"}).up()
		program := awaitProgram(t, b, "sleep")
		joined := lines(b.must("/observer", "observe", "namespace:user", "namespace:mnt"))
		if theirs := link(program, "user"); joined["namespace:user"] == theirs {
			t.Errorf("exec went to the program's own user namespace %s", theirs)
		}
		if joined["namespace:mnt"] != link(program, "mnt") {
			t.Error("exec is not in the sandbox's mount namespace")
		}
		_, _, _ = u.run("stop", "--time", "0s", b.name)
	})
	t.Run("a mount namespace", func(t *testing.T) {
		b := u.background(t, flags, []string{"unshare", "-Um", "--propagation", "unchanged", "sleep", "1000"}).up()
		awaitProgram(t, b, "sleep")
		if _, errs, code := b.exec("true"); code != 125 || !strings.Contains(errs, "has moved to another mnt namespace") {
			t.Errorf("code %d, %s", code, errs)
		}
	})
}

// awaitProgram waits until the sandbox's program has executed a file of that name, and gives its process id.
func awaitProgram(t *testing.T, b *background, name string) string {
	t.Helper()
	for range 500 {
		out, _, _ := b.u.run("ps", "--json")
		_, rest, _ := strings.Cut(out, `"name": "`+b.name+`"`)
		_, rest, _ = strings.Cut(rest, `"program": `)
		pid, _, _ := strings.Cut(rest, ",")
		if comm, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil && strings.TrimSpace(string(comm)) == name {
			return pid
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s never ran %s", b.name, name)
	return ""
}

// pose pretends to be the supervisor of a sandbox as well as can be: it learns its process id outside and seals what
// it says. It is called NAME FILE; the file is to hold that id.
func pose(name, file string) {
	var pid string
	for pid == "" {
		text, _ := os.ReadFile(file)
		pid = strings.TrimSpace(string(text))
		time.Sleep(10 * time.Millisecond)
	}
	fd, err := unix.MemfdCreate("jail-sandbox", unix.MFD_ALLOW_SEALING)
	if err == nil {
		_, err = fmt.Fprintf(os.NewFile(uintptr(fd), ""), "name=%s\x00arg=x\x00supervisor=%s\x00first=%s\x00", name, pid, pid)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err == nil {
		err = os.WriteFile(file+".posed", nil, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pose:", err)
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

// TestNobodyPosesAsASandbox: what runs inside a sandbox is not taken for one of the user's, however well it lies
// (CVE-2022-31214).
func TestNobodyPosesAsASandbox(t *testing.T) {
	u := newUser(t)
	path, _ := observer(t)
	told := u.write("told/pid", "")
	tell := func(pid string) {
		t.Helper()
		u.write("told/pid", pid)
		for range 500 {
			if _, err := os.Stat(told + ".posed"); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal("nobody poses")
	}
	fake := "fake-" + filepath.Base(u.home)

	// Control: outside every sandbox the user's own processes are believed, they could as well run jail.
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u.write("bin/jail", string(binary))
	if err := os.Chmod(u.home+"/bin/jail", 0o755); err != nil {
		t.Fatal(err)
	}
	control := exec.Command(u.home+"/bin/jail", "pose", fake, told)
	if err := control.Start(); err != nil {
		t.Fatal(err)
	}
	tell(strconv.Itoa(control.Process.Pid))
	if out, errs, _ := u.run("ps"); !strings.Contains(out, "\n"+fake) {
		t.Errorf("the control run is not believed:\n%s%s", out, errs)
	}
	_ = control.Process.Kill()
	_ = control.Wait()
	_ = os.Remove(told + ".posed")
	u.write("told/pid", "")

	b := u.background(t, []string{"--ro", path + ":/jail", "--bind", filepath.Dir(told)}, []string{"/jail", "pose", fake, told}).up()
	tell(awaitProgram(t, b, "jail"))
	if out, _, _ := u.run("ps"); strings.Contains(out, "\n"+fake) {
		t.Errorf("it is listed:\n%s", out)
	}
	for _, command := range [][]string{{"exec", fake, "true"}, {"shell", fake}, {"stop", fake}} {
		if _, errs, code := u.run(command...); code != 125 || !strings.Contains(errs, "is not yours to join") {
			t.Errorf("%v: code %d, %s", command, code, errs)
		}
	}
	b.must("true") // the sandbox that it runs in is the user's, of course
}

// TestKilledSupervisorsAreNotFound: 100 supervisors killed at any moment leave nothing that is listed.
func TestKilledSupervisorsAreNotFound(t *testing.T) {
	u := newUser(t)
	name := "killed-" + filepath.Base(u.home)
	began := time.Now()
	u.must("--name", name, "--", "true")
	span := 2 * time.Since(began)
	seen := 0
	for i := range 100 {
		cmd := u.jail("--name", name, "--", "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(span * time.Duration(i) / 100)
		if i%10 == 9 {
			if out, _, _ := u.run("ps"); strings.Contains(out, name) {
				seen++
			}
		}
		_ = unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
	}
	if seen == 0 {
		t.Error("none was ever listed: nothing is proved")
	}
	if out, _, _ := u.run("ps"); strings.Contains(out, name) {
		t.Errorf("still listed:\n%s", out)
	}
	u.must("--name", name, "--", "true") // and the name is free
	for _, dir := range []string{".local/state/jail", ".cache/jail/run", "run"} {
		if _, err := os.Stat(filepath.Join(u.home, dir)); err == nil {
			entries, _ := os.ReadDir(filepath.Join(u.home, dir))
			t.Errorf("%s is left with %v", dir, entries)
		}
	}
}

// TestExecHasATerminalOfTheSandboxsOwn, with job control, as at the start.
func TestExecHasATerminalOfTheSandboxsOwn(t *testing.T) {
	u := newUser(t)
	b := u.background(t, []string{"-p", "shell"}, []string{"sleep", "1000"}).up()
	p := newPane(t, u)
	p.line("jail exec " + b.name + " bash --norc --noprofile")
	p.shows("bash-")
	p.line("PS1=inside'> '; tty; stty size")
	p.sees("30 100")
	p.shows("/dev/pts/")
	p.sees("inside>")
	mark := unique()
	p.line("sleep " + mark)
	p.foreground("sleep", mark)
	p.types("C-z")
	p.shows("Stopped")
	p.line("jobs; fg")
	p.foreground("sleep", mark)
	p.types("C-c")
	p.gone(mark)
	p.line("echo $?; exit 9")
	p.shows("130")
	p.sees("outside>")
	p.line("echo code $?")
	p.sees("code 9")
}
