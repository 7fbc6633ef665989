package escape

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A swapped path is exchanged with a link to a folder that no profile grants, as fast as can be, while sandboxes start
// that use it: CVE-2021-30465, CVE-2024-1753. It lies where the program of an earlier run could have a process do so.
type swapped struct {
	name    string
	path    string   // in the home, a directory unless file says otherwise
	profile string   // entries of filesystem, beside ~/work for writing
	flags   []string // of jail
	looks   []string // where the bait would be seen inside, and something be made

	// file has what is swapped be a file with this text, and foreign be the text that the link leads to, with the bait
	// in a comment behind it. itself puts a file with that text in the place of the link.
	file, foreign string
	itself        bool
	cwd           string // of jail, in the home
}

var swaps = []swapped{
	{name: "a read-only source", path: "work/x", profile: `{path: /in, source: "~/work/x", mode: ro}`, looks: []string{"/in"}},
	{name: "a writable source", path: "work/x", profile: `{path: /in, source: "~/work/x", mode: rw}`, looks: []string{"/in"}},
	{name: "an entry at its own path", path: "work/x", profile: `{path: "~/work/x", mode: ro}`, looks: []string{"~/work/x"}},
	{name: "a source below it", path: "work/x", profile: `{path: /in, source: "~/work/x/sub", mode: rw}`, looks: []string{"/in"}},
	{name: "a single file", path: "work/x", profile: `{path: /in/bait, source: "~/work/x/bait", mode: rw}`, looks: []string{"/in"}},
	{name: "a persistent home", path: ".local/state/jail/home/race", profile: `{path: "~/home", persist: race}`, looks: []string{"~/home"}},
	{name: "a lower layer", path: "work/x", profile: `{path: /in, source: "~/work/x", overlay: discard}`, looks: []string{"/in"}},
	{name: "several layers", path: "work/x", profile: `{path: /in, overlay: {layers: ["~/work/x", "~/base"]}}`, looks: []string{"/in"}},
	{name: "the place of a tmpfs", path: "work/x", profile: `{path: "~/work/x/new", tmpfs: {}}`, looks: []string{"~/work/x", "~/work/x/new"}},
	{name: "the place of a bind", path: "work/x", profile: `{path: "~/work/x/new", source: "~/base", mode: rw}`, looks: []string{"~/work/x"}},
	{name: "the place of a content", path: "work/x", profile: `{path: "~/work/x/bait", content: "mine"}`, looks: []string{"~/work/x"}},
	{name: "the place of a link", path: "work/x", profile: `{path: "~/work/x/link", symlink: /etc}`, looks: []string{"~/work/x"}},
	{name: "a hidden file", path: "work/x", profile: `{path: "~/work/x/bait", hide: true}`, looks: []string{"~/work/x"}},
	{name: "a hidden pattern", path: "work/x", profile: `{path: "~/work/**/bait", hide: true}`, looks: []string{"~/work/x"}},
	{name: "the working directory", path: "work/x", flags: []string{"--cwd", "~/work/x"}, looks: []string{"."}},
	{name: "a flag", path: "work/x", flags: []string{"--bind", "~/work/x:/in"}, looks: []string{"/in"}},
	{name: "what an overlay keeps", path: "changes/upper", profile: `{path: "~/base", overlay: {keep: "~/changes"}}`, looks: []string{"~/base"}},
	{name: "where an overlay works", path: "changes/work", profile: `{path: "~/base", overlay: {keep: "~/changes"}}`, looks: []string{"~/base"}},
	{name: "the file of the profile", path: "work/race.yaml", file: raceProfile, foreign: raceProfile, flags: []string{"-p", "~/work/race.yaml"}, looks: []string{"~/work/race.yaml", "~/work"}},
	{name: "the project file, and one that is approved elsewhere", path: "work/project/.jail.yaml", cwd: "work/project", file: tightens, foreign: grants, looks: []string{"/in"}},
	{name: "the text of the project file", path: "work/project/.jail.yaml", cwd: "work/project", file: tightens, foreign: grants, itself: true, looks: []string{"/in"}},
	{name: "a source of a bundle", path: "bundle/given", looks: []string{"/in"}},
	{name: "the root of a bundle", path: "bundle/rootfs", looks: []string{"/"}},
}

const (
	raceProfile = "version: 1\nname: race\nextends: [default]\nfilesystem: [ENTRIES]\n"
	tightens    = "version: 1\nfilesystem: [{path: \"~/work/x\", hide: true}]\n"
	grants      = "version: 1\nfilesystem: [{path: /in, source: \"~/foreign\", mode: ro}]\n"
)

// startsInFull is how many starts there are in all with JAIL_TEST_FULL=1; otherwise a few of each kind.
const (
	startsInFull = 10000
	startsInCI   = 15
)

func TestSwaps(t *testing.T) {
	rounds := startsInCI
	if os.Getenv("JAIL_TEST_FULL") != "" {
		rounds = (startsInFull + len(swaps) - 1) / len(swaps)
	}
	var starts, ran, refused int
	for _, c := range swaps {
		t.Run(c.name, func(t *testing.T) {
			r, f := c.race(t, rounds)
			starts, ran, refused = starts+rounds, ran+r, refused+f
		})
	}
	t.Logf("%d starts: %d ran, %d were refused, none reached what is foreign unless it says so above", starts, ran, refused)
	if ran == 0 || refused == 0 {
		t.Errorf("the swaps did not fall on both sides of the look: %d ran and %d were refused", ran, refused)
	}
}

// race starts sandboxes while their path is swapped.
func (c *swapped) race(t *testing.T, rounds int) (ran, refused int) {
	v := newVictim(t)
	home := func(s string) string { return strings.ReplaceAll(s, "~/", v.home+"/") }
	for _, name := range []string{"foreign/bait", "foreign/sub/bait", "base/file"} {
		v.write(name, "the bait\n")
	}
	entries := []string{v.attacker(), `{path: "~/work", mode: rw}`}
	if c.profile != "" {
		entries = append(entries, c.profile)
	}
	v.profile("race", "filesystem: ["+strings.Join(entries, ", ")+"]\n")
	args := c.flags
	if !slices.Contains(args, "-p") {
		args = append([]string{"-p", "race"}, args...)
	}
	args = slices.Clone(args)
	for i := range args {
		args[i] = home(args[i])
	}
	attack := []string{"/attack", "attack", "race"}
	for _, look := range c.looks {
		attack = append(attack, home(look))
	}
	args = append(append(args, "--"), attack...)
	if dir, _, bundle := strings.Cut(c.path, "/"); bundle && dir == "bundle" {
		v.bundle(attack)
		args = []string{"run", "--bundle", v.home + "/bundle"}
	}
	at, other := c.plant(v, strings.NewReplacer("ENTRIES", strings.Join(entries, ", ")))
	before := listing(v.home + "/foreign")

	stop := swapForEver(at, other)
	defer stop()
	if !c.looksTwice(at) {
		t.Error("control: who looks at the path and then uses it is never led astray, so this proves nothing")
	}
	var next atomic.Int64
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range min(2, runtime.NumCPU()) {
		workers.Go(func() {
			for next.Add(1) <= int64(rounds) {
				out, code := v.jail(args...)
				mu.Lock()
				switch {
				case strings.Contains(out, "won: "):
					t.Errorf("the foreign folder is shown: exit code %d\n%s", code, out)
				case strings.Contains(out, "held: "):
					ran++
				case code == 125 || code == 126 || code == 127:
					refused++
				default:
					t.Errorf("exit code %d\n%s", code, out)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if after := listing(v.home + "/foreign"); after != before {
		t.Errorf("the foreign folder was changed:\nbefore %s\nafter  %s", before, after)
	}
	t.Logf("%d ran, %d were refused", ran, refused)
	return ran, refused
}

// plant makes the path, and beside it what it is exchanged with.
func (c *swapped) plant(v *victim, fill *strings.Replacer) (at, other string) {
	v.t.Helper()
	at, other = filepath.Join(v.home, c.path), filepath.Join(v.home, "work/swapped")
	target := v.home + "/foreign"
	switch {
	case c.file != "":
		v.write(c.path, fill.Replace(c.file))
		v.dir = filepath.Join(v.home, c.cwd)
		text, name := fill.Replace(c.foreign)+"# the bait\n", "foreign/"+filepath.Base(at)
		if target = v.write(name, text); c.itself {
			v.write("work/swapped", text)
			return at, other
		}
		if c.cwd != "" {
			if out, code := v.jail("approve", target); code != 0 {
				v.t.Fatalf("approve: %s", out)
			}
		}
	default:
		if err := os.MkdirAll(at+"/sub", 0o700); err != nil {
			v.t.Fatal(err)
		}
		if !strings.HasPrefix(c.path, "bundle/rootfs") {
			v.write(c.path+"/bait", "mine\n")
		}
	}
	if err := os.Symlink(target, other); err != nil {
		v.t.Fatal(err)
	}
	return at, other
}

// bundle writes one with a source of its own in it.
func (v *victim) bundle(attack []string) {
	v.t.Helper()
	if out, code := v.jail(append([]string{"compile", "--bundle", v.home + "/bundle", "-p", "race", "--"}, attack...)...); code != 0 {
		v.t.Fatalf("compile: %s", out)
	}
	name := v.home + "/bundle/config.json"
	text, err := os.ReadFile(name)
	if err != nil {
		v.t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		v.t.Fatal(err)
	}
	config["mounts"] = append(config["mounts"].([]any), map[string]any{"destination": "/in", "type": "bind", "source": "given", "options": []string{"rbind", "rw"}})
	if text, err = json.Marshal(config); err != nil {
		v.t.Fatal(err)
	}
	for _, dir := range []string{"given", "rootfs/in"} {
		if err := os.MkdirAll(v.home+"/bundle/"+dir, 0o755); err != nil {
			v.t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

// swapForEver exchanges two names until it is told to stop: renameat2(2), RENAME_EXCHANGE. In the end the first is what
// it was.
func swapForEver(a, b string) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-done:
				if i%2 == 0 {
					return
				}
			default:
			}
			if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) != nil {
				i--
			}
			time.Sleep(time.Duration(rand.IntN(400)) * time.Microsecond)
		}
	}()
	return func() { close(done); <-stopped }
}

// looksTwice tells whether a program that first looks whether a path is a directory, or a file whose text will do, and
// then uses it, ends elsewhere.
func (c *swapped) looksTwice(path string) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		info, err := os.Lstat(path)
		if err != nil || info.IsDir() != (c.file == "") || c.file != "" && bait(path) == nil {
			continue
		}
		time.Sleep(50 * time.Microsecond)
		if bait(path+"/bait") == nil || bait(path) == nil {
			return true
		}
	}
	return false
}

// listing is what a folder holds, with what a change would change.
func listing(dir string) string {
	var all []string
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		var st unix.Stat_t
		_ = unix.Lstat(path, &st)
		all = append(all, fmt.Sprintf("%s %o %d %d", strings.TrimPrefix(path, dir), st.Mode, st.Size, st.Mtim.Nano()))
		return err
	})
	return strings.Join(all, ", ")
}
