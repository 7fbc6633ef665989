package running

import (
	"fmt"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// State is what a supervisor tells of its sandbox.
type State struct {
	// Name is the sandbox's name, see IsName; empty for one made of Profile and Supervisor.
	Name string `json:"name"`
	// Given says that the user has chosen Name. No two sandboxes of a user have the same given name.
	Given bool `json:"given,omitempty"`
	// Profile is the name of the profile, empty for a bundle that has none.
	Profile string `json:"profile,omitempty"`
	// Args is the program's command line as it was started.
	Args []string `json:"args"`
	// Supervisor is the process id of jail; Publish sets it.
	Supervisor int `json:"supervisor"`
	// First is the process id, as seen from outside, of the first process inside; 0 before it is there.
	First int `json:"first,omitempty"`
	// Program is the process id, as seen from outside, of the program. It is found, not told: List and Find set
	// it, to 0 while there is none.
	Program int `json:"program,omitempty"`
	// Started is when the sandbox was started; Publish sets it where it is zero.
	Started time.Time `json:"started"`
	// Terminal says that the program has a terminal of its own.
	Terminal bool `json:"terminal,omitempty"`
	// Cgroups are the folders of the sandbox's own cgroups, one with cgroup v2 and one a hierarchy with v1.
	Cgroups []string `json:"cgroups,omitempty"`
	// Resources are the limits in force.
	Resources *specs.LinuxResources `json:"resources,omitempty"`
	// Network says what network there is: mode, addresses, and whatever else the network has to tell.
	Network map[string]string `json:"network,omitempty"`
	// Jail is the version of the supervisor.
	Jail string `json:"jail,omitempty"`

	// Pending is a given name that is claimed and not yet held.
	Pending bool `json:"pending,omitempty"`
}

// stateLimit is far above any real State: a command line alone can have 2 MiB.
const stateLimit = 4 << 20

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
