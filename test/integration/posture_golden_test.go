package integration

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/profiles"
	"jail/test/need"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestPostureOfEveryShippedProfile looks from outside at what the kernel says of a sandbox of each shipped profile: ids,
// capabilities, filters, namespaces, mounts, descriptors, limits, of its program and its first process. All of it is
// compared with a golden file, so that what nobody thought of fails too: an unknown mount, one descriptor more. What
// differs from machine to machine is written as what it means.
func TestPostureOfEveryShippedProfile(t *testing.T) {
	need.Kernel(t, 5, 12)
	u := newUser(t)
	u.env = []string{"HOME=" + u.home, "PATH=/usr/local/bin:/usr/bin:/bin", "USER=user", "LOGNAME=user", "LANG=C.UTF-8", "TERM=xterm"}
	if err := os.MkdirAll(filepath.Join(u.home, "project"), 0o755); err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(profiles.Files, "*.yaml")
	if err != nil || len(names) < 60 {
		t.Fatalf("%d profiles, %v", len(names), err)
	}
	for _, file := range names {
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(name, func(t *testing.T) {
			got := u.posture(t, name)
			golden := filepath.Join("testdata", "posture", name)
			if *update {
				if err := errorsOf(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, []byte(got), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (run with -update)", err)
			}
			u.comparePosture(t, name, string(text), got)
		})
	}
}

// The control run of the comparison: without a sandbox hardly a line is the same.
func TestPostureOutsideIsAnother(t *testing.T) {
	u := newUser(t)
	text, err := os.ReadFile("testdata/posture/default")
	if err != nil {
		t.Fatal(err)
	}
	outside := strings.Split(u.processPosture(t, "program", os.Getpid()), "\n")
	for _, line := range strings.Split(string(text), "\n") {
		for _, protected := range []string{"program seccomp", "program namespace user", "program namespace mnt", "program namespace pid", "program namespace net", "program no_new_privs", "program mount /usr "} {
			if strings.HasPrefix(line, protected) && slices.Contains(outside, line) {
				t.Errorf("holds outside as well: %s", line)
			}
		}
	}
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// comparePosture tells which lines are missing and which are new. A mount that is missing because its source is not on
// this machine is none; one that is new counts as known when the profile's own golden spec, made for a machine that has
// everything, names it.
func (u *user) comparePosture(t *testing.T, profile, want, got string) {
	t.Helper()
	spec, err := os.ReadFile(filepath.Join(need.Tree(t), "policy", "testdata", "golden", profile+".spec"))
	if err != nil {
		t.Fatal(err)
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range w {
		at, isMount := mountPoint(line)
		if _, err := os.Stat(at); isMount && os.IsNotExist(err) && !strings.HasPrefix(at, "HOME") {
			continue
		}
		if real, err := filepath.EvalSymlinks(at); isMount && err == nil && real != at && slices.Contains(g, strings.Replace(line, at, real, 1)) {
			continue // a link on this machine, such as /etc/default/locale from Debian 13 on: what it leads to is mounted
		}
		if isMount && slices.Contains(g, line+",noexec") {
			continue // this machine has it so, and a sandbox cannot take that away
		}
		if isMount && strings.Contains(want, "program mount / host ") && machines(line) {
			continue // it counts as the machine's
		}
		if !slices.Contains(g, line) && !slices.Contains(g, strings.Replace(line, "cgroup the caller's", "cgroup its own", 1)) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range g {
		at, isMount := mountPoint(line)
		if isMount && (strings.Contains(string(spec), `"`+at+`"`) || devices.MatchString(at)) {
			continue
		}
		if !slices.Contains(w, line) && !slices.Contains(w, strings.Replace(line, "cgroup its own", "cgroup the caller's", 1)) {
			t.Errorf("unknown: %s", line)
		}
	}
}

// devices are those that a profile grants by their kind, where the machine has them.
var devices = regexp.MustCompile(`^(/dev/(dri|kfd|nvidia|snd|video|media|input|hidraw|bus|usb)|/sys/(dev|devices|class)/)`)

func mountPoint(line string) (string, bool) {
	_, rest, ok := strings.Cut(line, " mount ")
	at, _, _ := strings.Cut(rest, " ")
	return at, ok
}

// posture starts a sandbox and looks at its processes.
func (u *user) posture(t *testing.T, profile string) string {
	t.Helper()
	stderr := filepath.Join(u.home, "stderr")
	log, err := os.Create(stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := u.jail("run", "--no-project", "-p", profile, "--", "/usr/bin/sleep", "300")
	cmd.Dir, cmd.Stderr = filepath.Join(u.home, "project"), log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, first := range children(cmd.Process.Pid) {
			for _, program := range children(first) {
				// Both must have come to where they wait for the rest of the run.
				if sleeps(program) && asleep(first) {
					return u.processPosture(t, "program", program) + withoutMounts(u.processPosture(t, "first process", first))
				}
			}
		}
	}
	said, _ := os.ReadFile(stderr)
	t.Fatalf("the program is not there: %s", said)
	return ""
}

// sleeps tells whether a process is sleep(1) in its one long call: proc_pid_syscall(5).
func sleeps(pid int) bool {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	return string(comm) == "sleep\n" && strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_CLOCK_NANOSLEEP)+" ")
}

// asleep tells whether the first process has given up its rights, the last it does before it waits.
func asleep(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return strings.Contains(string(status), "\nState:\tS") && strings.Contains(string(status), "\nCapPrm:\t0000000000000000\n")
}

// withoutMounts leaves out what the program's lines say already: both are in one mount namespace.
func withoutMounts(posture string) string {
	var lines []string
	for _, line := range strings.Split(posture, "\n") {
		if _, isMount := mountPoint(line); !isMount {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// children are those of all threads: proc_pid_task_children(5).
func children(pid int) (all []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(word)
			all = append(all, n)
		}
	}
	return all
}

// raised is the soft limit of open files that Go's runtime gives a process with this hard one (package syscall, rlimit.go).
func raised(hard string) string {
	n, err := strconv.Atoi(hard)
	if err != nil {
		return hard
	}
	return strconv.Itoa(n - 1)
}

// processPosture is what the kernel says of one process, a fact a line. Pid 1 of a sandbox may not be looked at, which is
// a fact as well.
func (u *user) processPosture(t *testing.T, who string, pid int) string {
	t.Helper()
	var lines []string
	say := func(format string, args ...any) {
		lines = append(lines, who+" "+u.normal(fmt.Sprintf(format, args...)))
	}
	in := func(name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	status := map[string]string{}
	for _, line := range readLines(in("status")) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.TrimSpace(value)
	}
	say("uid %s", status["Uid"])
	say("gid %s", status["Gid"])
	for _, f := range [][2]string{{"CapInh", "inheritable"}, {"CapPrm", "permitted"}, {"CapEff", "effective"}, {"CapBnd", "bounding"}, {"CapAmb", "ambient"}} {
		say("capabilities %s %s", f[1], status[f[0]])
	}
	say("no_new_privs %s", status["NoNewPrivs"])
	say("seccomp mode %s", status["Seccomp"])
	say("umask %s", status["Umask"])
	say("threads %s", status["Threads"])
	say("pid namespaces %d deep", len(strings.Fields(status["NSpid"]))-len(strings.Fields(own("NSpid"))))
	for _, f := range []string{"SigBlk", "SigIgn"} {
		say("%s %s", f, status[f])
	}
	for _, kind := range []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"} {
		link, err := os.Readlink(in("ns/" + kind))
		mine, _ := os.Readlink("/proc/self/ns/" + kind)
		switch {
		case err != nil:
			link = "closed to outsiders"
		case link == mine:
			link = "the caller's"
		default:
			link = "its own"
		}
		say("namespace %s %s", kind, link)
	}
	for _, name := range []string{"uid_map", "gid_map", "setgroups", "oom_score_adj", "personality", "cgroup"} {
		text, err := os.ReadFile(in(name))
		value := strings.Join(strings.Fields(string(text)), " ")
		if mine, _ := os.ReadFile("/proc/self/" + name); err == nil && (name == "cgroup" || name == "oom_score_adj") && string(mine) == string(text) {
			value = "the caller's"
		} else if name == "cgroup" {
			value = "its own"
		}
		say("%s %s", name, orClosed(value, err))
	}
	for _, name := range []string{"root", "cwd", "exe"} {
		link, err := os.Readlink(in(name))
		say("%s %s", name, orClosed(link, err))
	}
	fds, err := os.ReadDir(in("fd"))
	if err != nil {
		say("descriptors closed to outsiders")
	}
	for _, fd := range fds {
		link, _ := os.Readlink(in("fd/" + fd.Name()))
		say("descriptor %s %s", fd.Name(), link)
	}
	// Of a program that this one starts: its own runtime has raised its soft limit of open files.
	callers, err := exec.Command("cat", "/proc/self/limits").Output()
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.Split(string(callers), "\n")
	for _, line := range readLines(in("limits")) {
		f := strings.Join(strings.Fields(line), " ")
		if slices.Contains(mine, line) && !strings.HasPrefix(f, "Limit") {
			f = strings.TrimSpace(line[:26]) + " the caller's"
		} else if n := strings.Fields(f); strings.HasPrefix(f, "Max open files") && who == "first process" && n[3] == raised(n[4]) {
			f = "Max open files the caller's" // raised by the runtime of jail, which the program does not inherit
		} else if strings.HasPrefix(f, "Max open files") {
			f = "Max open files soft " + n[3]
		}
		if f != "" && !strings.HasPrefix(f, "Limit") {
			say("limit %s", f)
		}
	}
	if text, err := os.ReadFile(in("environ")); err != nil {
		say("environment closed to outsiders")
	} else {
		var names []string
		for _, kv := range strings.Split(strings.Trim(string(text), "\x00"), "\x00") {
			name, _, _ := strings.Cut(kv, "=")
			names = append(names, name)
		}
		sort.Strings(names)
		say("environment %s", strings.Join(names, " "))
	}
	var mounts []string
	for _, line := range readLines(in("mountinfo")) {
		left, right, ok := strings.Cut(line, " - ")
		f, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(r) < 3 {
			continue
		}
		propagation := strings.Join(f[6:], ",")
		mounts = append(mounts, strings.TrimSpace(fmt.Sprintf("mount %s %s %s %s", f[4], kindOfMount(f[3], r), atime.ReplaceAllString(f[5], ""), propagation)))
	}
	sort.Strings(mounts)
	wholeTree := slices.ContainsFunc(mounts, func(m string) bool { return strings.HasPrefix(m, "mount / host ") })
	for _, m := range mounts {
		if wholeTree && machines(m) {
			continue
		}
		say("%s", m)
	}
	return strings.Join(lines, "\n") + "\n"
}

// machines tells whether a line is of a mount that the machine has at this place, too, and that can be read alone. Where a
// sandbox shows the machine's whole tree it has all of these, and each machine has others.
func machines(line string) bool {
	at, _ := mountPoint(" " + line)
	const mask = " tmpfs size=4k ro,nosuid,nodev,noexec" // of jail's, over something that is hidden
	if at == "/" || !strings.Contains(line, " ro,nosuid,nodev") || strings.Contains(line, mask) {
		return false
	}
	return slices.ContainsFunc(readLines("/proc/self/mountinfo"), func(own string) bool {
		f := strings.Fields(own)
		return len(f) > 4 && f[4] == at
	})
}

// kindOfMount is the file system's type where the sandbox has it to itself, and "host" for what is bound.
func kindOfMount(root string, right []string) string {
	switch right[0] {
	case "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2":
		return right[0]
	case "tmpfs":
		if root == "/" && !strings.Contains(right[2], "nr_inodes=0") {
			for _, option := range strings.Split(right[2], ",") {
				if strings.HasPrefix(option, "size=") {
					return "tmpfs " + option
				}
			}
		}
		return "tmpfs"
	case "overlay":
		return "overlay"
	}
	return "host"
}

func orClosed(value string, err error) string {
	if err != nil {
		return "closed to outsiders"
	}
	return value
}

func readLines(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// own is a field of this process's status.
func own(field string) string {
	for _, line := range readLines("/proc/self/status") {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// When access times are written is the host's business.
var atime = regexp.MustCompile(`,(rel|no|strict|nodir|lazy)a?time`)

var inodes = regexp.MustCompile(`:\[[0-9]+\]`)

// normal writes what differs from run to run and from user to user as what it means.
func (u *user) normal(s string) string {
	s = strings.ReplaceAll(s, u.home, "HOME")
	s = inodes.ReplaceAllString(s, "")
	for _, id := range []int{os.Getuid(), os.Getgid()} {
		s = regexp.MustCompile(`\b`+strconv.Itoa(id)+`\b`).ReplaceAllString(s, "ID")
	}
	return s
}
