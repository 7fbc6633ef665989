package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jail/cmd/jail/background"
	"jail/policy"
	"jail/sandbox/running"
)

// keepCmd is the keeper of a sandbox in the background, see detach.go.
type keepCmd struct {
	program `embed:""`
}

// keeper holds what a sandbox in the background says.
type keeper struct {
	log        *background.Log
	supervisor *exec.Cmd
	output     *os.File // what the supervisor and the program say
	said       early
	started    chan background.Info // the sandbox is on its way
	ended      chan endLine         // its program has ended
	silent     chan struct{}        // nothing more will come of the two
	copied     chan struct{}        // output is not read any more
}

// launch keeps the log of one sandbox from its start to its end. The words are those behind `jail run`.
func (keepCmd) launch(a *app, _ []flag, words []string) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	store := logStore(host)
	if err := makeHostDirs([]policy.HostDir{{Path: store.Dir, Mode: 0o700}}, host.StateHome); err != nil {
		return fmt.Errorf("--detach: %w", err)
	}
	k := &keeper{
		started: make(chan background.Info, 1), ended: make(chan endLine, 1), silent: make(chan struct{}), copied: make(chan struct{}),
	}
	if k.log, err = store.Begin(); err != nil {
		return fmt.Errorf("--detach: %w", err)
	}
	runtime.LockOSThread() // the supervisor dies with the thread that begins it
	if err := k.begin(words); err != nil {
		k.log.Discard()
		return fmt.Errorf("--detach: %w", err)
	}
	if err := k.see(a); err != nil {
		k.log.Discard()
		return err
	}
	return k.keep()
}

// statusFD is the descriptor through which the supervisor tells the keeper what becomes of the sandbox.
const statusFD = 3

// begin starts the supervisor.
func (k *keeper) begin(words []string) error {
	output, said, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	status, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer told.Close()
	k.output = output
	k.supervisor = jailCommand(append([]string{"run", "--status-fd=" + strconv.Itoa(statusFD)}, words...)...)
	k.supervisor.Stdin, k.supervisor.Stdout, k.supervisor.Stderr = os.Stdin, said, said
	k.supervisor.ExtraFiles = []*os.File{told}
	k.supervisor.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := k.supervisor.Start(); err != nil {
		return err
	}
	// Of what is meant for the keeper the supervisor hears as well.
	passed := make(chan os.Signal, 8)
	signal.Notify(passed, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		for s := range passed {
			_ = k.supervisor.Process.Signal(s)
		}
	}()
	_ = os.Chdir("/") // no file system is kept busy
	go k.listen(status)
	go func() {
		defer close(k.copied)
		_, _ = io.Copy(io.MultiWriter(k.log, &k.said), output)
	}()
	return nil
}

// listen reads what the supervisor tells.
func (k *keeper) listen(status *os.File) {
	defer close(k.silent)
	for lines := bufio.NewReader(status); ; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var line struct {
			Started *background.Info
			Ended   *endLine
		}
		if json.Unmarshal(text, &line) != nil {
			continue
		}
		if line.Started != nil {
			k.started <- *line.Started
		}
		if line.Ended != nil {
			k.ended <- *line.Ended
		}
	}
}

// see waits until the program runs, and tells the caller its sandbox's name; or why it does not run.
func (k *keeper) see(a *app) error {
	var info background.Info
	select {
	case info = <-k.started:
	case <-k.silent:
		select {
		case info = <-k.started: // it was over at once
		default:
			return k.failed(a)
		}
	}
	if !k.runs(info.Supervisor) {
		return k.failed(a)
	}
	for line := range strings.Lines(k.said.end()) {
		// Whoever begins it shall see what jail warns of. The program's own first words are for the log.
		if strings.HasPrefix(line, "jail: ") || strings.HasPrefix(line, "  hint: ") {
			fmt.Fprint(a.err.out, line)
		}
	}
	err := k.log.Name(&info)
	if err == nil {
		_, err = fmt.Fprintln(a.out, info.Name)
	}
	if err != nil {
		_ = k.supervisor.Process.Kill()
		_ = k.supervisor.Wait()
		return fmt.Errorf("--detach: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	for fd := 1; fd <= 2 && err == nil; fd++ {
		err = unix.Dup3(int(null.Fd()), fd, 0)
	}
	return err
}

// beginning is how long the program may take until it is taken for begun: the files of some programs cannot be looked
// at from outside.
const beginning = 2 * time.Second

// runs waits until the program was executed, and tells whether it was.
func (k *keeper) runs(supervisor int) bool {
	for deadline := time.Now().Add(beginning); ; {
		if box, err := running.Find(strconv.Itoa(supervisor)); err == nil {
			begun := box.Begun()
			box.Close()
			if begun {
				return true
			}
		}
		select {
		case <-k.silent:
			return len(k.ended) > 0 // it ran and has ended, or never ran
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return true
		}
	}
}

// failed passes on what kept the sandbox from starting.
func (k *keeper) failed(a *app) error {
	err := k.wait()
	fmt.Fprint(a.err.out, k.said.end())
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exitStatus(exit.ExitCode())
	case err == nil:
		err = errors.New("it ended without a word")
	}
	return fmt.Errorf("--detach: jail itself, in the background: %w", err)
}

// wait waits for the supervisor's end, and until all that was said is in the log. A gateway that others share lives
// longer and holds the pipe, so its end is not waited for.
func (k *keeper) wait() error {
	err := k.supervisor.Wait()
	_ = k.output.SetReadDeadline(time.Now())
	<-k.copied
	_ = k.output.SetReadDeadline(time.Time{})
	rest, closed := k.output.SyscallConn()
	if closed != nil {
		return err
	}
	_ = rest.Read(func(fd uintptr) bool {
		var text [64 << 10]byte
		for {
			n, err := unix.Read(int(fd), text[:])
			if n <= 0 {
				return !errors.Is(err, unix.EINTR)
			}
			_, _ = io.MultiWriter(k.log, &k.said).Write(text[:n])
		}
	})
	return err
}

// keep waits for the end of the sandbox and writes it down.
func (k *keeper) keep() error {
	_ = k.wait()
	<-k.silent
	state := k.supervisor.ProcessState.Sys().(syscall.WaitStatus)
	end := &background.End{Code: state.ExitStatus()}
	if state.Signaled() {
		end.Code, end.Signal = 128+int(state.Signal()), unix.SignalName(state.Signal())
		fmt.Fprintf(k.log, "jail: jail itself was ended by %s, and the sandbox with it\n", end.Signal)
	} else if len(k.ended) > 0 {
		end.Signal = (<-k.ended).Signal
	}
	return k.log.End(end)
}

// early is what is said before the caller is let go, as far as it is worth showing.
type early struct {
	mu   sync.Mutex
	text bytes.Buffer
	over bool
}

func (e *early) Write(text []byte) (int, error) {
	const most = 64 << 10
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.text.Write(text[:min(len(text), most-min(most, e.text.Len()))])
	}
	return len(text), nil
}

// end gives the text, and takes no more.
func (e *early) end() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	return e.text.String()
}
