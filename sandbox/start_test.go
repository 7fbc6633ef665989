package sandbox

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func bind(source, dest string, options ...string) specs.Mount {
	return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: append([]string{"rbind", "nosuid", "nodev"}, options...)}
}

func TestExitCodesAreTheProgramsOwn(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{{"true", 0}, {"exit 7", 7}, {"exit 255", 255}, {"kill -TERM $$", 128 + 15}, {"kill -KILL $$", 128 + 9}, {"kill -SEGV $$", 128 + 11}} {
		if _, errs, code := run(t, shellBundle(c.script)); code != c.want || errs != "" {
			t.Errorf("%s: exit code %d, want %d; stderr %q", c.script, code, c.want, errs)
		}
	}
	for _, c := range []struct {
		args []string
		want int
	}{{[]string{"/nothing"}, 127}, {[]string{"nothing"}, 127}, {[]string{"/usr/share/dict/../../share"}, 126}, {[]string{"/usr/bin/env/x"}, 127}} {
		b := shellBundle("")
		b.Spec.Process.Args = c.args
		if _, errs, code := run(t, b); code != c.want || !strings.HasPrefix(errs, "jail: ") {
			t.Errorf("%q: exit code %d, want %d; stderr %q", c.args, code, c.want, errs)
		}
	}
}

// What is made beside the set-up, a network's rules, is there before the program, or the program never runs.
func TestTheProgramWaitsUntilAllIsReady(t *testing.T) {
	for _, c := range []struct {
		ready, out, errs string
		code             int
	}{
		{"late", "ready\nran\n", "", 0},
		{"never", "", "jail: what the program needs could not be made\n", 125},
	} {
		cmd := command(t, shellBundle("echo ran"))
		cmd.Env = append(cmd.Env, "SANDBOX_TEST_READY="+c.ready)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); out.String() != c.out || errs.String() != c.errs || code != c.code {
			t.Errorf("%s: exit code %d, printed %q, %q", c.ready, code, out.String(), errs.String())
		}
	}
}

func TestNothingOfTheHostIsLeftBehindThePivot(t *testing.T) {
	got := sees(t, shellBundle("cut -d' ' -f5 /proc/self/mountinfo; ls -a /; ls -a /.."))
	for _, line := range strings.Split(got, "\n") {
		if strings.Count(got, "\n/\n") > 0 && line == "/" {
			t.Errorf("a second mount at /:\n%s", got)
		}
	}
	if strings.Count("\n"+got+"\n", "\n/\n") != 1 {
		t.Errorf("there must be one mount at /:\n%s", got)
	}
	for _, foreign := range []string{"/sys", "/home", "root", "home", "var"} {
		for _, line := range strings.Split(got, "\n") {
			if line == foreign {
				t.Errorf("%s of the host is visible:\n%s", foreign, got)
			}
		}
	}
}

func TestPrivilegesAreGone(t *testing.T) {
	status := sees(t, shellBundle("cat /proc/self/status"))
	for _, want := range []string{
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
}

func TestIgnoredSignalsAreNotInherited(t *testing.T) {
	cmd := command(t, shellBundle("cat /proc/self/status"))
	file := cmd.Env[len(cmd.Env)-1]
	out, err := exec.Command("/bin/sh", "-c", "trap '' HUP INT QUIT PIPE TERM USR1; "+file+" exec "+testBinary(t)).Output()
	if err != nil || !bytes.Contains(out, []byte("SigIgn:\t0000000000000000")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func testBinary(t testing.TB) string {
	t.Helper()
	p, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOnlyStandardStreamsAreOpen(t *testing.T) {
	cmd := command(t, shellBundle("for f in /proc/self/fd/*; do echo ${f##*/}; done; readlink /proc/1/fd/* || true"))
	extra, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	cmd.ExtraFiles = []*os.File{extra, extra, extra}
	out, err := cmd.CombinedOutput()
	// 3 is the directory that the shell itself reads; pid 1's descriptors cannot be looked at.
	if want := "0\n1\n2\n3\n"; err != nil || string(out) != want {
		t.Errorf("%v: got %q, want %q", err, out, want)
	}
}

func TestClosedStandardStreamsStayHarmless(t *testing.T) {
	cmd := command(t, shellBundle("ls -l /proc/self/fd > /tmp/l; cat /tmp/l >&2"))
	out, err := exec.Command("/bin/sh", "-c", cmd.Env[len(cmd.Env)-1]+" exec "+testBinary(t)+" 0<&- 1>&-").CombinedOutput()
	if err != nil || strings.Contains(string(out), "bundle") || strings.Count(string(out), "/dev/null") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPid1TellsNothing(t *testing.T) {
	b := shellBundle("cat /proc/1/environ /proc/1/maps; ls -l /proc/1/exe /proc/1/cwd /proc/1/root; tr -d '\\0' < /proc/1/cmdline; cat /proc/1/comm")
	cmd := command(t, b)
	cmd.Args = []string{"jail", "--profile", "a-secret-argument"}
	cmd.Env = append(cmd.Env, "TOKEN=a-secret-value")
	out, _ := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("secret")) || bytes.Contains(out, []byte("->")) || bytes.Count(out, []byte("ermission denied")) != 5 {
		t.Errorf("pid 1 tells of the caller:\n%s", out)
	}
}

func TestReadOnlyIsRecursiveAndRootIsReadOnly(t *testing.T) {
	dir := t.TempDir()
	b := shellBundle("! touch /x 2>/dev/null && ! touch /data/x 2>/dev/null && ! touch /usr/x 2>/dev/null && touch /rw/x /tmp/x && echo held")
	rw := t.TempDir()
	b.Spec.Mounts = append(b.Spec.Mounts, bind(dir, "/data", "ro"), bind(rw, "/rw"))
	if got := sees(t, b); got != "held" {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(rw, "x")); err != nil {
		t.Error(err)
	}
}

// A root that is a folder of the user's may have file systems mounted in it. Read-only means those too, and mount
// points can still be made in it.
func TestReadOnlyRootWithSubmounts(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("it is the ordinary user's namespaces that the mounts are made in")
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("no unshare to mount with")
	}
	root := t.TempDir()
	for _, dir := range []string{"sub", "usr", "proc", "dev", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	see := func(readonly bool) string {
		b := shellBundle("touch /top 2>&1; touch /sub/x 2>&1; touch /sub/deeper/x 2>&1; cat /sub/there; ls -d /made/here; touch /tmp/x && echo tmp")
		b.Spec.Root = &specs.Root{Path: root, Readonly: readonly}
		b.Tree = nil
		b.Dir = t.TempDir()
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/made/here", Type: "tmpfs", Source: "tmpfs"})
		launch := command(t, b)
		// A mount needs root in a user namespace; the launcher below it is the caller again.
		mount := `mount -t tmpfs none "$0/sub" && echo submount > "$0/sub/there" && mkdir "$0/sub/deeper" && mount -t tmpfs none "$0/sub/deeper" &&
			exec unshare --user --map-user=` + strconv.Itoa(os.Getuid()) + ` --map-group=` + strconv.Itoa(os.Getgid()) + ` "$1"`
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, root, self)
		cmd.Env = launch.Env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := see(true); strings.Count(got, "Read-only file system") != 3 || !strings.HasSuffix(got, "submount\n/made/here\ntmp\n") {
		t.Errorf("read-only:\n%s", got)
	}
	if got := see(false); got != "submount\n/made/here\ntmp\n" {
		t.Errorf("control, writable:\n%s", got)
	}
}

func TestBundleFilesAndLinks(t *testing.T) {
	b := shellBundle("cat /etc/motd; cat /tmp/two; readlink /tmp/link; stat -c %a /etc/motd")
	b.Tree = append(b.Tree, TreeEntry{Path: "rootfs/etc", Mode: fs.ModeDir | 0o755}, TreeEntry{Path: "rootfs/etc/motd", Mode: 0o640, Content: []byte("hello\n")},
		TreeEntry{Path: "content", Mode: fs.ModeDir | 0o755}, TreeEntry{Path: "content/0", Mode: 0o644, Content: []byte("two\n")})
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/tmp/two", Type: "bind", Source: "content/0", Options: []string{"bind", "ro"}})
	b.Spec.Annotations[annotationSymlinks] = `[{"path":"/tmp/link","target":"two"}]`
	if got, want := sees(t, b), "hello\ntwo\ntwo\n640"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHiddenPathsAreEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"keys/id", ".env"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("bait"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := shellBundle("cat /data/.env; ls /data/keys; ! touch /data/keys/x 2>/dev/null; ! rmdir /data/keys 2>/dev/null; ! mv /data/keys /data/moved 2>/dev/null; echo held")
	b.Spec.Mounts = append(b.Spec.Mounts, bind(dir, "/data"))
	b.Spec.Linux.MaskedPaths = []string{"/data/.env", "/data/keys", "/data/absent"}
	if got := sees(t, b); got != "held" {
		t.Errorf("got %q", got)
	}
	b.Spec.Linux.MaskedPaths = nil // the control run: without the mask the bait is there
	if got := sees(t, b); !strings.Contains(got, "bait") {
		t.Errorf("control: got %q", got)
	}
}

func TestOverlays(t *testing.T) {
	lower := filepath.Join(t.TempDir(), `a:b,c'd"e\f`)
	if err := os.Mkdir(lower, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lower, "file"), []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	escaped := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(lower)
	b := shellBundle("cat /work/file; echo new > /work/file; cat /work/file; echo more > /work/other; ls /work")
	b.Tree = append(b.Tree, TreeEntry{Path: "overlay", Mode: fs.ModeDir | 0o755}, TreeEntry{Path: "overlay/upper", Mode: fs.ModeDir | 0o755},
		TreeEntry{Path: "overlay/work", Mode: fs.ModeDir | 0o755})
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/work", Type: "overlay", Source: "overlay",
		Options: []string{"lowerdir=" + escaped, "upperdir=overlay/upper", "workdir=overlay/work"}})
	if got, want := sees(t, b), "old\nnew\nfile\nother"; got != want {
		t.Errorf("discarded overlay: got %q, want %q", got, want)
	}
	if text, _ := os.ReadFile(filepath.Join(lower, "file")); string(text) != "old\n" {
		t.Errorf("the lower directory was written to: %q", text)
	}
}

func TestTimeNamespace(t *testing.T) {
	b := shellBundle("cut -d. -f1 /proc/uptime")
	b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: "time"})
	b.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000}}
	if got := sees(t, b); len(got) < 7 {
		t.Errorf("uptime %s, want more than a million seconds", got)
	}
}

func TestSignalsReachTheProgram(t *testing.T) {
	for _, s := range []struct {
		sig  syscall.Signal
		name string
	}{{syscall.SIGTERM, "TERM"}, {syscall.SIGINT, "INT"}, {syscall.SIGUSR1, "USR1"}, {syscall.SIGHUP, "HUP"}} {
		cmd := command(t, shellBundle("trap 'echo got; exit 3' "+s.name+"; echo ready; while :; do sleep 0.05; done"))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		if n, err := out.Read(buf); err != nil || string(buf[:n]) != "ready\n" {
			t.Fatalf("%q %v", buf[:n], err)
		}
		if err := cmd.Process.Signal(s.sig); err != nil {
			t.Fatal(err)
		}
		n, _ := out.Read(buf)
		_ = cmd.Wait()
		if string(buf[:n]) != "got\n" || cmd.ProcessState.ExitCode() != 3 {
			t.Errorf("%s: %q, exit code %d", s.name, buf[:n], cmd.ProcessState.ExitCode())
		}
	}
}

func TestTimeLimit(t *testing.T) {
	b := shellBundle("sleep 100")
	b.Spec.Annotations[annotationTimeout] = "200ms"
	start := time.Now()
	if _, errs, code := run(t, b); code != 128+15 || !strings.Contains(errs, "time limit of 200ms") {
		t.Errorf("exit code %d after %s: %s", code, time.Since(start), errs)
	}
}

// processesWith counts the processes on the machine whose command line has the mark, those that run this very
// test binary beside the test itself, and pid 1s that have lost their supervisor: they have no command line, but
// as the test is a subreaper they are its children.
func processesWith(mark string) int {
	self, _ := os.Stat("/proc/self/exe")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	n := 0
	for _, d := range dirs {
		if d == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		text, err := os.ReadFile(d + "/cmdline")
		exe, exeErr := os.Stat(d + "/exe")
		status, _ := os.ReadFile(d + "/status")
		orphan := bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", os.Getpid())) && bytes.HasPrefix(status, []byte("Name:\tjail-init\n")) &&
			!bytes.Contains(status, []byte("\nState:\tZ"))
		if err == nil && bytes.Contains(text, []byte(mark)) || exeErr == nil && os.SameFile(self, exe) || orphan {
			n++
		}
	}
	return n
}

func TestNothingSurvivesTheProgramOrTheSupervisor(t *testing.T) {
	mark := fmt.Sprintf("%d.%d", 7000000+os.Getpid(), time.Now().Nanosecond())
	forks := "for i in 1 2 3; do setsid sleep " + mark + " >/dev/null 2>&1 & done; "
	if _, errs, code := run(t, shellBundle(forks+"exit 5")); code != 5 {
		t.Fatalf("%d %s", code, errs)
	}
	if n := processesWith(mark); n != 0 {
		t.Errorf("%d processes outlive the program", n)
	}
	cmd := command(t, shellBundle(forks+"echo ready; wait"))
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if processesWith(mark) == 0 {
		t.Fatal("control: the processes are not there")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for i := 0; processesWith(mark) > 0; i++ {
		if i > 100 {
			t.Fatalf("%d processes outlive the supervisor", processesWith(mark))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestJoiningANetworkNamespace(t *testing.T) {
	holder := exec.Command("unshare", "-Un", fmt.Sprintf("--map-user=%d", os.Getuid()), fmt.Sprintf("--map-group=%d", os.Getgid()), "sh", "-c", "readlink /proc/self/ns/net; exec sleep 100")
	out, _ := holder.StdoutPipe()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil || !bytes.HasPrefix(buf, []byte("net:[")) {
		t.Fatalf("%q %v", buf[:n], err)
	}
	b := shellBundle("readlink /proc/self/ns/net; cat /proc/self/status")
	for i := range b.Spec.Linux.Namespaces {
		if b.Spec.Linux.Namespaces[i].Type == "network" {
			b.Spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
		}
	}
	cmd := command(t, b)
	cmd.Env = append(cmd.Env, fmt.Sprintf("SANDBOX_TEST_USERNS=/proc/%d/ns/user", holder.Process.Pid))
	text, err := cmd.CombinedOutput()
	if err != nil || !bytes.HasPrefix(text, buf[:n]) || !bytes.Contains(text, []byte("CapEff:\t0000000000000000")) {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestADirectoryAsAStandardStreamIsRefused(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("bait"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(outside)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := command(t, shellBundle("cat /proc/self/fd/0/secret"))
	cmd.Stdin = dir
	out, err := cmd.CombinedOutput()
	if err == nil || bytes.Contains(out, []byte("bait")) || !bytes.Contains(out, []byte("is a directory")) {
		t.Errorf("%v: %s", err, out)
	}
}

// A path that cannot be looked at now may be opened by the program later: what is above it is hidden instead.
func TestHidingBelowAClosedDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root looks into every directory")
	}
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "closed"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "closed", "key"), []byte("bait"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(data, "closed"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chmod(filepath.Join(data, "closed"), 0o755) }()
	script := "chmod 700 /data/closed 2>/dev/null; cat /data/closed/key 2>/dev/null; echo done"
	b := shellBundle(script)
	b.Spec.Mounts = append(b.Spec.Mounts, bind(data, "/data"))
	b.Spec.Linux.MaskedPaths = []string{"/data/closed/key"}
	if got := sees(t, b); got != "done" {
		t.Errorf("got %q", got)
	}
	b.Spec.Linux.MaskedPaths = nil
	if got := sees(t, b); !strings.Contains(got, "bait") {
		t.Errorf("control: got %q", got)
	}
}

// Behind a filter that grants no user namespace the kernel's own limit stands as a second lock.
func TestTheLimitOfUserNamespacesBacksTheFilter(t *testing.T) {
	plan := func(rules ...specs.LinuxSyscall) string {
		b := fixedBundle()
		b.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: rules}
		p, err := Compile(b, fakeFacts())
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		_, _ = p.WriteTo(&text)
		return text.String()
	}
	const lock = "allow no user namespace below this one"
	clear := []specs.LinuxSeccompArg{{Index: 0, Value: 0x7e020000, ValueTwo: 0, Op: specs.OpMaskedEqual}}
	for name, c := range map[string]struct {
		rules []specs.LinuxSyscall
		want  bool
	}{
		"neither":     {nil, true},
		"threads":     {[]specs.LinuxSyscall{{Names: []string{"clone", "unshare"}, Action: specs.ActAllow, Args: clear}}, true},
		"clone":       {[]specs.LinuxSyscall{{Names: []string{"clone"}, Action: specs.ActAllow}}, false},
		"clone3":      {[]specs.LinuxSyscall{{Names: []string{"clone3"}, Action: specs.ActAllow}}, false},
		"another arg": {[]specs.LinuxSyscall{{Names: []string{"unshare"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 0x10000000, Op: specs.OpMaskedEqual}}}}, false},
	} {
		if got := strings.Contains(plan(c.rules...), lock); got != c.want {
			t.Errorf("%s: the lock is there: %t, want %t", name, got, c.want)
		}
	}
}
