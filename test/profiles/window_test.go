package profiles

import (
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jail/test/need"
)

// TestBrowsers: a page of the test network is rendered, and one of the user's local network is not.
func TestBrowsers(t *testing.T) {
	world(t)
	for _, c := range []struct {
		row
		shoot func(url, file string) []string
	}{
		{row{profile: "firefox", program: "firefox-esr", net: public}, func(url, file string) []string {
			return []string{"firefox-esr", "--headless", "--window-size=400,300", "--screenshot", file, url}
		}},
		{row{profile: "chromium", program: "chromium", net: public}, func(url, file string) []string {
			return []string{"chromium", "--headless", "--disable-gpu", "--window-size=400,300", "--screenshot=" + file, url}
		}},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel()
			r := c.row
			r.prepare = site
			r.do = func(t *testing.T, u *user) {
				shot := filepath.Join(u.home, "Downloads", "shot.png")
				said := u.must(u.jail(append([]string{"--"}, c.shoot("http://good.test/page.html", shot)...)...))
				if n := blue(t, shot); n < 20000 {
					t.Errorf("the page was not rendered: %d pixels\n%s", n, said)
				}
				_ = os.Remove(shot)
				// A page of the local network: jail says that it is refused, and it is not drawn. Some browsers wait on then.
				cmd, told := u.start(u.jail(append([]string{"--"}, c.shoot("http://"+lanHost+"/page.html", shot)...)...))
				if !eventually(func() bool { return strings.Contains(told(), "tcp to "+lanHost+", port 80, is refused") }) {
					t.Errorf("no word of a refusal: %s", told())
				}
				stop(cmd)
				if _, err := os.Stat(shot); err == nil {
					if n := blue(t, shot); n > 1000 {
						t.Errorf("a page of the local network was rendered: %d pixels", n)
					}
				}
			}
			r.run(t)
		})
	}
}

// TestWindows looks at programs on a screen: what they were given to show is there.
func TestWindows(t *testing.T) {
	world(t)
	for _, r := range []row{
		{profile: "evince", program: "evince", prepare: paper, args: []string{"paper.pdf"}},
		{profile: "okular", program: "okular", prepare: paper, args: []string{"paper.pdf"}},
		{profile: "zathura", program: "zathura", prepare: paper, args: []string{"paper.pdf"}},
		{profile: "pictures", program: "feh", prepare: picture, args: []string{"picture.png"}},
	} {
		t.Run(r.profile, func(t *testing.T) {
			argv := append([]string{"--", r.program}, r.args...)
			r.do = func(t *testing.T, u *user) {
				u.screen()
				cmd, said := u.start(u.jail(argv...))
				u.sees(20000, said)
				stop(cmd)
			}
			r.run(t)
		})
	}
}

// screen gives the user a session's display.
func (u *user) screen() {
	u.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		u.t.Fatal(err)
	}
	cmd := u.command(need.Program(u.t, "Xvfb"), "-displayfd", "3", "-screen", "0", "1000x700x24", "-nolisten", "tcp", "-noreset")
	cmd.ExtraFiles = []*os.File{write}
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	write.Close()
	u.t.Cleanup(func() { stop(cmd) })
	number := make([]byte, 16)
	n, err := read.Read(number)
	if err != nil {
		u.t.Fatalf("Xvfb did not start: %v", err)
	}
	u.env = append(u.env, "DISPLAY=:"+strings.TrimSpace(string(number[:n])))
}

// sees waits for so many pixels in the page's colour to be on the screen.
func (u *user) sees(pixels int, said func() string) {
	u.t.Helper()
	u.seesColour(pageColour, pixels, said)
}

func (u *user) seesColour(c color.RGBA, pixels int, said func() string) {
	u.t.Helper()
	shot, n := filepath.Join(u.home, "screen.png"), 0
	if !eventually(func() bool {
		time.Sleep(300 * time.Millisecond)
		out, err := u.command(need.Program(u.t, "import"), "-window", "root", shot).CombinedOutput()
		if err != nil {
			u.t.Fatalf("%v: %s", err, out)
		}
		n = count(u.t, shot, c)
		return n >= pixels
	}) {
		keep := ""
		if dir := os.Getenv("JAIL_TEST_SCREENSHOTS"); dir != "" {
			keep = filepath.Join(dir, strings.ReplaceAll(u.t.Name(), "/", "-")+".png")
			_ = exec.Command("cp", shot, keep).Run()
		}
		u.t.Errorf("on the screen are %d pixels in the colour %v, want %d %s\n%s", n, c, pixels, keep, said())
	}
}

// TestOwnColours looks at programs that draw in colours of their own.
func TestOwnColours(t *testing.T) {
	world(t)
	for _, c := range []struct {
		row
		colour color.RGBA // of a waveform, of the button that begins
		pixels int
	}{
		{row{profile: "audacity", program: "audacity", prepare: sound, args: []string{"sound.wav"}}, color.RGBA{0x64, 0x64, 0xdc, 0xff}, 5000},
		{row{profile: "telegram", program: "telegram-desktop", net: public, check: telegramAtHome}, color.RGBA{0x40, 0xa7, 0xe3, 0xff}, 5000},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel()
			r := c.row
			argv := append([]string{"--", r.program}, r.args...)
			r.do = func(t *testing.T, u *user) {
				u.screen()
				cmd, said := u.start(u.jail(argv...))
				u.seesColour(c.colour, c.pixels, said)
				stop(cmd)
			}
			r.run(t)
		})
	}
}

// telegramAtHome: what an account would be kept in is in the home of its own and not in the user's.
func telegramAtHome(t *testing.T, u *user, _ string) {
	t.Helper()
	const kept = "/.local/share/TelegramDesktop/tdata"
	if _, err := os.Stat(u.own("telegram") + kept); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(u.home + kept); err == nil {
		t.Error("it wrote to the user's home")
	}
}

// TestKrita converts a picture by a program that draws windows for it, too.
func TestKrita(t *testing.T) {
	t.Parallel()
	world(t)
	r := row{profile: "krita", program: "krita", prepare: picture, check: colours("out.png")}
	r.do = func(t *testing.T, u *user) {
		u.screen()
		u.must(u.jail("--", "krita", "--export", "--export-filename", "out.png", "picture.png"))
	}
	r.run(t)
}

// TestFileRoller unpacks an archive by a window's program.
func TestFileRoller(t *testing.T) {
	world(t)
	r := row{profile: "file-roller", program: "file-roller", prepare: evil}
	r.do = func(t *testing.T, u *user) {
		u.screen()
		cmd, said := u.start(u.jail("--", "file-roller", "--force", "--extract-to="+u.project+"/out", "evil.zip"))
		if !eventually(func() bool { _, err := os.Stat(u.project + "/out/member.txt"); return err == nil }) {
			t.Errorf("nothing was unpacked: %s", said())
		}
		stop(cmd)
		if got := contentOf(u.home + "/.bashrc"); got != "# the user's own\n" {
			t.Errorf("the archive changed a file outside: %q", got)
		}
	}
	r.run(t)
}

// TestThunderbird: it starts, and makes a profile in the home of its own and not in the user's.
func TestThunderbird(t *testing.T) {
	world(t)
	r := row{profile: "thunderbird", program: "thunderbird", net: public}
	r.do = func(t *testing.T, u *user) {
		u.screen()
		cmd, said := u.start(u.jail("--", "thunderbird"))
		made := func() bool {
			found, _ := filepath.Glob(u.own("thunderbird") + "/.thunderbird/*/prefs.js")
			return len(found) > 0
		}
		if !eventually(made) {
			t.Errorf("no profile was made: %s", said())
		}
		stop(cmd)
		if _, err := os.Stat(u.home + "/.thunderbird"); err == nil {
			t.Error("it wrote to the user's home")
		}
	}
	r.run(t)
}
