package background

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// small is the half of what these tests let a log keep.
const small = 64 << 10

// begun gives a log of a sandbox that has started.
func begun(t *testing.T, s Store, name string, at time.Time) *Log {
	t.Helper()
	l, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	l.half = small
	if err := l.Name(&Info{Name: name, Profile: "p", Args: []string{"/bin/prog", "x"}, Supervisor: 4711, Started: at}); err != nil {
		t.Fatal(err)
	}
	return l
}

func find(t *testing.T, s Store, name string) *Sandbox {
	t.Helper()
	b, err := s.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(t *testing.T, b *Sandbox) string {
	t.Helper()
	var out bytes.Buffer
	if err := b.Copy(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestALogTellsRunningFromEndedFromKilled(t *testing.T) {
	s := Store{t.TempDir()}
	l := begun(t, s, "web", time.Now())
	fmt.Fprint(l, "one\ntwo\n")
	for _, name := range []string{"web", "4711", "p", "prog"} {
		if b := find(t, s, name); !b.Runs || b.End != nil || text(t, b) != "one\ntwo\n" {
			t.Errorf("%s: %+v", name, b)
		}
	}
	if err := find(t, s, "web").Remove(); err == nil {
		t.Error("the log of a running sandbox was removed")
	}
	if err := l.End(&End{Code: 3}); err != nil {
		t.Fatal(err)
	}
	b := find(t, s, "web")
	if b.Runs || b.End == nil || b.End.Code != 3 || time.Since(b.End.Ended) > time.Minute {
		t.Errorf("ended: %+v", b)
	}
	if end, err := b.Wait(); err != nil || end.Code != 3 {
		t.Errorf("wait: %+v, %v", end, err)
	}

	killed := begun(t, s, "killed", time.Now())
	killed.info.Close() // what the kernel does for a process that is gone
	b = find(t, s, "killed")
	if b.Runs || b.End != nil {
		t.Errorf("killed: %+v", b)
	}
	if end, err := b.Wait(); err != nil || end != nil {
		t.Errorf("wait: %+v, %v", end, err)
	}

	if err := b.Remove(); err != nil {
		t.Fatal(err)
	}
	var unknown *UnknownError
	if _, err := s.Find("killed"); !errors.As(err, &unknown) || !strings.Contains(unknown.Hint(), "web") {
		t.Errorf("removed: %v", err)
	}
}

func TestALogIsTheUsersAlone(t *testing.T) {
	s := Store{t.TempDir()}
	defer unix.Umask(unix.Umask(0))
	begun(t, s, "web", time.Now())
	for path, want := range map[string]os.FileMode{"web": 0o700, "web/log": 0o600, "web/sandbox": 0o600} {
		if st, err := os.Stat(filepath.Join(s.Dir, path)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %o", path, st.Mode(), err, want)
		}
	}
}

func TestALogHasABoundAndKeepsTheLastWords(t *testing.T) {
	s := Store{t.TempDir()}
	l := begun(t, s, "loud", time.Now())
	line := strings.Repeat("x", 1000) + "\n"
	const lines = 5 * small / 1000
	for i := range lines {
		fmt.Fprintf(l, "%d %s", i, line)
	}
	got := text(t, find(t, s, "loud"))
	if len(got) < small || len(got) > 2*small || !strings.Contains(got[len(got)-len(line)-10:], fmt.Sprintf("%d x", lines-1)) {
		t.Errorf("%d bytes are kept", len(got))
	}
}

// TestFollow: whoever follows gets every byte in its order, over several turns of the two files, and the end.
func TestFollow(t *testing.T) {
	s := Store{t.TempDir()}
	l := begun(t, s, "web", time.Now())
	fmt.Fprint(l, "before\n")
	got, done := make(chan string, 1<<12), make(chan error, 1)
	b := find(t, s, "web")
	go func() {
		done <- b.Follow(writer(func(p []byte) { got <- string(p) }))
	}()
	said := "before\n"
	heard := <-got
	for i := range 40 {
		part := fmt.Sprintf("%d %s\n", i, strings.Repeat("y", small/8))
		fmt.Fprint(l, part)
		said += part
		for len(heard) < len(said) {
			select {
			case p := <-got:
				heard += p
			case <-time.After(time.Minute):
				t.Fatalf("after %d of %d bytes nothing comes", len(heard), len(said))
			}
		}
	}
	if heard != said {
		t.Error("what was followed is not what was said")
	}
	if err := l.End(&End{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || b.End == nil {
		t.Errorf("at the end: %v, %+v", err, b)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestAFullDiskIsSaidAndHurtsNobody(t *testing.T) {
	s := Store{t.TempDir()}
	l := begun(t, s, "web", time.Now())
	fmt.Fprint(l, "before\n")
	disk := l.out
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.out = full
	for range 2 {
		if n, err := l.Write([]byte("12345")); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	l.out = disk
	fmt.Fprint(l, "after\n")
	want := "before\njail: 10 bytes of output were lost here: write /dev/full: no space left on device\nafter\n"
	if got := text(t, find(t, s, "web")); got != want {
		t.Errorf("got %q", got)
	}
}

func TestTheOldestAreForgotten(t *testing.T) {
	s := Store{t.TempDir()}
	start := time.Now()
	defer begun(t, s, "s0", start).Discard() // runs on
	for i := 1; i < most+3; i++ {
		l := begun(t, s, fmt.Sprintf("s%d", i), start.Add(time.Duration(i)*time.Second))
		if err := l.End(&End{}); err != nil {
			t.Fatal(err)
		}
	}
	begun(t, s, "last", start.Add(time.Hour))
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != most+2 || all[0].Name != "s0" || all[1].Name != "s3" || all[len(all)-1].Name != "last" {
		t.Errorf("%d are kept, from %s, %s", len(all), all[0].Name, all[1].Name)
	}
}

func TestAFolderThatJailDidNotWrite(t *testing.T) {
	s := Store{t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.Dir, "odd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "odd", infoFile), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(); err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("%v", err)
	}
	begun(t, s, "web", time.Now()) // is not kept from starting
}
