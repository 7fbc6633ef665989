package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"jail/sandbox"
	"jail/sandbox/running"
)

// status tells another program what becomes of a sandbox, for --status-fd. Nil tells nobody.
type status struct {
	a   *app
	out *os.File
}

// endLine is what is told of the end.
type endLine struct {
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"`
}

// statusAt looks at the descriptor before anything is started, and keeps it from every process that jail starts.
func (a *app) statusAt(number string) (*status, error) {
	if number == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 1 {
		return nil, fmt.Errorf("--status-fd: %q is no descriptor to write to", number)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, &hinted{fmt.Errorf("--status-fd: descriptor %d is not open for writing", fd), fmt.Sprintf("in a shell: jail run --status-fd %d PROGRAM %d>FILE", fd, fd)}
	}
	if fd > 2 {
		unix.CloseOnExec(fd)
	}
	return &status{a, os.NewFile(uintptr(fd), "status")}, nil
}

// started tells of a sandbox that is on its way. Its program is executed in this moment, or fails to be.
func (s *status) started(state *running.State) {
	s.tell(struct {
		Started *running.State `json:"started"`
	}{state})
}

// ended tells how the program ended. Of one that was never executed nothing is told.
func (s *status) ended(how sandbox.Status) {
	line := endLine{Code: how.Code}
	if how.Signal != 0 {
		line.Signal = unix.SignalName(how.Signal)
	}
	s.tell(struct {
		Ended endLine `json:"ended"`
	}{line})
}

// tell writes one line. That nobody reads it is no reason to end the sandbox.
func (s *status) tell(line any) {
	if s == nil {
		return
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = s.out.Write(append(text, '\n'))
	}
	if err != nil {
		s.a.verbose("--status-fd: %v", err)
	}
}
