package running

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// State is what a supervisor tells of its sandbox.
type State struct {
	// Name is the sandbox's name, see IsName; Publish makes one of Profile and Supervisor where it is empty.
	Name string `json:"name"`
	// Given says that the user has chosen Name. No two sandboxes of a user have the same given name.
	Given bool `json:"-"`
	// Profile is the name of the profile, empty for a bundle that has none.
	Profile string `json:"profile"`
	// Args is the program's command line as it was started.
	Args []string `json:"args"`
	// Supervisor is the process id of jail; Publish sets it.
	Supervisor int `json:"supervisor"`
	// First is the process id, as seen from outside, of the first process inside; 0 before it is there.
	First int `json:"first"`
	// Program is the process id, as seen from outside, of the program. It is found, not told: List and Find set
	// it, to 0 while there is none.
	Program int `json:"program"`
	// Started is when the sandbox was started; Publish sets it where it is zero.
	Started time.Time `json:"started"`
	// Terminal says that the program has a terminal of its own.
	Terminal bool `json:"terminal"`
	// Cgroups are the folders of the sandbox's own cgroups, one with cgroup v2 and one a hierarchy with v1.
	Cgroups []string `json:"cgroups,omitempty"`
	// Network says what network there is: its mode, addresses, and whatever else the network has to tell.
	Network map[string]string `json:"network,omitempty"`
	// Alone says that it runs without namespaces, which nobody can join.
	Alone bool `json:"alone,omitempty"`
	// Jail is the version of the supervisor.
	Jail string `json:"jail"`

	pending bool // a given name that is claimed and not yet held
}

// stateLimit is above any real State: a command line alone can have 2 MiB.
const stateLimit = 4 << 20

// encode writes the state as /proc/PID/environ is written, KEY=VALUE with a NUL behind each: values are kept byte by
// byte, and it costs a start next to nothing (the first value that encoding/json ever sees costs up to a millisecond).
func (s *State) encode() ([]byte, error) {
	b := make([]byte, 0, 512)
	add := func(key, value string) {
		b = append(append(append(append(b, key...), '='), value...), 0)
	}
	for _, text := range []string{s.Name, s.Profile, s.Jail, strings.Join(s.Args, ""), strings.Join(s.Cgroups, "")} {
		if strings.IndexByte(text, 0) >= 0 {
			return nil, errors.New("a NUL byte in the sandbox's state")
		}
	}
	add("name", s.Name)
	add("given", strconv.FormatBool(s.Given))
	add("pending", strconv.FormatBool(s.pending))
	add("profile", s.Profile)
	for _, a := range s.Args {
		add("arg", a)
	}
	add("supervisor", strconv.Itoa(s.Supervisor))
	add("first", strconv.Itoa(s.First))
	add("started", strconv.FormatInt(s.Started.UnixNano(), 10))
	add("terminal", strconv.FormatBool(s.Terminal))
	for _, c := range s.Cgroups {
		add("cgroup", c)
	}
	for k, v := range s.Network {
		if strings.IndexByte(k+v, 0) >= 0 || strings.IndexByte(k, '=') >= 0 {
			return nil, fmt.Errorf("%q=%q cannot be told of a network", k, v)
		}
		add("network."+k, v)
	}
	if s.Alone {
		add("alone", "true")
	}
	add("jail", s.Jail)
	return b, nil
}

// decode reads what encode wrote, and passes over what it does not know: a later jail may tell more.
func decode(text string) (State, bool) {
	var s State
	var nanos int64
	var errs [6]error
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\x00")
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return s, false
		}
		switch key {
		case "name":
			s.Name = value
		case "given":
			s.Given, errs[0] = strconv.ParseBool(value)
		case "pending":
			s.pending, errs[1] = strconv.ParseBool(value)
		case "profile":
			s.Profile = value
		case "arg":
			s.Args = append(s.Args, value)
		case "supervisor":
			s.Supervisor, errs[2] = strconv.Atoi(value)
		case "first":
			s.First, errs[3] = strconv.Atoi(value)
		case "started":
			nanos, errs[4] = strconv.ParseInt(value, 10, 64)
		case "terminal":
			s.Terminal, errs[5] = strconv.ParseBool(value)
		case "cgroup":
			s.Cgroups = append(s.Cgroups, value)
		case "alone":
			s.Alone = value == "true"
		case "jail":
			s.Jail = value
		default:
			if k, ok := strings.CutPrefix(key, "network."); ok {
				if s.Network == nil {
					s.Network = map[string]string{}
				}
				s.Network[k] = value
			}
		}
	}
	s.Started = time.Unix(0, nanos)
	return s, errors.Join(errs[:]...) == nil && IsName(s.Name)
}

// IsName tells whether s can name a sandbox. It is strict because names end up in paths, unit names, host names
// and messages (CVE-2025-24965). One that is all digits would be taken for a process id.
func IsName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[0] == '-' {
		return false
	}
	digits := true
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '.', c == '-':
			digits = false
		default:
			return false
		}
	}
	return !digits
}

// NameRule says in words what IsName asks for.
const NameRule = "1 to 64 of A-Z a-z 0-9 _ . -, the first one no dot and no dash, and not only digits"

// derivedName names a sandbox that nobody has named.
func derivedName(s *State) string {
	base := s.Profile
	if len(base) > 50 {
		base = base[:50] // with the largest process id it is still a name
	}
	name := fmt.Sprintf("%s-%d", base, s.Supervisor)
	if !IsName(name) {
		return fmt.Sprintf("sandbox-%d", s.Supervisor)
	}
	return name
}
