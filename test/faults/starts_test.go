//go:build amd64

package faults

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// A start is a profile to sweep.
type start struct {
	name    string
	profile string
	// forget lists what is removed from the home before each run, so that jail makes it anew.
	forget []string
	// makes are patterns of what a start may leave in the home, beside what was there: it is meant to.
	makes []string
	// sample is how many calls of each kind are made to fail in each process, full sweep or not; 0 is as the sweep wants.
	sample   int
	terminal bool // the caller's standard input is a terminal
	bus      bool // the caller has a session bus
	// looks are arguments of posture beyond those of every start; ${HOME} and ${PORT} stand for what their names say.
	looks []string
}

var starts = []start{
	{
		name:    "default",
		profile: "extends: [default]\n",
		forget:  []string{".cache"}, // the filter is compiled anew each time
		makes:   []string{`\.cache(/jail(/seccomp(/[0-9a-f]{64})?)?)?`},
	},
	{
		name: "files",
		profile: `extends: [default]
filesystem:
  - {path: "~", persist: faults}
  - {path: "~/work", mode: rw}
  - {path: "~/.config", mode: rw}
  - {path: "~/layered", overlay: discard}
  - {path: "~/kept", overlay: {keep: "~/changes"}}
  - {path: "~/work/**/.env", hide: true}
  - {path: "~/work/secrets", hide: true}
  - {path: /etc/notes, content: "of the profile\n"}
  - {path: /srv, symlink: usr}
  - {path: /scratch, tmpfs: {size: 1M, mode: "0750"}}
enforcement: {landlock: require}
`,
		forget: []string{".local", "changes"},
		makes:  []string{`\.local(/state(/jail(/home(/faults(/.*)?)?)?)?)?`, `changes(/.*)?`},
		looks:  []string{"create:${HOME}/.config/jail/profiles", "create:${HOME}/.config", "read:${HOME}/work/.env", "list:${HOME}/work/secrets", "read:${HOME}/work/ok", "read:${HOME}/layered/file", "create:${HOME}/layered", "create:${HOME}/kept", "create:${HOME}/work", "read:/etc/notes", "list:/srv", "list:/scratch"},
	},
	{
		name: "network",
		profile: `extends: [default]
network:
  mode: veth
  egress:
    - allow: "host:${PORT}"
`,
		looks: []string{"read:/etc/resolv.conf", "read:/etc/hosts"},
	},
	{
		name:     "terminal",
		profile:  "extends: [default]\nprocess: {terminal: always}\n",
		sample:   few,
		terminal: true,
		looks:    []string{"list:/dev/pts"},
	},
	{
		name:    "desktop",
		profile: "extends: [default]\ndesktop: {notifications: true}\n",
		sample:  few,
		bus:     true,
	},
}

// rootStarts are those as root.
var rootStarts = []start{
	{
		name:    "limits",
		profile: "extends: [default]\nlimits: {pids: 100, memory: 512M}\n",
		sample:  few,
	},
}

// A sandbox is a home with baits in it, and a tracer for the runs of one start.
type sandbox struct {
	start
	home    string
	job     job
	in      *json.Encoder
	results *json.Decoder
	normal  string            // the posture of a healthy run
	before  map[string]string // the files of the home
}

func newSandbox(t *testing.T, s start) *sandbox {
	t.Helper()
	home, err := os.MkdirTemp("/var/tmp", "jail-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	bait, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bait.Close() })
	port := fmt.Sprint(bait.Addr().(*net.TCPAddr).Port)
	fill := func(s string) string { return strings.NewReplacer("${HOME}", home, "${PORT}", port).Replace(s) }
	for name, text := range map[string]string{
		".config/jail/profiles/faults.yaml": "version: 1\nname: faults\n" + fill(s.profile),
		".ssh/id_bait":                      "a planted key\n", "work/.env": "a secret\n", "work/secrets/one": "another\n", "work/ok": "fine\n",
		"layered/file": "below\n", "kept/file": "below\n", "stream": "what the program reads\n",
	} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &sandbox{start: s, home: home}
	b.job = job{
		Args: append([]string{need.Jail(t), "--profile", "faults", "--ro", self + ":/posture", "--", "/posture", "posture"}, b.arguments(t, fill)...),
		Env:  []string{"HOME=" + home, "PATH=/usr/bin:/bin", "TOKEN=a-secret", "LANG=C"}, Dir: home, Stdin: filepath.Join(home, "stream"), Limit: limit,
	}
	if s.bus {
		b.job.Env = append(b.job.Env, "DBUS_SESSION_BUS_ADDRESS="+startBus(t, home))
	}
	b.job.Terminal = s.terminal
	b.trace(t, self)
	return b
}

// startBus starts a session bus that nobody has a name on.
func startBus(t *testing.T, home string) (address string) {
	t.Helper()
	need.Program(t, "xdg-dbus-proxy")
	socket := filepath.Join(home, "bus")
	config := filepath.Join(home, "bus.conf")
	text := `<busconfig><type>session</type><listen>unix:path=` + socket + `</listen><policy context="default"><allow send_destination="*"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(need.Program(t, "dbus-daemon"), "--config-file="+config, "--nofork", "--nopidfile")
	daemon.Stderr = os.Stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return "unix:path=" + socket
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// arguments are what posture looks at.
func (b *sandbox) arguments(t *testing.T, fill func(string) string) (args []string) {
	for _, ns := range []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup"} {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "ns:"+ns+"="+link)
	}
	args = append(args, "tcp:127.0.0.1:"+fill("${PORT}"), "read:/etc/shadow", "read:/etc/hostname", "create:/", "create:/usr", "create:/tmp", "create:/proc",
		"create:${HOME}", "list:${HOME}", "read:${HOME}/.ssh/id_bait", "list:${HOME}/.config", "list:/", "list:/dev", "list:/tmp", "list:/run", "list:/sys")
	args = append(args, b.looks...)
	for i := range args {
		args[i] = fill(args[i])
	}
	return args
}

// trace starts the tracer.
func (b *sandbox) trace(t *testing.T, self string) {
	t.Helper()
	cmd := exec.Command(self, "trace")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.in, b.results = json.NewEncoder(in), json.NewDecoder(out)
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
}

// run starts the sandbox once, with a fault or without.
func (b *sandbox) run(t *testing.T, f *fault) (out outcome) {
	b.clear(t)
	j := b.job
	if j.Fault = f; f == nil {
		j.Limit = 2 * time.Minute // every call of every process is stopped at, and nothing is to hang
	}
	if err := b.in.Encode(j); err != nil {
		t.Error(err)
	}
	if err := b.results.Decode(&out); err != nil {
		t.Errorf("the tracer: %v", err)
	}
	return out
}

// clear removes what jail is to make anew.
func (b *sandbox) clear(t *testing.T) {
	for _, name := range b.forget {
		if err := os.RemoveAll(filepath.Join(b.home, name)); err != nil {
			t.Error(err)
		}
	}
}

// healthy runs the sandbox without a fault, notes what it looks like, and gives the calls that were made: the most of
// each kind, because Go's runtime makes more or fewer from run to run.
func (b *sandbox) healthy(t *testing.T) []record {
	t.Helper()
	if out := b.run(t, nil); out.Code != 0 { // the filter is in the cache now
		t.Fatalf("without a fault: exit code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	b.clear(t)
	b.before = files(b.home)
	most := map[record]bool{}
	for i := range 3 {
		out := b.run(t, nil)
		if out.Code != 0 || out.Hung || len(out.Left) > 0 || !strings.HasSuffix(out.Stdout, "posture = complete\n") {
			t.Fatalf("without a fault: exit code %d, left %v\n%s%s", out.Code, out.Left, out.Stdout, out.Stderr)
		}
		if i == 0 {
			b.normal = out.Stdout
		} else if odd := difference(b.normal, out.Stdout); odd != "" {
			t.Fatalf("two runs without a fault differ:\n%s", odd)
		}
		if left := b.leftovers(); left != "" {
			t.Fatalf("without a fault something is left: %s", left)
		}
		for _, r := range out.Calls {
			most[r] = true
		}
	}
	var calls []record
	for r := range most {
		if other := r; r.Runtime {
			if other.Runtime = false; most[other] {
				continue // one and the same number, now of this caller and now of that
			}
		}
		calls = append(calls, r)
	}
	sortCalls(calls)
	return calls
}

// files are those below a folder, with what can be told of them.
func files(root string) map[string]string {
	all := map[string]string{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if err != nil {
			all[rel] = err.Error()
			return fs.SkipDir // a directory that cannot be read is one such file
		}
		var st unix.Stat_t
		_ = unix.Lstat(path, &st)
		text := fmt.Sprintf("%o %d", st.Mode, st.Uid)
		if d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			text += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		all[rel] = text
		return nil
	})
	return all
}

// leftovers are changes to the home that a start does not make, and mounts on it.
func (b *sandbox) leftovers() string {
	var odd []string
	after := files(b.home)
	for name, was := range b.before {
		if is := after[name]; is != was && !b.may(name) {
			odd = append(odd, fmt.Sprintf("%s is %q and was %q", name, is, was))
		}
	}
	for name, is := range after {
		if _, there := b.before[name]; !there && !b.may(name) {
			odd = append(odd, fmt.Sprintf("%s is new: %s", name, is))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if strings.Contains(string(mounts), b.home) {
		odd = append(odd, "a mount on the home")
	}
	sort.Strings(odd)
	return strings.Join(odd, "; ")
}

func (b *sandbox) may(name string) bool {
	for _, pattern := range b.makes {
		if regexp.MustCompile("^" + pattern + "$").MatchString(name) {
			return true
		}
	}
	return false
}
