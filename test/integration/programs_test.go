package integration

import (
	"bytes"
	"image"
	_ "image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

const page = `<!doctype html><meta charset="utf-8"><title>jail</title><body style="margin:0;background:#2060c0"><h1 style="color:#fff">rendered</h1></body>`

// colours counts the pixels of the page's background and of its text in a picture.
func colours(t *testing.T, file string) (background, text int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := img.At(x, y).RGBA()
			switch [3]uint32{r >> 8, g >> 8, bl >> 8} {
			case [3]uint32{0x20, 0x60, 0xc0}:
				background++
			case [3]uint32{0xff, 0xff, 0xff}:
				text++
			}
		}
	}
	return background, text
}

func TestBrowsersRenderAPage(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"firefox", []string{"--profile", "browser.yaml", need.Program(t, "firefox-esr", "firefox"), "--headless", "--window-size=400,300", "--screenshot"}},
		{"chromium", []string{"--profile", "chromium", need.Program(t, "chromium"), "--headless", "--window-size=400,300", "--screenshot="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUser(t)
			file := u.write("Downloads/page.html", page)
			shot := filepath.Join(u.home, "Downloads", c.name+".png")
			args := c.args
			if last := len(args) - 1; strings.HasSuffix(args[last], "=") {
				args[last] += shot
			} else {
				args = append(args, shot)
			}
			for _, a := range args {
				if strings.Contains(a, "no-sandbox") {
					t.Fatal("the browser's own sandbox must be on")
				}
			}
			u.must(append(args, "file://"+file)...)
			if background, text := colours(t, shot); background < 50000 || text < 50 {
				t.Errorf("the page was not rendered: %d pixels of background, %d of text", background, text)
			}
			if out := u.must("--profile", c.name, "sh", "-c", "cat ~/.ssh/id_bait; ls -A ~"); strings.Contains(out, "planted") || strings.Contains(out, ".ssh") {
				t.Errorf("the browser's profile shows the home: %q", out)
			}
		})
	}
}

// A window on an X server, drawn by a browser inside.
func TestBrowsersInAWindow(t *testing.T) {
	xvfb, shoot := need.Program(t, "Xvfb"), need.Program(t, "import")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"firefox", []string{"--profile", "firefox", need.Program(t, "firefox-esr", "firefox"), "--kiosk", "--new-instance"}},
		{"chromium", []string{"--profile", "chromium", need.Program(t, "chromium"), "--no-first-run", "--kiosk", "--disable-gpu"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUser(t)
			file := u.write("Downloads/page.html", page)
			display := startXvfb(t, xvfb)
			u.env = append(u.env, "DISPLAY="+display)
			cmd := u.jail(append(c.args, "file://"+file)...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Signal(os.Interrupt)
				time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
				_ = cmd.Wait()
			}()
			shot := filepath.Join(u.home, c.name+"-window.png")
			deadline := time.Now().Add(90 * time.Second)
			for {
				time.Sleep(time.Second)
				grab := exec.Command(shoot, "-window", "root", shot)
				grab.Env = u.env
				if out, err := grab.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				background, text := colours(t, shot)
				if background > 100000 && text > 50 {
					if keep := os.Getenv("JAIL_TEST_SCREENSHOTS"); keep != "" {
						_ = exec.Command("cp", shot, keep).Run()
					}
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("no window with the page: %d pixels of background, %d of text\n%s", background, text, errs.String())
				}
			}
		})
	}
}

// startXvfb starts an X server on a free display, with an access file as a session has one.
func startXvfb(t *testing.T, xvfb string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(xvfb, "-displayfd", "3", "-screen", "0", "800x600x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buf := make([]byte, 16)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatalf("Xvfb did not start: %v", err)
	}
	return ":" + strings.TrimSpace(string(buf[:n]))
}

func TestBuildingACProject(t *testing.T) {
	need.Program(t, "gcc")
	need.Program(t, "make")
	u := newUser(t)
	u.write("project/hello.c", "#include <stdio.h>\n#include <math.h>\nint main(void) { printf(\"%.1f\\n\", sqrt(2.25)); return 0; }\n")
	u.write("project/Makefile", "hello: hello.o\n\tgcc -o $@ $^ -lm\nsteal:\n\tcat $$HOME/.ssh/id_bait\n")
	cmd := u.jail("--profile", "build", "--", "make")
	cmd.Dir = filepath.Join(u.home, "project")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(filepath.Join(u.home, "project/hello")).Output()
	if err != nil || string(out) != "1.5\n" {
		t.Errorf("%v %q", err, out)
	}
	cmd = u.jail("--profile", "build", "--", "make", "steal")
	cmd.Dir = filepath.Join(u.home, "project")
	if out, err := cmd.CombinedOutput(); err == nil || bytes.Contains(out, []byte("planted")) {
		t.Errorf("the build read the key: %s", out)
	}
}

// jail builds jail inside jail, from the module cache and without a network.
func TestBuildingJailInsideJail(t *testing.T) {
	u := newUser(t)
	goTool := need.Program(t, "go")
	cache, err := exec.Command(goTool, "env", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(cache))
	tree := need.Tree(t)
	source := filepath.Join(u.home, "jail")
	if out, err := exec.Command("sh", "-c", "mkdir "+source+" && cd "+tree+" && cp -r cmd policy sandbox netsetup profiles go.mod go.sum "+source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := u.jail("--profile", "build", "--ro", dirs[0], "--ro", dirs[1], "--env", "GOMODCACHE="+dirs[0], "--env", "GOFLAGS=-mod=mod -buildvcs=false", "--env", "GONOSUMDB=*",
		"--env", "GONOSUMCHECK=1", "--env", "GOFLAGS=-buildvcs=false", "--env", "CGO_ENABLED=0", "--", goTool, "build", "-o", "bin/jail", "./cmd/jail")
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(filepath.Join(source, "bin/jail"), "version").CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
}
