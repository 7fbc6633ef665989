package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A property is one observation with what the sandbox must show. The control run must show something else.
type property struct {
	observation string
	want        string
	holdsBefore bool // a machine may well show the same outside, such as a system call that its kernel lacks
}

func check(t *testing.T, u *user, flags []string, properties []property) {
	t.Helper()
	var names []string
	for _, p := range properties {
		names = append(names, p.observation)
	}
	before, after := u.outside(names...), u.inside(flags, names...)
	for _, p := range properties {
		if after[p.observation] != p.want {
			t.Errorf("%s: %q inside, want %q (outside %q)", p.observation, after[p.observation], p.want, before[p.observation])
		}
		if before[p.observation] == p.want && !p.holdsBefore {
			t.Errorf("%s: the control run shows %q as well, so this proves nothing", p.observation, p.want)
		}
	}
}

func hidesWhatIsTheUsers(t *testing.T) {
	u := newUser(t)
	foreign, err := os.CreateTemp("/tmp", "bait")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(foreign.Name())
	socket := filepath.Join(u.home, "run", "session.sock")
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u.env = append(u.env, "XDG_RUNTIME_DIR="+filepath.Dir(socket), "TOKEN=a-secret")
	check(t, u, nil, []property{
		{"read:" + u.home + "/.ssh/id_bait", "ENOENT", false},
		{"exists:" + foreign.Name(), "ENOENT", false},
		{"exists:" + socket, "ENOENT", false},
		{"connect:unix:" + socket, "no", false},
		{"read:/etc/hostname", "ENOENT", false},
		{"exists:/sys/kernel", "ENOENT", false},
		{"exists:/var/lib", "ENOENT", false},
		{"env:TOKEN", "unset", false},
		{"env:XDG_RUNTIME_DIR", "unset", false},
		{fmt.Sprintf("kill:%d", os.Getpid()), "ESRCH", false},
		{"processes", "own", false},
		{"read:/proc/1/environ", "EACCES", true}, // outside pid 1 is root's
		{"read:/proc/1/maps", "EACCES", true},
		{"hostname", "jail", false},
	})
}

func takesEveryPrivilege(t *testing.T) {
	u := newUser(t)
	check(t, u, nil, []property{
		{"status:CapBnd", "0000000000000000", false},
		{"status:CapInh", "0000000000000000", true},
		{"status:CapPrm", "0000000000000000", true},
		{"status:CapEff", "0000000000000000", true},
		{"status:CapAmb", "0000000000000000", true},
		{"status:NoNewPrivs", "1", false},
		{"status:Seccomp", "2", false},
		{"securebits", "0xcf", false},
	})
}

func closesDangerousCalls(t *testing.T) {
	u := newUser(t)
	var properties []property
	for name := range dangerousCalls {
		p := property{"call:" + name, "EPERM", true}
		switch name {
		case "unshare-user", "clone-user", "tiocsti", "tiocsti-high", "tioclinux", "process_vm":
			p.holdsBefore = false // an ordinary user has these, so the control run must show it
		case "packet", "vsock", "alg":
			p.want = "EAFNOSUPPORT" // what a kernel without the family says
		case "personality":
			p.want, p.holdsBefore = "ENOSYS", false // docs/profile-reference.md, guarded calls
		case "mount", "umount2", "pivot_root", "sctp":
			p.want = "ENOSYS"
		case "clone3", "open_tree", "move_mount", "fsopen", "mount_setattr":
			p.want = "ENOSYS" // so that programs fall back to what can be filtered
			p.holdsBefore = false
		}
		properties = append(properties, p)
	}
	check(t, u, nil, properties)
}

func cutsOffTheHost(t *testing.T) {
	u := newUser(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	abstract, err := net.Listen("unix", "@jail-bait-"+filepath.Base(u.home))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	key := 0x6a000000 | os.Getpid()
	id, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	before := u.outside("namespace:user", "namespace:mnt", "namespace:pid", "namespace:ipc", "namespace:uts", "namespace:net", "namespace:cgroup")
	after := u.inside(nil, "namespace:user", "namespace:mnt", "namespace:pid", "namespace:ipc", "namespace:uts", "namespace:net", "namespace:cgroup")
	for name, id := range before {
		if after[name] == id || !strings.Contains(after[name], ":[") {
			t.Errorf("%s is the host's: %s", name, after[name])
		}
	}
	check(t, u, nil, []property{
		{"connect:tcp:" + tcp.Addr().String(), "no", false},
		{"connect:unix:" + abstract.Addr().String(), "no", false},
		{fmt.Sprintf("shm:%d", key), "ENOENT", false},
		{"write:/proc/self/mem", "yes", true},
		{"create:/usr/x", "EROFS", false},
		{"create:/x", "EROFS", false},
		{"create:/tmp/x", "yes", true},
		{"create:" + u.home + "/x", "yes", true}, // a home of its own
	})
}

func closesInheritedDescriptors(t *testing.T) {
	u := newUser(t)
	path, flags := observer(t)
	leak, err := os.Open(u.write("leak", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	run := func(cmd *exec.Cmd) string {
		cmd.Dir, cmd.Env, cmd.ExtraFiles = u.home, u.env, []*os.File{leak, leak}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if got := run(exec.Command(path, "observe", "descriptors")); !strings.HasPrefix(got, "descriptors = [3 4") {
		t.Errorf("control: %s", got)
	}
	if got := run(u.jail(append(flags, "--", "/observer", "observe", "descriptors")...)); got != "descriptors = []" {
		t.Errorf("inherited: %s", got)
	}
}

// A program must not be able to loosen its own next run, whatever a profile gives it.
func keepsJailsOwnFiles(t *testing.T) {
	u := newUser(t)
	u.profile("all", "extends: [base]\nfilesystem:\n  - {path: \"~\", mode: rw}\n")
	for _, dir := range []string{".config/jail/profiles", ".cache/jail/seccomp", ".local/state/jail"} {
		if err := os.MkdirAll(filepath.Join(u.home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"--profile", "all"}
	before := u.outside("create:"+u.home+"/.config/jail/profiles/firefox.yaml", "create:"+u.home+"/.config/other")
	after := u.inside(flags, "create:"+u.home+"/.config/jail/profiles/firefox.yaml", "create:"+u.home+"/.config/jail/x", "create:"+u.home+"/.cache/jail/seccomp/x",
		"create:"+u.home+"/.local/state/jail/x", "create:"+u.home+"/.config/other")
	for name, got := range before {
		if got != "yes" {
			t.Errorf("control: %s: %s", name, got)
		}
	}
	for name, got := range after {
		if strings.HasSuffix(name, "/other") != (got == "yes") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Renaming a folder above them does not help either: the program would make a new one in its place.
	script := `mv ~/.config ~/.config2 && mkdir -p ~/.config/jail/profiles && echo moved`
	_, _, _ = u.run("--profile", "all", "sh", "-c", script)
	if _, err := os.Stat(filepath.Join(u.home, ".config/jail/profiles/all.yaml")); err != nil {
		t.Errorf("the profiles could be moved away: %v", err)
	}
	// Absent at the start, and still not to be made.
	for _, dir := range []string{".cache", ".local"} {
		_ = os.RemoveAll(filepath.Join(u.home, dir))
	}
	got := u.must("--profile", "all", "sh", "-c", "mkdir -p ~/.local/state/jail/homes ~/.cache/jail/seccomp 2>/dev/null; touch ~/.local/state/jail/x ~/.cache/jail/seccomp/x 2>/dev/null; echo done")
	if got != "done\n" {
		t.Error(got)
	}
	for _, f := range []string{".local/state/jail/x", ".cache/jail/seccomp/x"} {
		if _, err := os.Stat(filepath.Join(u.home, f)); err == nil {
			t.Errorf("%s was made from inside", f)
		}
	}
}

// Deny wins through every alias of a path.
func hidesThroughEveryAlias(t *testing.T) {
	u := newUser(t)
	u.write("work/project/.env", "bait")
	u.write("work/project/ok", "fine")
	if err := os.Symlink("project/.env", filepath.Join(u.home, "work/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(u.home, "work/project/.env"), filepath.Join(u.home, "work/linked")); err != nil {
		t.Fatal(err)
	}
	u.profile("hidden", `extends: [base]
filesystem:
  - {path: "~/work", mode: rw}
  - {path: /again, source: "~/work/project", mode: ro}
  - {path: "~/work/**/.env", hide: true}
`)
	script := `cd ~/work
for f in project/.env link project/../project/.env /again/.env ./project/./.env linked; do cat $f; done
mv project elsewhere && cat elsewhere/.env; mv elsewhere project
ln project/.env hard 2>/dev/null && cat hard
cp project/.env copy; cat copy; rm -f copy
exec 7<project/.env; cat /proc/self/fd/7
cat project/ok /again/ok`
	if got := u.must("--profile", "hidden", "sh", "-c", script); strings.Contains(got, "bait") || got != "finefine" {
		t.Errorf("got %q", got)
	}
	control := u.must("--profile", "base", "--bind", u.home+"/work", "sh", "-c", "cat ~/work/project/.env ~/work/link ~/work/linked")
	if control != "baitbaitbait" {
		t.Errorf("control: %q", control)
	}
}

// Nothing of the host is made, changed or shown through a link that an earlier run planted.
func plantedLinksLeadNowhere(t *testing.T) {
	u := newUser(t)
	u.write("outside/secret", "bait")
	u.write("work/.keep", "")
	u.profile("writer", "extends: [base]\nfilesystem:\n  - {path: \"~/work\", mode: rw}\n")
	u.must("--profile", "writer", "sh", "-c", "ln -s "+u.home+"/outside ~/work/cache && ln -s "+u.home+"/outside/secret ~/work/conf")
	u.profile("reader", `extends: [base]
filesystem:
  - {path: "~/work", mode: rw}
  - {path: "~/work/cache", mode: rw}
`)
	out, errs, code := u.run("--profile", "reader", "sh", "-c", "cat ~/work/cache/secret; touch ~/work/cache/made")
	if strings.Contains(out, "bait") || code == 0 {
		t.Errorf("the planted link was followed: exit code %d, %q %q", code, out, errs)
	}
	u.profile("maker", `extends: [base]
filesystem:
  - {path: "~/work", mode: rw}
  - {path: "~/work/cache/new/file", content: "x"}
`)
	_, _, code = u.run("--profile", "maker", "true")
	if entries, _ := os.ReadDir(filepath.Join(u.home, "outside")); len(entries) != 1 {
		t.Errorf("exit code %d, and something was made through the link: %v", code, entries)
	}
}
