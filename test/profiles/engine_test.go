package profiles

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jail/test/need"
)

// TestEngines runs, in the profiles of programs that Debian does not carry, what such a program is built on: Chromium
// for those that are browsers inside, Firefox for the Tor Browser, bubblewrap for Steam, which puts every game into
// a container of it. It proves that the profile has what the engine needs, its own sandbox included, and what
// nothing in the profile may do; it proves nothing of what the program itself does beside. The profile that all
// browsers are built from is given to one here, as to a browser that jail does not know.
func TestEngines(t *testing.T) {
	world(t)
	const shot = "Downloads/shot.png"
	// Not by the distribution's script, which reads settings of its own in /etc.
	chromium := []string{"/usr/lib/chromium/chromium", "--headless", "--disable-gpu", "--window-size=400,300", "--screenshot="}
	firefox := []string{"firefox-esr", "--headless", "--window-size=400,300", "--screenshot="}
	for _, c := range []struct {
		row
		engine []string // draws a page; the last word is continued by the picture's path
		shot   string   // the picture, in the home
	}{
		{row{profile: "brave", standIn: "Chromium", net: public}, chromium, shot},
		{row{profile: "chrome", standIn: "Chromium", net: public}, chromium, shot},
		{row{profile: "code", standIn: "Chromium", net: public}, chromium, "work/project/shot.png"},
		{row{profile: "discord", standIn: "Chromium", net: public}, chromium, shot},
		{row{profile: "element", standIn: "Chromium", net: public}, chromium, shot},
		{row{profile: "signal", standIn: "Chromium", net: public}, chromium, shot},
		{row{profile: "slack", standIn: "Chromium", net: public}, chromium, shot},
		{row{profile: "browser", program: "firefox-esr", net: public}, firefox, shot},
		{row{profile: "tor-browser", standIn: "Firefox", net: public}, firefox, ".local/state/jail/home/tor-browser/shot.png"},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel()
			r := c.row
			r.prepare = site
			r.do = func(t *testing.T, u *user) {
				need.Program(t, "chromium")
				need.Program(t, "firefox-esr")
				drawn := filepath.Join(u.home, c.shot)
				inside := drawn
				if c.profile == "tor-browser" { // the home of its own is where the home is
					inside = u.home + "/shot.png"
				}
				argv := slices.Clone(c.engine)
				argv[len(argv)-1] += inside
				said := u.must(u.jail(append(append([]string{"-p", c.profile, "--"}, argv...), "http://good.test/page.html")...))
				if _, err := os.Stat(drawn); err != nil {
					t.Fatalf("no picture: %v\n%s", err, said)
				}
				if n := blue(t, drawn); n < 20000 {
					t.Errorf("the page was not rendered: %d pixels\n%s", n, said)
				}
			}
			r.run(t)
		})
	}
	t.Run("steam", func(t *testing.T) {
		t.Parallel()
		r := row{profile: "steam", standIn: "bubblewrap", net: public}
		r.do = func(t *testing.T, u *user) {
			// With process ids shared: a /proc of its own could not be had below one that is masked, mount_namespaces(7).
			said := u.must(u.jail("-p", "steam", "--", need.Program(t, "bwrap"), "--unshare-user", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin",
				"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--tmpfs", u.home,
				"sh", "-c", `test ! -e "$HOME/.cache" && echo "in a container"`))
			if !strings.Contains(said, "in a container\n") {
				t.Errorf("it said %q", said)
			}
		}
		r.run(t)
	})
}
