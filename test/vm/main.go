// Command guest boots Debian in QEMU and runs commands and tests in it.
//
// It shows what a development machine may not have: a kernel of another age, cgroup v2, systemd and an ordinary user
// who is logged in, with a manager that was given every cgroup controller. README.md in this folder is the how-to.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

const usage = `usage: test/vm/run COMMAND [flags] ...

  image RELEASE...                make the images that are missing or out of date
  exec  [flags] RELEASE CMD...    run a command in a guest; its output and exit code are the guest's
  shell [flags] RELEASE           open a shell in a guest
  start [flags] RELEASE           boot a guest that stays: exec and shell then use it, at once
  stop  RELEASE                   power it off
  test  [flags] RELEASE...        run the integration and guest tests in a fresh guest; with -pkg or -run
                                  in one that stays if there is one, and with their output

RELEASE is bookworm, trixie or bullseye. The source tree is at /src in the guest, read-only.

flags:
  -user NAME   log in as tester (default: an ordinary user with every cgroup controller delegated), partly
               (whose manager has only memory and pids), nomanager (without a user manager), or root
  -plain       boot without systemd and Landlock
  -append TEXT more words for the kernel's command line, such as lsm=lockdown,yama
  -pkg REGEXP  test: only packages whose folder matches
  -run REGEXP  test: only tests whose name matches, or NAME/SUBTEST
  -short       test: fewer rounds of what is done a hundred times
  -limit TIME  test: give up after that (4h; compiling and booting count), and show the guest's console
`

// releases are the Debian releases that a guest can be.
var releases = map[string]bool{"bookworm": true, "trixie": true, "bullseye": true}

// home is where guests of one tree keep their images and state.
type home struct {
	tree  string    // the source tree, shared with the guest
	cache string    // images, logs, the staging folder with test binaries
	until time.Time // when tests give up
	words string    // for the kernel's command line
}

func main() {
	global := flag.NewFlagSet("guest", flag.ExitOnError)
	global.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	tree := global.String("tree", ".", "the source tree")
	_ = global.Parse(os.Args[1:])
	cache := os.Getenv("JAIL_VM_CACHE")
	if cache == "" {
		cache = filepath.Join(*tree, ".cache", "vm")
	}
	h := home{tree: *tree, cache: cache}
	os.Exit(exitCode(h.run(global.Args()), os.Stderr))
}

// answer is the exit code of a command in the guest. It needs no words: the command had its own.
type answer int

func (a answer) Error() string { return fmt.Sprintf("exit code %d in the guest", int(a)) }

// answered tells the guest's answer to a command from a command that did not get there.
func answered(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return answer(exit.ExitCode())
	}
	return err
}

// exitCode says what went wrong, if anything did. Only an answer is silent: an exec.ExitError is any program's, such as that
// of a compiler or of the copying into the guest.
func exitCode(err error, stderr io.Writer) int {
	var guests answer
	switch {
	case err == nil:
		return 0
	case errors.As(err, &guests):
		return int(guests)
	}
	fmt.Fprintln(stderr, "test/vm:", err)
	return 125
}

func (h home) run(args []string) error {
	if len(args) == 0 {
		return errors.New("no command\n" + usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	user := flags.String("user", "tester", "")
	plain := flags.Bool("plain", false, "")
	flags.StringVar(&h.words, "append", "", "")
	var only choice
	flags.Func("pkg", "", func(text string) (err error) { only.packages, err = regexp.Compile(text); return })
	flags.StringVar(&only.tests, "run", "", "")
	flags.BoolVar(&only.short, "short", false, "")
	limit := flags.Duration("limit", 4*time.Hour, "")
	_ = flags.Parse(args[1:])
	rest := flags.Args()
	if len(rest) == 0 {
		return errors.New("no release named\n" + usage)
	}
	for _, release := range rest {
		if !releases[release] {
			return fmt.Errorf("no such release: %q (there are bookworm, trixie and bullseye)", release)
		}
		if args[0] != "image" && args[0] != "test" {
			break
		}
	}
	b := boot{release: rest[0], plain: *plain}
	command := rest[1:]
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if args[0] == "exec" && len(command) == 0 {
		return errors.New("no command for the guest\n" + usage)
	}
	switch args[0] {
	case "image":
		for _, release := range rest {
			if _, err := h.image(release); err != nil {
				return err
			}
		}
		return nil
	case "start":
		g, err := h.start(b, true)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "test/vm: %s is up; log: %s\n", b, g.log())
		return nil
	case "stop":
		g, err := h.running(b)
		if err != nil {
			return err
		}
		g.stop()
		return nil
	case "exec", "shell":
		g, err := h.running(b)
		if err != nil {
			if g, err = h.start(b, false); err != nil {
				return err
			}
		}
		defer g.leave()
		defer g.stopOnSignal()()
		if err := g.refresh(); err != nil {
			return err
		}
		if args[0] == "shell" {
			return answered(g.shell(*user))
		}
		return answered(g.ssh(*user, command).Run())
	case "test":
		h.until = time.Now().Add(*limit)
		return h.test(rest, only)
	}
	return fmt.Errorf("no such command: %q\n%s", args[0], usage)
}

// stopOnSignal powers a guest of this process off when the process is interrupted.
func (g *guest) stopOnSignal() (cancel func()) {
	if !g.ours {
		return func() {}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if _, ok := <-signals; ok {
			g.stop()
			os.Exit(130)
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}
