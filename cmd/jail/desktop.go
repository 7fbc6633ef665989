package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
	"jail/profiles"
	"jail/sandbox"
	"jail/sandbox/desktop"
	"jail/sandbox/seccomp"
)

// Annotations by which a spec asks for connections to the desktop session, and says where in the sandbox the
// folders are through which they go.
const (
	annotationDesktop = "dev.jail.desktop"
	annotationRooms   = "dev.jail.rooms"
)

// A session is the sandbox's connections to the desktop session while they are made, beside everything else that
// a start does. A nil session is that of a sandbox that has none.
type session struct {
	app   *app
	host  *policy.Host
	links bool // it opens links for the program

	made      chan struct{} // closed when the fields below are set
	rooms     map[string]*sandbox.Room
	connected *desktop.Session
	err       error
}

// connect begins to make the connections that a spec asks for, and does not wait.
func (a *app) connect(spec *specs.Spec, host *policy.Host) (*session, error) {
	text := spec.Annotations[annotationDesktop]
	if text == "" {
		return nil, nil
	}
	config, err := desktop.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("config.json/annotations/%s: %w", annotationDesktop, err)
	}
	s := &session{app: a, host: host, links: config.Links != "", made: make(chan struct{}), rooms: map[string]*sandbox.Room{}}
	go func() {
		defer close(s.made)
		names := config.Rooms()
		rooms, err := sandbox.MakeRooms(names)
		if err != nil {
			s.err = err
			return
		}
		paths := map[string]string{}
		for _, r := range rooms {
			s.rooms[r.Name], paths[r.Name] = r, r.Path()
		}
		s.connected = desktop.Connect(config, desktop.Options{
			Rooms: paths, Launch: s.launch, Open: openLink,
			Keys: func(authority, number string) []byte { return policy.DisplayKeys(host, authority, number, "") },
		})
	}()
	return s, nil
}

func (s *session) opensLinks() bool { return s != nil && s.links }

// options adds what a start needs of the session.
func (s *session) options(o *sandbox.Options) error {
	if s == nil {
		return nil
	}
	<-s.made
	if s.err != nil {
		return s.err
	}
	o.Rooms = map[string]*os.File{}
	for name, r := range s.rooms {
		o.Rooms[name] = r.Inside
	}
	o.Ready = s.connected.Ready
	return nil
}

// close ends the helpers and says what a person should know of them.
func (s *session) close() {
	if s == nil {
		return
	}
	<-s.made
	if s.connected != nil {
		s.connected.Close()
		for _, text := range s.connected.Notices() {
			s.app.err.line(yellow, "jail:", text, "")
		}
	}
	for _, r := range s.rooms {
		r.Close()
	}
}

// launch runs a helper in a sandbox of its own until its end, or until stop is closed.
func (s *session) launch(h *desktop.Helper, stop <-chan struct{}) error {
	plan, options, err := s.planHelper(h)
	if err != nil {
		return err
	}
	options.Rooms = map[string]*os.File{"room": s.rooms[h.Room].Outside}
	options.Streams = h.Streams[:]
	ended := make(chan struct{})
	var killer sync.WaitGroup
	status, err := plan.Serve(options, func(p *sandbox.Process) {
		killer.Go(func() {
			select {
			case <-stop:
				p.Kill()
			case <-ended:
			}
		})
	})
	close(ended)
	killer.Wait()
	if err == nil && status.Code != 0 {
		err = fmt.Errorf("exit code %d", status.Code)
	}
	return err
}

// planHelper goes from a helper's profile to the plan of its sandbox.
func (s *session) planHelper(h *desktop.Helper) (*sandbox.Plan, sandbox.Options, error) {
	var none sandbox.Options
	text, err := profiles.Helpers.ReadFile("helpers/" + h.Profile + ".yaml")
	if err != nil {
		return nil, none, err
	}
	var changes []policy.Override
	for _, b := range h.Binds {
		changes = append(changes, policy.Override{Flag: "bind", Value: b})
	}
	for _, v := range h.Vars {
		changes = append(changes, policy.Override{Flag: "set", Value: "vars." + v})
	}
	if h.HostNet {
		changes = append(changes, policy.Override{Flag: "set", Value: "network.mode=host"})
	}
	profile, err := policy.LoadHelper(h.Profile, text, s.host, changes...)
	if err != nil {
		return nil, none, err
	}
	resolved, err := profile.Resolve(s.host)
	if err != nil {
		return nil, none, err
	}
	compiled, err := resolved.Spec(h.Args)
	if err != nil {
		return nil, none, err
	}
	compiled.Spec.Annotations[annotationRooms] = `[{"name":"room","path":` + strconv.Quote(h.RoomAt) + `}]`
	plan, err := s.app.plan(bundleOf(compiled), nil)
	if err != nil {
		return nil, none, err
	}
	filter, err := seccomp.Filter(plan.Seccomp, seccomp.Options{CacheHome: s.host.CacheHome})
	if err != nil {
		return nil, none, err
	}
	return plan, sandbox.Options{Filter: filter.Code}, nil
}

// openers are looked for where only the system's administrator writes: what is run here runs outside of every
// sandbox. They follow the user's choice of browser and mail program.
var openers = [][]string{
	{"/usr/bin/xdg-open"}, {"/usr/local/bin/xdg-open"}, {"/run/current-system/sw/bin/xdg-open"}, {"/usr/bin/gio", "open"},
}

// openLink opens a link, which the caller has checked, in the user's browser or mail program. It goes to a program
// of its own as one argument; no shell sees it.
func openLink(link string) error {
	for _, words := range openers {
		if _, err := os.Stat(words[0]); err != nil {
			continue
		}
		cmd := exec.Command(words[0], append(words[1:len(words):len(words)], link)...)
		// A browser that this starts is the user's own, and stays when jail goes.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
			cmd.Dir = home
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", words[0], err)
		}
		go cmd.Wait() //nolint:errcheck // what becomes of it is seen on the screen
		return nil
	}
	return errors.New("there is no xdg-open to open it with (apt install xdg-utils)")
}
