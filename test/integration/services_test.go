package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// The keyring of the session, served by a real gnome-keyring, is reached with its key and by no other program.
func TestKeyringService(t *testing.T) {
	need.Program(t, "xdg-dbus-proxy")
	tool, daemon := need.Program(t, "secret-tool"), need.Program(t, "gnome-keyring-daemon")
	u := newUser(t)
	runtime := filepath.Join(u.home, "r")
	if err := os.MkdirAll(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	newDesk(u)
	u.env = append(u.env, "XDG_RUNTIME_DIR="+runtime)
	keyring := exec.Command(daemon, "--unlock", "--foreground", "--components=secrets")
	keyring.Env, keyring.Dir, keyring.Stdin = u.env, u.home, strings.NewReader("a password")
	var errs bytes.Buffer
	keyring.Stderr = &errs
	if err := keyring.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyring.Process.Kill(); _ = keyring.Wait() })
	outside := func(stdin string, args ...string) (string, error) {
		cmd := exec.Command(tool, args...)
		cmd.Env, cmd.Stdin = u.env, strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// The control: outside, a secret is stored and found.
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := outside("the session's secret", "store", "--label=bait", "service", "bait")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("control: %v %s%s", err, out, errs.String())
		}
	}
	if out, err := outside("", "lookup", "service", "bait"); err != nil || out != "the session's secret" {
		t.Fatalf("control: %q, %v", out, err)
	}

	u.profile("keys", "extends: [base]\ndesktop: {keyring: true}\n")
	u.profile("none", "extends: [base]\ndesktop: {notifications: true}\n")
	if out := u.must("--profile", "keys", tool, "lookup", "service", "bait"); out != "the session's secret" {
		t.Errorf("with the key: %q", out)
	}
	store := u.jail("--profile", "keys", tool, "store", "--label=own", "service", "own")
	store.Stdin = strings.NewReader("from inside")
	if out, err := store.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, _ := outside("", "lookup", "service", "own"); out != "from inside" {
		t.Errorf("what was stored inside is %q outside", out)
	}
	if out, said, code := u.run("--profile", "none", tool, "lookup", "service", "bait"); code == 0 || strings.Contains(out, "secret") {
		t.Errorf("without the key: %q, %s", out, said)
	}
}

// Printing goes to a real CUPS, which runs for this test as the user, in a mount namespace with a /run of its own.
func TestPrintingService(t *testing.T) {
	for _, name := range []string{"cupsd", "lp", "lpadmin", "unshare"} {
		need.Program(t, name)
	}
	u := newUser(t)
	u.write("paper.txt", "a line to print\n")
	u.profile("paper", "extends: [base]\ndesktop: {printing: true}\nfilesystem: [{path: ~/paper.txt, mode: ro}]\n")
	u.profile("none", "extends: [base]\nfilesystem: [{path: ~/paper.txt, mode: ro}]\n")
	u.write("cups.sh", `
set -e
mkdir -p c/spool/tmp c/cache c/state c/log c/root
mount -t tmpfs none /run
mkdir /run/cups
cat > c/files.conf <<END
User $(id -un)
Group $(id -gn)
SystemGroup $(id -gn)
FileDevice Yes
ServerRoot $HOME/c/root
RequestRoot $HOME/c/spool
TempDir $HOME/c/spool/tmp
CacheDir $HOME/c/cache
StateDir $HOME/c/state
AccessLog $HOME/c/log/access
ErrorLog $HOME/c/log/error
PageLog $HOME/c/log/page
END
cat > c/cupsd.conf <<END
Listen /run/cups/cups.sock
DefaultAuthType None
WebInterface No
Browsing No
PreserveJobFiles Yes
<Location />
  Order allow,deny
  Allow all
</Location>
<Location /admin>
  Order allow,deny
  Allow all
</Location>
<Policy default>
  <Limit All>
    Order deny,allow
  </Limit>
</Policy>
END
export PATH=$PATH:/usr/sbin PRINTER=paper
cupsd -f -c $HOME/c/cupsd.conf -s $HOME/c/files.conf &
trap "kill $!; wait" EXIT
for i in $(seq 300); do test -S /run/cups/cups.sock && break; sleep 0.1; done
lpadmin -p paper -E -v file:///dev/null -m raw
echo control: $(lp $HOME/paper.txt)
echo inside: $($JAIL --profile paper lp $HOME/paper.txt)
echo without: $($JAIL --profile none lp -d paper $HOME/paper.txt 2>&1)
echo socket: $($JAIL --profile none ls /run/cups/cups.sock 2>&1)
for i in $(seq 100); do test -e c/spool/d00002-001 && break; sleep 0.1; done
cat c/spool/d00002-001
ls c/spool
`)
	cmd := exec.Command("unshare", "--user", "--mount", "--map-current-user", "--keep-caps", "sh", "cups.sh")
	cmd.Dir, cmd.Env = u.home, append(u.env, "JAIL="+need.Jail(t))
	out, err := cmd.CombinedOutput()
	said := string(out)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for _, want := range []string{"control: request id is paper-1 ", "inside: request id is paper-2 ", "\na line to print\n", "without: lp: ", "No such file"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
	if strings.Contains(said, "d00003") {
		t.Errorf("a third job was taken:\n%s", said)
	}
}

// Devices go to whoever asks for them and to nobody else. The nodes are stand-ins: a /dev of the test's own, in which
// /dev/null stands at the places of a graphics card, a camera, a keyboard, a game pad and a USB device.
func TestDeviceNodes(t *testing.T) {
	need.Program(t, "unshare")
	u := newUser(t)
	u.write("devices.sh", `
set -e
mkdir d
mount -t tmpfs -o mode=755 none d
mkdir -p d/shm d/pts d/dri d/bus/usb/001 d/input/by-id
mount --rbind /dev/pts d/pts
ln -s pts/ptmx d/ptmx
for n in null zero full random urandom tty; do : > d/$n; mount --bind /dev/$n d/$n; done
for n in dri/renderD128 dri/card0 video0 media0 bus/usb/001/002 input/event0 input/js0 input/event7; do : > d/$n; mount --bind /dev/null d/$n; done
ln -s ../event7 d/input/by-id/pad-event-joystick
mount --rbind d /dev
look='cd /dev; for n in dri/* video0 media0 bus/usb/*/* input/event* input/js*; do test -c $n && (: > $n) && echo $n; done; true'
echo outside: $(sh -c "$look")
for d in "" gpu camera usb input gamepad; do
	echo "$d:" $($JAIL -p base --set "devices=[$d]" sh -c "$look")
done
umount d/dri/renderD128 /dev/dri/renderD128
rm /dev/dri/renderD128
echo no render node: $($JAIL -p base --set "devices=[gpu]" sh -c "$look")
`)
	cmd := exec.Command("unshare", "--user", "--mount", "--map-current-user", "--keep-caps", "sh", "devices.sh")
	cmd.Dir, cmd.Env = u.home, append(u.env, "JAIL="+need.Jail(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `outside: dri/card0 dri/renderD128 video0 media0 bus/usb/001/002 input/event0 input/event7 input/js0
:
gpu: dri/renderD128
camera: video0 media0
usb: bus/usb/001/002
input: input/event0 input/event7 input/js0
gamepad: input/event7 input/js0
no render node: dri/card0
`
	if string(out) != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}
