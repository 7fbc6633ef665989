package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A room is one folder for the supervisor, a helper and the program: what one makes the other finds, the program
// cannot change it, and it is nowhere on the host.
func TestRooms(t *testing.T) {
	before := mountsOf(t)
	rooms, err := MakeRooms([]string{"first", "second"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rooms {
		defer r.Close()
	}
	if err := os.WriteFile(rooms[0].Path()+"/file", []byte("from the supervisor\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", rooms[1].Path()+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := mountsOf(t); got != before {
		t.Errorf("the host's mounts changed:\n%s\n%s", before, got)
	}

	run := func(script string, rooms map[string]*os.File) string {
		t.Helper()
		b := shellBundle(script)
		b.Spec.Annotations = map[string]string{annotationRooms: `[{"name":"first","path":"/run/first"},{"name":"second","path":"/run/second"}]`}
		facts, err := Gather()
		if err != nil {
			t.Fatal(err)
		}
		plan, err := Compile(b, facts)
		if err != nil {
			t.Fatal(err)
		}
		null, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		ready := false
		status, err := plan.Serve(Options{Rooms: rooms, Streams: []*os.File{null, out, out}}, func(*Process) { ready = true })
		text, _ := os.ReadFile(out.Name())
		if err != nil || status.Code != 0 || !ready {
			t.Fatalf("%v, %+v, started %v\n%s", err, status, ready, text)
		}
		return string(text)
	}
	inside := map[string]*os.File{"first": rooms[0].Inside, "second": rooms[1].Inside}
	outside := map[string]*os.File{"first": rooms[0].Outside, "second": rooms[1].Outside}

	// The control: a helper can write.
	if got := run(`echo from the helper > /run/first/answer && ls /run/first && ls -A /proc/self/fd | wc -l`, outside); got != "answer\nfile\n4\n" {
		t.Errorf("a helper: %q", got)
	}
	got := run(`cat /run/first/file /run/first/answer
test -S /run/second/socket && echo a socket
(echo x > /run/first/new) 2>/dev/null || echo not written
rm -f /run/first/file 2>/dev/null || echo not removed
ls -A /proc/self/fd | wc -l`, inside)
	if want := "from the supervisor\nfrom the helper\na socket\nnot written\nnot removed\n4\n"; got != want {
		t.Errorf("the program:\n%s\nwant\n%s", got, want)
	}
}

func mountsOf(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A plan that shows a room does not start without it: the program would find something else in its place.
func TestMissingRoom(t *testing.T) {
	b := shellBundle("exit 0")
	b.Spec.Annotations = map[string]string{annotationRooms: `[{"name":"x11","path":"/run/x"}]`}
	facts, err := Gather()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Compile(b, facts)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := plan.WriteTo(&text); err != nil || !strings.Contains(text.String(), "show the room x11") {
		t.Errorf("%v:\n%s", err, text.String())
	}
	if _, err := plan.Serve(Options{Streams: []*os.File{os.Stdin, os.Stdout, os.Stderr}}, func(*Process) {}); err == nil || !strings.Contains(err.Error(), "room x11: nothing offers it") {
		t.Errorf("started: %v", err)
	}
	for _, bad := range []string{`{`, `[{"name":"a","path":"relative"}]`, `[{"path":"/x"}]`, `[{"name":"a","path":"/proc/x"}]`, "[" + strings.TrimSuffix(strings.Repeat(`{"name":"a","path":"/run/a"},`, 40), ",") + "]"} {
		b.Spec.Annotations[annotationRooms] = bad
		if _, err := Compile(b, facts); err == nil {
			t.Errorf("%.40s: no error", bad)
		}
	}
}

// Rooms that many starts make at once do not mix up.
func TestRoomsAtOnce(t *testing.T) {
	errs := make(chan error)
	const n = 16
	for i := range n {
		go func() {
			errs <- func() error {
				name := fmt.Sprint("room", i)
				rooms, err := MakeRooms([]string{name})
				if err != nil {
					return err
				}
				defer rooms[0].Close()
				if err := os.WriteFile(rooms[0].Path()+"/"+name, nil, 0o600); err != nil {
					return err
				}
				entries, err := os.ReadDir(rooms[0].Path())
				if err != nil || len(entries) != 1 || entries[0].Name() != name {
					return fmt.Errorf("%s: %v, %w", name, entries, err)
				}
				if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/x", rooms[0].Inside.Fd()), nil, 0o600); err == nil || !os.IsPermission(err) && !strings.Contains(err.Error(), unix.EROFS.Error()) {
					return fmt.Errorf("the program's side can be written to: %w", err)
				}
				return nil
			}()
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
