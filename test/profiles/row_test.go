package profiles

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// A row is the proof of one profile.
type row struct {
	// profile is what is proved. The programs it needs on this machine are program and needs.
	profile, program string
	// standIn is what is run in the place of a program that Debian does not carry.
	standIn string
	needs   []string
	net     network
	// general is set for profiles that are given with --profile; the others are found by the program's name.
	general bool
	// env goes to jail, flags before the program.
	env, flags []string
	// args follow the program; they are run in the project's folder, in place of do.
	args []string
	// files are made in the project's folder first.
	files map[string]string
	// prepare makes what files cannot, do runs the program in its own way.
	prepare, do func(t *testing.T, u *user)
	// want has to be in what the program says; made are files it must leave in the project's folder.
	want string
	made []string
	// check looks at what it made.
	check func(t *testing.T, u *user, said string)
}

// network says what a profile can reach.
type network int

const (
	none   network = iota // nothing
	named                 // the hosts it names
	public                // any public address
)

// refused are hosts that the profile must not reach. The user's own machine and network are always among them.
func (n network) refused() []string {
	hosts := []string{ownPort, lanHost + ":" + greetPort, metadata + ":" + greetPort}
	if n != public {
		hosts = append(hosts, badHost+":"+greetPort)
	}
	if n == none {
		hosts = append(hosts, goodHost+":"+greetPort)
	}
	return hosts
}

// A user is a home with baits in it, and a project's folder.
type user struct {
	t             *testing.T
	home, project string
	env           []string
}

func newUser(t *testing.T) *user {
	t.Helper()
	need.OrdinaryUser(t)
	need.UserNamespaces(t)
	world(t)
	home, err := os.MkdirTemp("/var/tmp", "jail-profiles-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := exec.Command("chmod", "-R", "u+rwX", home).Run(); err == nil {
			_ = os.RemoveAll(home)
		}
	})
	u := &user{t: t, home: home, project: filepath.Join(home, "work", "project")}
	u.env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH") + ":/usr/games", "LANG=C.UTF-8", "USER=somebody", "TERM=xterm", "JAIL_ROLE="}
	u.write(".ssh/id_ed25519", "a planted key\n")
	u.write(".aws/credentials", "a planted key\n")
	u.write(".bashrc", "# the user's own\n")
	for _, dir := range []string{"Downloads", "Documents", "Pictures", "Music", "Videos"} {
		u.write(dir+"/.keep", "")
	}
	u.write("work/project/.keep", "")
	return u
}

// write puts a file into the home.
func (u *user) write(name, text string) string {
	u.t.Helper()
	path := filepath.Join(u.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// read reads a file of the project.
func (u *user) read(name string) []byte {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(u.project, name))
	if err != nil {
		u.t.Fatal(err)
	}
	return text
}

// own is the home of its own that a profile keeps.
func (u *user) own(profile string) string {
	return filepath.Join(u.home, ".local/state/jail/home", profile)
}

// patience is how long a program may take on a busy machine.
const patience = 3 * time.Minute

// command prepares a program without a sandbox, in the project's folder.
func (u *user) command(argv ...string) *exec.Cmd {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	u.t.Cleanup(cancel)
	cmd := ordinary(argv...)
	full := exec.CommandContext(ctx, cmd.Args[0], cmd.Args[1:]...)
	full.Dir, full.Env = u.project, u.env
	full.WaitDelay = 5 * time.Second
	return full
}

// jail prepares a run of jail in the project's folder.
func (u *user) jail(args ...string) *exec.Cmd {
	u.t.Helper()
	return u.command(append([]string{need.Jail(u.t), "run"}, args...)...)
}

// must runs a command and wants success. It gives all that was said.
func (u *user) must(cmd *exec.Cmd) string {
	u.t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		u.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args[3:], " "), err, said.String())
	}
	return said.String()
}

// attempts runs the probe, and tells which of the attempts it managed.
func (u *user) attempts(cmd func(argv ...string) *exec.Cmd, binary string, attempts ...string) []string {
	u.t.Helper()
	c := cmd(append([]string{binary}, attempts...)...)
	c.Env = append(slices.Clone(c.Env), "JAIL_ROLE=probe")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	var managed []string
	n := 0
	for line := range strings.Lines(out.String()) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if word == "managed" {
			managed = append(managed, rest)
		}
		n++
	}
	if n != len(attempts) {
		u.t.Fatalf("the probe made %d of %d attempts: %s%s", n, len(attempts), out.String(), errs.String())
	}
	return managed
}

// mustNot checks what nothing in the profile may do.
func (r *row) mustNot(t *testing.T, u *user) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join("/var/tmp", filepath.Base(u.home)+"-outside")
	t.Cleanup(func() { _ = os.Remove(outside) })
	targets := []string{u.home + "/.bashrc", u.home + "/.ssh/authorized_keys", outside}
	attempts := []string{"read " + u.home + "/.ssh/id_ed25519", "read " + u.home + "/.aws/credentials"}
	for _, host := range r.net.refused() {
		attempts = append(attempts, "reach "+host)
	}
	for _, file := range targets {
		attempts = append(attempts, "write "+file)
	}
	// The control: without the sandbox all of it is there to be done.
	if managed := u.attempts(u.command, self, attempts...); !slices.Equal(managed, attempts) {
		t.Fatalf("without the sandbox only %q of %q", managed, attempts)
	}
	before := map[string]string{}
	for _, file := range targets {
		_ = os.Remove(file)
		before[file] = contentOf(file)
	}
	u.write(".bashrc", "# the user's own\n")
	before[u.home+"/.bashrc"] = contentOf(u.home + "/.bashrc")
	// A profile may give a home of its own, where such files can be made; what counts is that the user's are as they
	// were. So an attempt to write is judged by the files and not by what the probe says.
	flags := append(slices.Clone(r.flags), "-p", r.profile, "--ro", self+":/tmp/probe", "--env", "JAIL_ROLE=probe", "--")
	inside := func(argv ...string) *exec.Cmd { return u.jail(append(slices.Clone(flags), argv...)...) }
	for _, a := range u.attempts(inside, "/tmp/probe", attempts...) {
		if !strings.HasPrefix(a, "write ") {
			t.Errorf("inside, the probe managed to %s", a)
		}
	}
	for file, text := range before {
		if got := contentOf(file); got != text {
			t.Errorf("inside, the probe changed %s to %q", file, got)
		}
	}
}

func contentOf(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "absent"
	}
	return string(text)
}

// run proves one row.
func (r *row) run(t *testing.T) {
	program := r.program
	if program != "" {
		program = need.Program(t, r.program)
	}
	for _, p := range r.needs {
		need.Program(t, p)
	}
	u := newUser(t)
	u.env = append(u.env, r.env...)
	for name, text := range r.files {
		u.write(filepath.Join("work/project", name), text)
	}
	if r.prepare != nil {
		r.prepare(t, u)
	}
	said := ""
	if r.do != nil {
		r.do(t, u)
	} else {
		args := slices.Clone(r.flags)
		if r.general {
			args = append(args, "-p", r.profile)
		} else {
			program = r.program
		}
		said = u.must(u.jail(append(append(args, "--", program), r.args...)...))
	}
	if !strings.Contains(said, r.want) {
		t.Errorf("%q is not in what it said:\n%s", r.want, said)
	}
	for _, file := range r.made {
		if st, err := os.Stat(filepath.Join(u.project, file)); err != nil || st.Size() == 0 {
			t.Errorf("it did not make %s: %v\n%s", file, err, said)
		}
	}
	if r.check != nil {
		r.check(t, u, said)
	}
	r.mustNot(t, u)
}
