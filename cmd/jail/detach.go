package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"jail/cmd/jail/background"
	"jail/policy"
)

// A sandbox in the background has two processes of jail's outside:
//
//	jail run --detach     begins the keeper, waits until the program runs, prints the sandbox's name, and ends
//	jail keep             the keeper: a session of its own, no terminal; writes the log, and how it ended
//	  jail run            the supervisor, as of every sandbox; its output, and the program's, is a pipe to the keeper
//
// The supervisor dies with the keeper, and the sandbox with the supervisor. When the supervisor is killed the keeper
// is there to say so.

// detach begins the sandbox in the background and prints its name.
func (a *app) detach(flags []flag, words []string) error {
	args := []string{"keep", "--"}
	for _, f := range flags {
		if f.name != "detach" {
			args = append(args, "--"+f.name+"="+f.value)
		}
	}
	args = append(append(args, "--"), words...)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	keeper := jailCommand(args...)
	keeper.Stdin, keeper.Stderr = null, os.Stderr
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	answer, err := keeper.StdoutPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		return fmt.Errorf("begin a sandbox in the background: %w", err)
	}
	name, err := bufio.NewReader(answer).ReadString('\n')
	if err == nil {
		_, err = io.WriteString(a.out, name)
		return err
	}
	var exit *exec.ExitError
	switch err := keeper.Wait(); {
	case errors.As(err, &exit) && exit.Exited():
		return exitStatus(exit.ExitCode())
	case err == nil:
		err = errors.New("it ended without a word")
		fallthrough
	default:
		return fmt.Errorf("begin a sandbox in the background: %w", err)
	}
}

// jailCommand is this program once more. By its own path it has its name in the list of processes.
func jailCommand(args ...string) *exec.Cmd {
	path, err := os.Executable()
	if _, missing := os.Stat(path); err != nil || missing != nil {
		path = self // the file was replaced
	}
	cmd := exec.Command(path, args...)
	cmd.Args[0] = "jail"
	return cmd
}

// logStore is where logs are kept, below jail's state folder, which no sandbox shows its program.
func logStore(host *policy.Host) background.Store {
	return background.Store{Dir: resolved(host.StateHome) + "/jail/background"}
}
