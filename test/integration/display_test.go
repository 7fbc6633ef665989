package integration

import (
	"bytes"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// count gives the pixels of one colour in a picture.
func count(t *testing.T, file string, colour [3]uint32) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	n, b := 0, img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if r, g, bl, _ := img.At(x, y).RGBA(); [3]uint32{r >> 8, g >> 8, bl >> 8} == colour {
				n++
			}
		}
	}
	return n
}

// A victim is a window of the session outside, in a colour that nothing else has, into which keys are typed.
var victim = [3]uint32{0xc0, 0x11, 0x99}

// spy is what a program does that wants to know: it grabs the screen, and listens to the keyboard.
const spy = `import -window root grabbed.png
timeout 6 xinput test-xi2 --root >keys.txt 2>&1
echo done`

// Under a display of its own a program neither sees another window nor hears its keys; with the session's display,
// in so many words, it does both.
func TestX11Isolation(t *testing.T) {
	xvfb, xdotool := need.Program(t, "Xvfb"), need.Program(t, "xdotool")
	for _, name := range []string{"import", "xinput", "xterm", "Xephyr"} {
		need.Program(t, name)
	}
	for _, tt := range []struct {
		x11   string
		spied bool
	}{{"shared", true}, {"true", false}} {
		t.Run(tt.x11, func(t *testing.T) {
			u := newUser(t)
			u.env = append(u.env, "DISPLAY="+startXvfb(t, xvfb))
			window := exec.Command("xterm", "-bg", "#c01199", "-geometry", "60x20+0+0", "-e", "sleep", "300")
			window.Env = u.env
			if err := window.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = window.Process.Kill(); _ = window.Wait() })
			outside := filepath.Join(u.home, "outside.png")
			for deadline := time.Now().Add(40 * time.Second); count(t, outside, victim) < 10000; time.Sleep(200 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the other window does not come up")
				}
				grab := exec.Command("import", "-window", "root", outside)
				grab.Env = u.env
				_ = grab.Run()
			}
			u.profile("spy", "extends: [base]\nfilesystem: [{path: ~/spy, mode: rw}]\ndesktop: {x11: "+tt.x11+"}\nprocess: {cwd: ~/spy}\n")
			u.write("spy/.keep", "")
			typing, stop := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(typing)
				for {
					select {
					case <-stop:
						return
					case <-time.After(200 * time.Millisecond):
						key := exec.Command(xdotool, "search", "--class", "xterm", "windowfocus", "key", "s")
						key.Env = u.env
						_ = key.Run()
					}
				}
			}()
			out, errs, code := u.run("--profile", "spy", "sh", "-c", spy)
			close(stop)
			<-typing
			if code != 0 || !strings.Contains(out, "done") {
				t.Fatalf("exit code %d\n%s%s", code, out, errs)
			}
			seen := count(t, filepath.Join(u.home, "spy/grabbed.png"), victim)
			text, err := os.ReadFile(filepath.Join(u.home, "spy/keys.txt"))
			if err != nil || !bytes.Contains(text, []byte("EVENT type")) && tt.spied {
				t.Fatalf("%v\n%s%s", err, text, errs)
			}
			keys := bytes.Count(text, []byte("RawKeyPress")) + bytes.Count(text, []byte("(KeyPress)"))
			if tt.spied && (seen < 10000 || keys == 0) {
				t.Errorf("control: %d pixels of the other window, %d keys", seen, keys)
			}
			if !tt.spied && (seen > 0 || keys > 0) {
				t.Errorf("it sees %d pixels of the other window and hears %d keys", seen, keys)
			}
			if st, err := os.Stat(filepath.Join(u.home, "spy/grabbed.png")); err != nil || st.Size() == 0 {
				t.Errorf("no picture was taken of its own screen: %v", err)
			}
			if warned := strings.Contains(errs, "read every key"); warned != tt.spied {
				t.Errorf("warnings: %s", errs)
			}
		})
	}
}

// startSway starts a compositor without a screen.
func startSway(t *testing.T, u *user) {
	t.Helper()
	sway := need.Program(t, "sway")
	runtime := filepath.Join(u.home, "run")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	u.env = append(u.env, "XDG_RUNTIME_DIR="+runtime)
	config := u.write("sway.conf", "output HEADLESS-1 resolution 800x600\noutput * bg #c01199 solid_color\nxwayland disable\n")
	cmd := exec.Command(sway, "-c", config)
	cmd.Env = append(u.env, "WLR_BACKENDS=headless", "WLR_RENDERER=pixman", "WLR_LIBINPUT_NO_DEVICES=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if sockets, _ := filepath.Glob(runtime + "/wayland-*[0-9]"); len(sockets) > 0 {
			u.env = append(u.env, "WAYLAND_DISPLAY="+filepath.Base(sockets[0]))
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sway does not come up: %s", errs.String())
		}
	}
}

// A program in a sandbox has windows on the compositor, and none of what would let it watch or steer others.
func TestWaylandPrivileges(t *testing.T) {
	for _, name := range []string{"grim", "wtype", "wayland-info", "foot"} {
		need.Program(t, name)
	}
	u := newUser(t)
	startSway(t, u)
	privileged := []string{"zwlr_screencopy_manager_v1", "zwp_virtual_keyboard_manager_v1", "zwlr_data_control_manager_v1", "zwlr_layer_shell_v1",
		"zwlr_foreign_toplevel_manager_v1", "zwlr_virtual_pointer_manager_v1", "zwlr_export_dmabuf_manager_v1", "zwlr_output_manager_v1"}
	outside := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = u.home, u.env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// The control: what an ordinary client of this compositor may do.
	offered, err := outside("wayland-info")
	if err != nil {
		t.Fatalf("%v %s", err, offered)
	}
	for _, p := range privileged {
		if !strings.Contains(offered, p) {
			t.Errorf("control: the compositor does not offer %s", p)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := outside("grim", "outside.png")
		if err == nil && count(t, filepath.Join(u.home, "outside.png"), victim) > 100000 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("control: no picture of the screen: %v %s", err, out)
		}
	}
	if out, err := outside("wtype", "x"); err != nil {
		t.Fatalf("control: no keys can be typed: %v %s", err, out)
	}

	u.profile("window", "extends: [base]\nfilesystem: [{path: ~/spy, mode: rw}]\ndesktop: {wayland: true, fonts: true}\nprocess: {cwd: ~/spy}\n")
	u.write("spy/.keep", "")
	inside := u.must("--profile", "window", "wayland-info")
	for _, p := range privileged {
		if strings.Contains(inside, p) {
			t.Errorf("a program is offered %s", p)
		}
	}
	for _, p := range []string{"wl_compositor", "xdg_wm_base", "wl_seat", "wl_shm"} {
		if !strings.Contains(inside, p) {
			t.Errorf("a program is not offered %s", p)
		}
	}
	if out, _, code := u.run("--profile", "window", "grim", "inside.png"); code == 0 || count(t, filepath.Join(u.home, "spy/inside.png"), victim) > 0 {
		t.Errorf("a picture of the screen was taken: %s", out)
	}
	if out, _, code := u.run("--profile", "window", "wtype", "x"); code == 0 {
		t.Errorf("keys were typed: %s", out)
	}

	// And it does have a window.
	u.write("spy/foot.ini", "[colors]\nbackground=11c099\n")
	cmd := u.jail("--profile", "window", "foot", "--config=foot.ini", "sleep", "60")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(300 * time.Millisecond) {
		if _, err := outside("grim", "window.png"); err == nil && count(t, filepath.Join(u.home, "window.png"), [3]uint32{0x11, 0xc0, 0x99}) > 100000 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no window: %s", errs.String())
		}
	}
}
