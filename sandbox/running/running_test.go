package running

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// As a supervisor, the test binary publishes what its arguments say, prints the outcome, and lives until its
// standard input ends.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		supervise(os.Args[2], os.Args[3])
	}
	os.Exit(m.Run())
}

func supervise(how, name string) {
	s := &State{Name: name, Given: name != "", Profile: "browser", Args: []string{"/usr/bin/firefox"}}
	first := exec.Command("sleep", "1000")
	first.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := first.Start(); err != nil {
		panic(err)
	}
	s.First = first.Process.Pid
	var err error
	switch how {
	case "unsealed":
		s.Supervisor = os.Getpid()
		var fd int
		if fd, err = unix.MemfdCreate(stateFile, 0); err == nil {
			_, err = unix.Write(fd, encoded(s))
		}
	case "stranger": // tells the process id of another
		s.Supervisor = os.Getppid()
		_, err = sealedFile(stateFile, encoded(s))
	default:
		_, err = Publish(s)
	}
	var taken *TakenError
	switch {
	case errors.As(err, &taken):
		fmt.Println("taken")
		os.Exit(0)
	case err != nil:
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("ready", s.Name)
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = first.Process.Kill()
	os.Exit(0)
}

func encoded(s *State) []byte {
	text, err := s.encode()
	if err != nil {
		panic(err)
	}
	return text
}

// A supervisor is one of those, in a process of its own.
type supervisor struct {
	cmd  *exec.Cmd
	said string
	name string
}

func start(t *testing.T, how, name string, attr *syscall.SysProcAttr) *supervisor {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{cmd: exec.Command(self, "supervise", how, name)}
	s.cmd.SysProcAttr, s.cmd.Stderr = attr, os.Stderr
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	s.said = strings.TrimSpace(line)
	s.name = strings.TrimPrefix(s.said, "ready ")
	return s
}

func listed(t *testing.T) map[string]State {
	t.Helper()
	states, err := List()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]State{}
	for _, s := range states {
		m[s.Name] = s
	}
	return m
}

func TestFoundWhileItLives(t *testing.T) {
	s := start(t, "publish", "", nil)
	if want := fmt.Sprintf("browser-%d", s.cmd.Process.Pid); s.name != want {
		t.Fatalf("it is called %q, want %q", s.name, want)
	}
	got, ok := listed(t)[s.name]
	if !ok || got.Supervisor != s.cmd.Process.Pid || got.Profile != "browser" {
		t.Fatalf("List says %+v", got)
	}
	for _, name := range []string{s.name, fmt.Sprint(s.cmd.Process.Pid), "browser", "firefox"} {
		box, err := Find(name)
		if err != nil {
			t.Fatalf("Find(%q): %v", name, err)
		}
		if box.Name != s.name {
			t.Errorf("Find(%q) is %q", name, box.Name)
		}
		box.Close()
	}

	box, err := Find(s.name)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if box.Wait(10 * time.Millisecond) {
		t.Error("a running sandbox counts as ended")
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	if !box.Wait(30 * time.Second) {
		t.Error("a killed sandbox counts as running")
	}
	if err := box.Signal(unix.SIGTERM); err != nil {
		t.Errorf("a signal to one that has ended: %v", err)
	}
	if _, ok := listed(t)[s.name]; ok {
		t.Error("List still shows a killed sandbox")
	}
	var none *FindError
	if _, err := Find(s.name); !errors.As(err, &none) {
		t.Errorf("Find of a killed sandbox: %v", err)
	}
}

// Control: the same process without the one thing that is wrong is found, see above.
func TestNotBelieved(t *testing.T) {
	need.UserNamespaces(t)
	ids := []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
	gids := []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	for _, c := range []struct {
		name, how string
		attr      *syscall.SysProcAttr
		text      string
	}{
		{"unsealed", "unsealed", nil, `no running sandbox is called "fake-unsealed"`},
		{"names another", "stranger", nil, "not yours to join"},
		{"in a user namespace of its own", "publish", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: gids}, "not yours to join"},
		{"in a pid namespace of its own", "publish", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, UidMappings: ids, GidMappings: gids}, "not yours to join"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "fake-" + strings.ReplaceAll(c.name, " ", "-")
			s := start(t, c.how, name, c.attr)
			if s.said != "ready "+name {
				t.Fatalf("the impostor says %q", s.said)
			}
			if got, ok := listed(t)[name]; ok {
				t.Errorf("List believes it: %+v", got)
			}
			box, err := Find(name)
			if err == nil {
				box.Close()
				t.Fatal("Find believes it")
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("Find says %q, want %q", err, c.text)
			}
		})
	}
}

func TestOneOfManyGetsAName(t *testing.T) {
	const count = 12
	said := make(chan string)
	for range count {
		go func() { said <- start(t, "publish", "the-one", nil).said }()
	}
	ready, taken := 0, 0
	for range count {
		switch s := <-said; s {
		case "ready the-one":
			ready++
		case "taken":
			taken++
		default:
			t.Errorf("one says %q", s)
		}
	}
	if ready != 1 || taken != count-1 {
		t.Errorf("%d got the name and %d found it taken, want 1 and %d", ready, taken, count-1)
	}
	// A derived name is nobody else's anyway.
	if s := start(t, "publish", "", nil); !strings.HasPrefix(s.said, "ready browser-") {
		t.Errorf("a start without a name says %q", s.said)
	}
}

func TestAmbiguous(t *testing.T) {
	a, b := start(t, "publish", "", nil), start(t, "publish", "", nil)
	_, err := Find("firefox")
	var f *FindError
	if !errors.As(err, &f) || !strings.Contains(f.Hint(), a.name) || !strings.Contains(f.Hint(), b.name) {
		t.Errorf("Find says %v", err)
	}
}

func TestKeeps(t *testing.T) {
	s := &State{Name: "keeper-" + fmt.Sprint(os.Getpid()), Given: true, Args: []string{"x"}}
	child := exec.Command("sleep", "100")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	e, err := Publish(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := listed(t)[s.Name]; ok {
		t.Error("listed before it has a first process")
	}
	s.First = child.Process.Pid
	if err := e.Update(s); err != nil {
		t.Fatal(err)
	}
	if err := e.Keep("spec", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	log, err := e.KeepFile("log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintln(log, "a line")

	box, err := Find(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for label, want := range map[string]string{"spec": "{}", "log": "a line\n"} {
		open := box.OpenFile
		if label == "spec" {
			open = box.Open
		}
		f, err := open(label)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 100)
		n, _ := f.Read(text)
		f.Close()
		if string(text[:n]) != want {
			t.Errorf("%s holds %q, want %q", label, text[:n], want)
		}
	}
	// What is still being written is not there yet for somebody who wants the whole.
	if _, err := box.Open("log"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not sealed: %v", err)
	}
	if _, err := box.Open("nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of what is not kept: %v", err)
	}
	e.Close()
	if _, ok := listed(t)[s.Name]; ok {
		t.Error("listed after Close")
	}
}

func TestStateIsToldAsItIs(t *testing.T) {
	in := State{Name: "n", Given: true, Profile: "p", Args: []string{"/bin/x", "", "a=b", "\xff\n\x1b[2J"}, Supervisor: 5, First: 6,
		Started: time.Unix(12, 34), Terminal: true, Cgroups: []string{"/a b", "/c"}, Network: map[string]string{"mode": "veth", "": "="},
		Jail: "1", pending: true}
	out, ok := decode(string(encoded(&in)))
	if !ok || !reflect.DeepEqual(in, out) {
		t.Errorf("told\n%+v\nread\n%+v", in, out)
	}
	for _, s := range []State{{Name: "a\x00b"}, {Args: []string{"\x00"}}, {Network: map[string]string{"a=b": ""}}, {Network: map[string]string{"a": "\x00"}}} {
		if _, err := s.encode(); err == nil {
			t.Errorf("%+v was written", s)
		}
	}
}

// What another process says may be anything.
func FuzzDecode(f *testing.F) {
	f.Add(string(encoded(&State{Name: "n", Args: []string{"x"}, Network: map[string]string{"mode": "none"}})))
	f.Add("name=x\x00supervisor=99999999999999999999\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if s, ok := decode(text); ok && !IsName(s.Name) {
			t.Errorf("the name %q is taken", s.Name)
		}
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"firefox": true, "a": true, "A.b_c-9": true, "web-1": true, strings.Repeat("x", 64): true,
		"": false, ".hidden": false, "-flag": false, "1234": false, "a b": false, "a/b": false, "ä": false, "a\x1b": false,
		strings.Repeat("x", 65): false,
	} {
		if got := IsName(name); got != want {
			t.Errorf("IsName(%q) = %t", name, got)
		}
	}
	for profile, want := range map[string]string{"firefox": "firefox-7", "": "sandbox-7", "my profile": "sandbox-7",
		strings.Repeat("x", 70): strings.Repeat("x", 50) + "-7"} {
		if got := derivedName(&State{Profile: profile, Supervisor: 7}); got != want || !IsName(got) {
			t.Errorf("the name of profile %q is %q, want %q", profile, got, want)
		}
	}
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"firefox", "firefoz", true}, {"firefox", "frefox", true}, {"firefox", "firrefox", true}, {"firefox", "fierfox", true},
		{"firefox-12", "firefox", true}, {"Web", "web", true}, {"ab", "ac", false}, {"firefox", "chromium", false}, {"abc", "", false},
	} {
		if got := near(c.a, c.b); got != c.want {
			t.Errorf("near(%q, %q) = %t", c.a, c.b, got)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for range b.N {
		e, err := Publish(&State{Profile: "browser", Args: []string{"firefox", "--headless"}, First: 1})
		if err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}

func BenchmarkList(b *testing.B) {
	for range b.N {
		if _, err := List(); err != nil {
			b.Fatal(err)
		}
	}
}
