package integration

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"jail/test/need"
)

// newDesk starts a session bus for the user with services on it: notifications, a portal, systemd's name, a secret
// between two others, and one that the bus starts when somebody asks for it.
func newDesk(u *user) *desk {
	u.t.Helper()
	daemon := need.Program(u.t, "dbus-daemon")
	started := filepath.Join(u.home, "started-outside")
	u.write("services/org.example.Starter.service", "[D-BUS Service]\nName=org.example.Starter\nExec=/usr/bin/touch "+started+"\n")
	address := "unix:path=" + filepath.Join(u.home, "bus")
	config := u.write("bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>`+address+`</listen><limit name="service_start_timeout">2000</limit><servicedir>`+u.home+`/services</servicedir>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`)
	cmd := exec.Command(daemon, "--config-file="+config, "--nofork", "--nopidfile")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var conn *dbus.Conn
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if conn, err = dbus.Connect(address); err == nil {
			break
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("%v\n%s", err, errs.String())
		}
	}
	u.t.Cleanup(func() { _ = conn.Close() })
	d := &desk{conn: conn, arrived: make(chan string, 100)}
	for _, e := range []struct {
		object      any
		path        dbus.ObjectPath
		iface, name string
	}{
		{d, "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "org.freedesktop.Notifications"},
		{d, "/", "org.freedesktop.systemd1", "org.freedesktop.systemd1"},
		{d, "/", "org.example.Secret", "org.example.Secret"},
		{portal{d}, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.FileChooser", "org.freedesktop.portal.Desktop"},
		{portal{d}, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.OpenURI", ""},
		{portal{d}, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Background", ""},
		{portal{d}, "/org/freedesktop/portal/desktop", "org.freedesktop.portal.Screenshot", ""},
	} {
		if err := conn.Export(e.object, e.path, e.iface); err != nil {
			u.t.Fatal(err)
		}
		if e.name == "" {
			continue
		}
		if _, err := conn.RequestName(e.name, 0); err != nil {
			u.t.Fatal(err)
		}
	}
	u.env = append(u.env, "DBUS_SESSION_BUS_ADDRESS="+address)
	return d
}

// talkSecretly sends signals to another connection until the end of the test.
func (d *desk) talkSecretly(u *user) {
	other, err := dbus.Connect("unix:path=" + filepath.Join(u.home, "bus"))
	if err != nil {
		u.t.Fatal(err)
	}
	done := make(chan struct{})
	u.t.Cleanup(func() { close(done); _ = other.Close() })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			d.conn.Send(&dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/x")), dbus.FieldInterface: dbus.MakeVariant("org.example.Secret"),
				dbus.FieldMember: dbus.MakeVariant("Told"), dbus.FieldDestination: dbus.MakeVariant(other.Names()[0]),
				dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf("")),
			}, Body: []any{"a secret between others"}}, nil)
		}
	}()
}

func (d *desk) asked() []string {
	var all []string
	for {
		select {
		case s := <-d.arrived:
			all = append(all, s)
		default:
			return all
		}
	}
}

// A profile that allows notifications allows nothing else on the bus.
func TestBusFilter(t *testing.T) {
	need.Program(t, "xdg-dbus-proxy")
	u := newUser(t)
	d := newDesk(u)
	d.talkSecretly(u)
	names := []string{"bus:notify", "bus:org.freedesktop.systemd1", "bus:org.example.Secret", "bus:activate", "bus:call-activate", "bus:environment", "bus:own",
		"bus:monitor", "bus:eavesdrop", "bus:names"}
	started := filepath.Join(u.home, "started-outside")

	control := u.outside(names...)
	for _, name := range names {
		switch got := control[name]; name {
		case "bus:activate", "bus:call-activate":
			// The service only makes a file and ends, which the bus takes for a failure.
			if _, err := os.Stat(started); err != nil || got != "TimedOut" && !strings.HasPrefix(got, "Spawn.") {
				t.Errorf("control: %s: %s, %v", name, got, err)
			}
		case "bus:names":
			if !strings.Contains(got, "org.freedesktop.systemd1") {
				t.Errorf("control: %s: %s", name, got)
			}
		default:
			if got != "yes" {
				t.Errorf("control: %s: %s", name, got)
			}
		}
	}
	if got := strings.Join(d.asked(), ", "); got != "a title: a text, do, do" {
		t.Errorf("control: the services were asked %q", got)
	}
	if err := os.Remove(started); err != nil {
		t.Fatal(err)
	}

	u.profile("notes", "extends: [base]\ndesktop: {notifications: true}\n")
	inside := u.inside([]string{"--profile", "notes"}, names...)
	for name, want := range map[string]string{
		"bus:notify": "yes", "bus:names": "org.freedesktop.DBus org.freedesktop.Notifications",
		"bus:org.freedesktop.systemd1": "ServiceUnknown", "bus:org.example.Secret": "ServiceUnknown",
		"bus:activate": "ServiceUnknown", "bus:call-activate": "ServiceUnknown",
		"bus:environment": "AccessDenied", "bus:own": "ServiceUnknown", "bus:monitor": "AccessDenied",
	} {
		if got := inside[name]; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := inside["bus:eavesdrop"]; got == "yes" {
		t.Error("it hears what others say")
	}
	if got := strings.Join(d.asked(), ", "); got != "a title: a text" {
		t.Errorf("the services were asked %q", got)
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("a program was started outside")
	}
}

// Rules for single calls, names of its own, and a bus that is not there.
func TestBusRules(t *testing.T) {
	need.Program(t, "xdg-dbus-proxy")
	u := newUser(t)
	d := newDesk(u)
	u.profile("rules", "extends: [base]\ndesktop: {dbus: {own: [org.example.Mine], call: [\"org.example.Secret=org.example.Secret.Do@/\"]}}\n")
	got := u.inside([]string{"--profile", "rules"}, "bus:own", "bus:org.example.Secret", "bus:org.freedesktop.systemd1", "bus:notify")
	if got["bus:own"] != "yes" || got["bus:org.example.Secret"] != "yes" || got["bus:org.freedesktop.systemd1"] == "yes" || got["bus:notify"] == "yes" {
		t.Errorf("%v", got)
	}
	if got := strings.Join(d.asked(), ", "); got != "do" {
		t.Errorf("the services were asked %q", got)
	}
	got = u.inside([]string{"--profile", "base"}, "bus:notify")
	if !strings.HasPrefix(got["bus:notify"], "no bus") {
		t.Errorf("a profile without a bus: %v", got)
	}
	for i, v := range u.env {
		if strings.HasPrefix(v, "DBUS_SESSION_BUS_ADDRESS=") {
			u.env[i] = "DBUS_SESSION_BUS_ADDRESS=unix:path=" + u.home + "/nowhere"
		}
	}
	got = u.inside([]string{"--profile", "rules"}, "bus:notify")
	if !strings.HasPrefix(got["bus:notify"], "no bus") {
		t.Errorf("a session without a bus: %v", got)
	}
}

// The portals that ask the user answer, to the program in its sandbox; those that act outside are refused.
func TestPortals(t *testing.T) {
	need.Program(t, "xdg-dbus-proxy")
	u := newUser(t)
	d := newDesk(u)
	names := []string{"bus:choose-file", "bus:open-uri", "bus:autostart", "bus:screenshot"}
	control := u.outside(names...)
	for _, name := range names {
		if control[name] != "0" {
			t.Fatalf("control: %s: %s", name, control[name])
		}
	}
	d.asked()
	u.profile("portals", "extends: [base]\ndesktop: {portals: true}\n")
	got := u.inside([]string{"--profile", "portals"}, names...)
	if got["bus:choose-file"] != "0" {
		t.Errorf("the file chooser: %s", got["bus:choose-file"])
	}
	for _, name := range names[1:] {
		if got[name] != "AccessDenied" {
			t.Errorf("%s: %s", name, got[name])
		}
	}
	if asked := strings.Join(d.asked(), ", "); asked != "OpenFile" {
		t.Errorf("the portal was asked %q", asked)
	}

	// By this the portal knows that it is a program in a sandbox that asks, and which.
	cmd := u.jail("--profile", "portals", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	proxy := findProcess(t, cmd.Process.Pid, "xdg-dbus-proxy")
	info, err := os.ReadFile("/proc/" + strconv.Itoa(proxy) + "/root/.flatpak-info")
	if err != nil || !strings.Contains(string(info), "name=dev.jail.portals\n") {
		t.Errorf("%v, %q", err, info)
	}
	if _, err := os.ReadDir("/proc/" + strconv.Itoa(proxy) + "/root" + u.home); err == nil {
		t.Error("the filter sees the home")
	}
}

// findProcess waits for a descendant of a process by its name.
func findProcess(t *testing.T, ancestor int, name string) int {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, pid := range descendants(ancestor) {
			comm, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
			if strings.HasPrefix(strings.TrimSpace(string(comm)), name[:min(len(name), 15)]) {
				return pid
			}
		}
	}
	t.Fatalf("no process %s", name)
	return 0
}

func descendants(ancestor int) []int {
	parents := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			parents[parent] = append(parents[parent], pid)
		}
	}
	var all []int
	for queue := parents[ancestor]; len(queue) > 0; queue = queue[1:] {
		all = append(all, queue[0])
		queue = append(queue, parents[queue[0]]...)
	}
	return all
}

// Helpers live as long as jail and die with it, whatever ends it, and leave no file.
func TestHelpersDieWithJail(t *testing.T) {
	xvfb := need.Program(t, "Xvfb")
	need.Program(t, "xdg-dbus-proxy")
	need.Program(t, "Xephyr")
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			u := newUser(t)
			newDesk(u)
			runtime := filepath.Join(u.home, "runtime")
			if err := os.Mkdir(runtime, 0o700); err != nil {
				t.Fatal(err)
			}
			u.env = append(u.env, "DISPLAY="+startXvfb(t, xvfb), "XDG_RUNTIME_DIR="+runtime)
			u.profile("all", "extends: [base]\ndesktop: {x11: true, notifications: true, links: true}\n")
			u.must("--profile", "all", "true") // filters are compiled now
			before := tmpFiles(t)
			cmd := u.jail("--profile", "all", "sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			findProcess(t, cmd.Process.Pid, "sleep")
			running := descendants(cmd.Process.Pid)
			if len(running) < 6 { // three sandboxes: a first process and a program each
				t.Errorf("only %d processes", len(running))
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				var left []string
				for _, pid := range running {
					if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && !strings.Contains(string(text), ") Z ") {
						left = append(left, string(text))
					}
				}
				if len(left) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("left behind: %q", left)
				}
			}
			if entries, _ := os.ReadDir(runtime); len(entries) != 0 {
				t.Errorf("left in the runtime directory: %v", entries)
			}
			if after := tmpFiles(t); after != before {
				t.Errorf("left in /tmp: before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// tmpFiles lists what helpers could leave in /tmp.
func tmpFiles(t *testing.T) string {
	t.Helper()
	own, _ := filepath.Glob("/tmp/.X11-unix/X0")
	locks, _ := filepath.Glob("/tmp/.X0-lock")
	return strings.Join(append(own, locks...), "\n")
}

// What the program writes to its browser is opened outside, when it is a link; nothing else is.
func TestLinksAreOpenedOutside(t *testing.T) {
	need.Program(t, "xdg-open")
	u := newUser(t)
	log := filepath.Join(u.home, "opened")
	browser := u.write("browser", "#!/bin/sh\nprintf '%s\\n' \"$@\" >>"+log+"\n")
	if err := os.Chmod(browser, 0o755); err != nil {
		t.Fatal(err)
	}
	u.env = append(u.env, "BROWSER="+browser)
	u.profile("links", "extends: [base]\ndesktop: {links: true}\n")
	_, errs, code := u.run("--profile", "links", "sh", "-c", `$BROWSER https://example.org/one
$BROWSER file:///etc/passwd
$BROWSER -version
if command -v gio >/dev/null; then gio open https://example.org/two; else $BROWSER https://example.org/two; fi
xdg-open https://example.org/three
sleep 2`)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	var text []byte
	for deadline := time.Now().Add(20 * time.Second); strings.Count(string(text), "\n") < 3 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		text, _ = os.ReadFile(log)
	}
	for _, want := range []string{"https://example.org/one", "https://example.org/two", "https://example.org/three"} {
		if strings.Count(string(text), want+"\n") != 1 {
			t.Errorf("not opened once: %s in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "passwd") || strings.Contains(string(text), "-version") {
		t.Errorf("opened:\n%s", text)
	}
	if !strings.Contains(errs, `"file:///etc/passwd": not opened`) {
		t.Errorf("nothing is said of what was refused: %s", errs)
	}
	// Without the key there is nobody to ask.
	if out, _, _ := u.run("--profile", "base", "sh", "-c", "echo $BROWSER"); strings.TrimSpace(out) != "" {
		t.Errorf("a browser without links: %q", out)
	}
}

// Sound sockets are there when the session has them, and no device that the machine lacks keeps a program back.
func TestSoundAndDevices(t *testing.T) {
	u := newUser(t)
	runtime := filepath.Join(u.home, "r")
	if err := os.MkdirAll(runtime+"/pulse", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pulse/native", "pipewire-0", "other.sock"} {
		l, err := net.Listen("unix", filepath.Join(runtime, name))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	u.env = append(u.env, "XDG_RUNTIME_DIR="+runtime)
	u.profile("sound", "extends: [base]\ndesktop: {pulseaudio: true, pipewire: true}\ndevices: [gpu, camera, gamepad, usb]\n")
	out := u.must("--profile", "sound", "sh", "-c", "cd $XDG_RUNTIME_DIR && for s in * pulse/*; do test -S $s && echo $s; done; echo $PULSE_SERVER")
	if want := "pipewire-0\npulse/native\nunix:" + runtime + "/pulse/native\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	u.profile("silent", "extends: [base]\ndesktop: {pulseaudio: true}\n")
	if err := os.RemoveAll(runtime); err != nil {
		t.Fatal(err)
	}
	if out := u.must("--profile", "silent", "sh", "-c", "echo ${PULSE_SERVER-none}"); out != "none\n" {
		t.Errorf("a session without sound: %q", out)
	}
}
