package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

func asExit(err error, exit **exec.ExitError) bool { return errors.As(err, exit) }

// plain runs a program without a sandbox, in the home.
func (u *user) plain(name string, args ...string) (output string, err error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = u.home, u.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Somebody exchanges a folder for a link to another one, over and over, in a folder that the program can write. What
// looks first and opens then is deceived by that; jail mounts the folder or refuses.
func swappedLinksLeadNowhere(t *testing.T) {
	u := newUser(t)
	u.write("work/a/f", "own")
	u.write("secret/f", "bait")
	folder, link := filepath.Join(u.home, "work/a"), filepath.Join(u.home, "work/b")
	if err := os.Symlink("../secret", link); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, folder, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
				stopped <- err
				return
			}
			time.Sleep(20 * time.Microsecond)
		}
	}()
	deceived := 0
	for end := time.Now().Add(30 * time.Second); deceived == 0 && time.Now().Before(end); {
		if st, err := os.Lstat(folder); err == nil && st.IsDir() {
			if text, _ := os.ReadFile(folder + "/f"); string(text) == "bait" {
				deceived++
			}
		}
	}
	mounted, refused := 0, 0
	for range 60 {
		out, errs, code := u.run("--bind", u.home+"/work", "--ro", folder+":/shown", "cat", "/shown/f")
		switch {
		case out == "own" && code == 0:
			mounted++
		case out == "" && code == 125:
			refused++
		default:
			t.Errorf("exit code %d, %q\n%s", code, out, errs)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if deceived == 0 {
		t.Error("the control run was never deceived, so this proves nothing")
	}
	t.Logf("%d starts had the folder, %d were refused", mounted, refused)
}

// A stream that the caller has closed stays out of the way of the files that jail opens: it is /dev/null inside.
func fillsClosedStreams(t *testing.T) {
	u := newUser(t)
	for _, c := range []struct{ stream, closed string }{{"0", "<&-"}, {"1", ">&-"}, {"2", "2>&-"}} {
		// $$ is the shell that has the streams, and which opens no file of its own before it looks.
		seen := filepath.Join(u.home, "out/seen")
		look := "if test -e /proc/$$/fd/" + c.stream + "; then readlink -n /proc/$$/fd/" + c.stream + " 2>/dev/null | cat >" + seen + "; else echo closed >" + seen + "; fi"
		u.write("out/seen", "")
		u.write("look", look)
		for _, run := range []struct{ command, want string }{
			{"sh look " + c.closed, "closed"},
			{need.Jail(t) + " --ro look:/look --bind out sh /look " + c.closed, "/dev/null"},
		} {
			if out, err := u.plain("sh", "-c", run.command); err != nil {
				t.Errorf("%s: %v\n%s", run.command, err, out)
			}
			text, err := os.ReadFile(seen)
			if err != nil || strings.TrimSpace(string(text)) != run.want {
				t.Errorf("%s: %v, the stream is %q, want %q", run.command, err, text, run.want)
			}
		}
	}
}

// While a sandbox runs, others of the user's read jail's environment and command line in /proc. The program does not.
func tellsNothingOfTheCaller(t *testing.T) {
	u := newUser(t)
	profile := u.profile("secretive", "extends: [default]\n")
	u.env = append(u.env, "TOKEN=a-secret-of-the-caller")
	const argument = "/srv/named-on-the-command-line"
	cmd := u.jail("--tmpfs", argument, "sh", "-c", "cat /proc/*/environ /proc/*/cmdline /proc/*/task/*/environ 2>/dev/null; cat "+profile+"; echo; echo looked; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	text, buf := "", make([]byte, 4096)
	for !strings.Contains(text, "\nlooked\n") {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, text)
		}
		text += string(buf[:n])
	}
	outside := ""
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		outside += string(b)
	}
	known, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	outside += string(known)
	for _, secret := range []string{"a-secret-of-the-caller", argument, "name: secretive"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q can be read inside", secret)
		}
		if !strings.Contains(outside, secret) {
			t.Errorf("control: %q cannot be read outside either", secret)
		}
	}
}

// The device behind the program's streams is not the caller's terminal.
func hasATerminalOfItsOwn(t *testing.T) {
	u := newUser(t)
	p := newPane(t, u)
	const device = "stat -L -c %d:%i /dev/fd/0"
	p.line("clear; " + device + " > mine; sh -c '" + device + "' > control; jail sh -c '" + device + "; tty' > inside; echo loo''ked")
	p.sees("looked")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(u.home, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	mine, inside := read("mine"), read("inside")
	if mine == "" || read("control") != mine {
		t.Errorf("control: a program without a sandbox has the terminal %q, not %q", read("control"), mine)
	}
	if strings.Contains(inside, mine) || !strings.Contains(inside, "/dev/pts/0") {
		t.Errorf("the caller's terminal is %s, inside is %s", mine, inside)
	}
}

// A program that made the terminal raw and was killed leaves it so; after jail somebody puts it back.
func restoresTheTerminal(t *testing.T) {
	u := newUser(t)
	p := newPane(t, u)
	// Not in the pane's own shell, which has settings of its own and mends them for its jobs.
	script := u.write("script", `stty -g > before
tries=$1; shift
"$@"
for i in $(seq $tries); do [ "$(stty -g)" = "$(cat before)" ] && break; sleep 0.1; done
stty -g > after
stty "$(cat before)"
`)
	same := func() bool {
		t.Helper()
		before, err := os.ReadFile(filepath.Join(u.home, "before"))
		after, err2 := os.ReadFile(filepath.Join(u.home, "after"))
		if err != nil || err2 != nil || len(before) == 0 {
			t.Fatalf("%v, %v, %q", err, err2, before)
		}
		return string(before) == string(after)
	}
	p.line("sh " + script + " 5 sh -c 'stty raw -echo; kill -9 $$'; echo fini''shed")
	p.shows("finished")
	if same() {
		t.Error("control: without jail the settings are as they were, too, so this proves nothing")
	}
	mark := unique()
	p.line("clear; sh " + script + " 200 jail sh -c 'stty raw -echo; exec sleep " + mark + "'; echo the''end")
	p.foreground("sleep", mark)
	for _, pid := range supervisors(t, mark) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	p.shows("theend")
	if !same() {
		t.Error("the settings are not put back")
	}
}

// supervisors finds jail by the mark on its command line. Its forks have that too, and names of their own: the one that
// puts the terminal back must live on.
func supervisors(t *testing.T, mark string) []int {
	t.Helper()
	var all []int
	for _, pid := range marked(mark) {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if name, _, _ := strings.Cut(string(args), "\x00"); filepath.Base(name) == "jail" && string(comm) == "jail\n" {
			all = append(all, pid)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no jail runs with %s", mark)
	}
	return all
}

// marked finds the processes with mark on their command line.
func marked(mark string) []int {
	var all []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		args, _ := os.ReadFile(f)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && strings.Contains(string(args), mark) {
			all = append(all, pid)
		}
	}
	return all
}

// Calls of the set-up that are made to fail: the program is not started. The control is the same start without a fault.
func failsClosed(t *testing.T) {
	u := newUser(t)
	strace := need.Program(t, "strace")
	u.write("out/.keep", "")
	started := filepath.Join(u.home, "out/started")
	start := func(inject ...string) (int, string) {
		_ = os.Remove(started)
		args := append([]string{"-f", "-qq", "-o", "/dev/null"}, inject...)
		out, err := u.plain(strace, append(args, need.Jail(t), "--bind", u.home+"/out", "touch", started)...)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if exit != nil {
			return exit.ExitCode(), out
		}
		return 0, out
	}
	if code, out := start("-e", "trace=none"); code != 0 {
		t.Fatalf("control: exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(started); err != nil {
		t.Fatalf("control: the program was not started: %v", err)
	}
	for _, call := range []string{"unshare", "fsopen", "fsmount", "open_tree", "openat2", "move_mount", "mount_setattr", "pivot_root", "umount2",
		"sethostname", "close_range", "setsid", "capset", "prctl", "seccomp"} {
		for _, errno := range []string{"EPERM", "ENOMEM"} {
			code, out := start("-e", "trace="+call, "-e", "inject="+call+":error="+errno)
			if _, err := os.Stat(started); err == nil {
				t.Errorf("%s of %s: the program was started", errno, call)
			}
			if code != 125 || !strings.Contains(out, "jail: ") {
				t.Errorf("%s of %s: exit code %d\n%s", errno, call, code, out)
			}
		}
	}
}

// remain waits until count processes have the mark, and tells whether that came to be.
func remain(mark string, count int) bool {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if len(marked(mark)) == count {
			return true
		}
	}
	return false
}

// family starts three processes, one of them in a session of its own and one forked twice, and stays.
func family(mark string) string {
	return "setsid sleep " + mark + " & (sleep " + mark + " &) ; sleep " + mark + " & wait"
}

func diesWithTheSupervisor(t *testing.T) {
	u := newUser(t)
	for _, c := range []struct {
		name string
		args []string
		left int
	}{{"sh", []string{"family"}, 3}, {need.Jail(t), []string{"--ro", "family:/family", "sh", "/family"}, 0}} {
		u.leaves(c.left, c.name, c.args...)
	}
}

func diesWithTheCaller(t *testing.T) {
	u := newUser(t)
	for _, c := range []struct {
		command string
		left    int
	}{{"sh family", 3}, {need.Jail(t) + " --ro family:/family sh /family", 0}} {
		u.leaves(c.left, "sh", "-c", c.command+" & wait")
	}
}

// leaves starts a program that runs the script `family`, kills it, and wants so many of the family's processes left.
func (u *user) leaves(left int, program string, args ...string) {
	u.t.Helper()
	mark := unique()
	u.write("family", family(mark))
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = u.home, u.env
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	if !remain(mark, 3) {
		u.t.Fatalf("%s %q: %d processes have started, want 3", program, args, len(marked(mark)))
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !remain(mark, left) {
		u.t.Errorf("%s %q: %d processes are left, want %d", program, args, len(marked(mark)), left)
	}
	for _, pid := range marked(mark) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// What a shell sees of a program is what it sees of the program in jail. Each line is its own control.
func passesExitCodes(t *testing.T) {
	u := newUser(t)
	for _, c := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0}, {"exit 1", 1}, {"exit 125", 125}, {"exit 126", 126}, {"exit 127", 127}, {"exit 255", 255},
		{"kill -TERM $$", 143}, {"kill -KILL $$", 137}, {"kill -SEGV $$", 139}, {"kill -USR1 $$", 138},
		{"/no/such/program", 127}, {"/etc/passwd", 126},
	} {
		for _, run := range []string{"sh -c '" + c.script + "'", need.Jail(t) + " --ro /etc/passwd sh -c '" + c.script + "'"} {
			out, err := u.plain("sh", "-c", run+"; echo ended with $?")
			if want := fmt.Sprintf("ended with %d\n", c.want); err != nil || !strings.HasSuffix(out, want) {
				t.Errorf("%s: %v, %q, want %q", run, err, out, want)
			}
		}
	}
}

// A caller that ignores and blocks signals, as nohup(1) and some daemons do, hands that on to its programs.
func resetsSignals(t *testing.T) {
	u := newUser(t)
	env := []string{"env", "--ignore-signal=USR1", "--ignore-signal=HUP", "--block-signal=USR2"}
	look := []string{"grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"}
	const new = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	control, err := u.plain(env[0], append(env[1:], look...)...)
	// Whoever runs the tests may have more of them ignored.
	var blocked, ignored uint64
	if _, bad := fmt.Sscanf(control, "SigBlk:\t%x\nSigIgn:\t%x\n", &blocked, &ignored); err != nil || bad != nil || blocked&0x800 == 0 || ignored&0x201 != 0x201 {
		t.Errorf("control: %v, %q: USR2 is not blocked, or HUP and USR1 are not ignored", err, control)
	}
	got, err := u.plain(env[0], append(append(env[1:], need.Jail(t), "--"), look...)...)
	if err != nil || got != new {
		t.Errorf("%v, %q, want %q", err, got, new)
	}
}

// A word that is misspelt, a list that is empty: the start is refused, or the program can do nothing. Beside each is the
// profile as it was meant.
func refusesDoubtfulProfiles(t *testing.T) {
	u := newUser(t)
	u.write("out/.keep", "")
	started := filepath.Join(u.home, "out/started")
	for _, c := range []struct{ name, meant, doubtful string }{
		{"a key", "filesystem: []", "filesytem: []"},
		{"a value", "network: {mode: none}", "network: {mode: nonne}"},
		{"a system call", "syscalls: {deny: [swapon]}", "syscalls: {deny: [swap_on]}"},
		{"a variable", "filesystem: [{path: \"~/.ssh\", hide: true}]", "filesystem: [{path: \"${HOMME}/.ssh\", hide: true}]"},
		{"a layer", "enforcement: {landlock: require}", "enforcement: {landlok: require}"},
		{"a second key", "process: {umask: \"077\"}", "process: {umask: \"077\"}\nprocess: {umask: \"000\"}"},
	} {
		for _, run := range []struct {
			text string
			code int
		}{{c.meant, 0}, {c.doubtful, 125}} {
			_ = os.Remove(started)
			u.profile("doubt", "extends: [default]\n"+run.text+"\n")
			out, errs, code := u.run("-p", "doubt", "--bind", u.home+"/out", "touch", started)
			_, err := os.Stat(started)
			if code != run.code || (err == nil) != (run.code == 0) {
				t.Errorf("%s: %q: exit code %d, want %d; started: %t\n%s%s", c.name, run.text, code, run.code, err == nil, out, errs)
			}
		}
	}
}

func takesEmptyAsNothing(t *testing.T) {
	u := newUser(t)
	const tree = "filesystem:\n  - {path: /usr, mode: ro}\n  - {path: /bin, symlink: usr/bin}\n  - {path: /lib, symlink: usr/lib}\n  - {path: /lib64, symlink: usr/lib64}\n" +
		"environment: {set: {PATH: /usr/bin}}\n"
	for _, c := range []struct{ name, all, none string }{
		{"system calls", "syscalls: {allow: [\"@default\"]}\n", "syscalls: {allow: []}\n"},
		{"namespaces", "syscalls: {allow: [\"@default\"]}\n", "syscalls: {allow: [\"@default\"]}\nnamespaces: []\n"},
	} {
		u.profile("empty", tree+c.all)
		if out, errs, code := u.run("-p", "empty", "echo", "started"); out != "started\n" {
			t.Errorf("%s: control: exit code %d, %q\n%s", c.name, code, out, errs)
		}
		u.profile("empty", tree+c.none)
		out, err := u.plain("timeout", "60", need.Jail(t), "-p", "empty", "echo", "started")
		if strings.HasPrefix(out, "started") || err == nil || err.Error() != "exit status 125" {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}
