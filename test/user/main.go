// Command user runs a command as an ordinary user.
//
//	as-user [-stage DIR] [--] COMMAND [ARGUMENT...]
//
// Called by an ordinary user it just runs the command. Called by root it makes the user (jailtest, or the one
// that JAIL_TEST_USER names) with ranges of subordinate ids when there is none, gives up every privilege and
// runs the command with that user's home and a cleaned environment.
//
// With -stage the Go module around the working directory is first copied to DIR, which the user can read
// wherever the tree itself lies (root's home is closed to others), and the command runs in the same place
// of the copy; words of the command that lie in the tree are rewritten to the copy. That makes it
// a program for `go test -exec`: the test binary, which Go puts in a folder of root's, is copied too.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	stage := flag.String("stage", "", "copy the Go module around the working directory to `DIR` and run there")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: as-user [-stage DIR] [--] COMMAND [ARGUMENT...]")
		os.Exit(125)
	}
	code, err := run(*stage, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "as-user:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run(stage string, argv []string) (int, error) {
	if os.Geteuid() != 0 {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("run %s: %w", path, syscall.Exec(path, argv, os.Environ()))
	}
	who, err := ordinaryUser()
	if err != nil {
		return 0, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	if stage != "" {
		tree, err := moduleRoot(cwd)
		if err != nil {
			return 0, err
		}
		if err := copyTree(tree, stage, who.uid, who.gid); err != nil {
			return 0, fmt.Errorf("copy %s to %s: %w", tree, stage, err)
		}
		cwd = moved(cwd, tree, stage)
		binary, remove, err := copyBinary(argv[0], tree, stage)
		if err != nil {
			return 0, err
		}
		defer remove()
		argv[0] = binary
		for i := range argv {
			argv[i] = moved(argv[i], tree, stage)
		}
	}
	return runAs(who, cwd, argv)
}

// runAs starts argv and waits for it, so that what was copied for it can be removed afterwards. go test sends
// SIGQUIT to a test that takes too long: it is passed on, and the goroutine dump is the test's own.
func runAs(who account, cwd string, argv []string) (int, error) {
	// Pdeathsig is about the thread that forked, see prctl(2), so this thread has to live on.
	runtime.LockOSThread()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = cwd
	cmd.Env = who.environment(os.Environ())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)},
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			// The terminal sends these to the whole foreground group already; a second one does no harm.
			_ = cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// moduleRoot finds the folder with go.mod at or above dir.
func moduleRoot(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == "/" {
			return "", fmt.Errorf("no go.mod at or above %s", dir)
		}
	}
}

// moved gives the same place below to when path is below from, and path itself when it is not.
func moved(path, from, to string) string {
	if path == from {
		return to
	}
	if rest, ok := strings.CutPrefix(path, from+"/"); ok {
		return to + "/" + rest
	}
	return path
}
