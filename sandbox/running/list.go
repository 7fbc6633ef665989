package running

import (
	"io"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// List gives the running sandboxes of the caller, the oldest first. Those that are only claiming a name are not
// running yet.
func List() ([]State, error) {
	if err := procIsThere(); err != nil {
		return nil, err
	}
	var out []State
	for p, s := range supervisors() {
		if !s.pending && s.First != 0 {
			s.Program = programOf(p, &s)
			out = append(out, s)
		}
		p.close()
	}
	slices.SortFunc(out, func(a, b State) int { return a.Started.Compare(b.Started) })
	return out, nil
}

// supervisors goes through the processes that are believed; each must be closed.
func supervisors() iter.Seq2[process, State] {
	return func(yield func(process, State) bool) {
		self := lookAt()
		for pid := range processIDs {
			p, s, v := self.examine(pid)
			if v != believed {
				p.close()
				continue
			}
			if !yield(p, s) {
				return
			}
		}
	}
}

// A verdict is what came of looking at a process.
type verdict int

const (
	noSandbox verdict = iota // not a supervisor, or not one of the caller's
	foreign                  // says it is one and is not to be believed
	believed
)

// A viewer is who looks.
type viewer struct {
	uid    uint32
	exe    unix.Stat_t
	base   string
	places map[string]string // namespaces that a supervisor must be in, by kind
}

func lookAt() *viewer {
	v := &viewer{uid: uint32(os.Geteuid()), places: map[string]string{}}
	_ = unix.Stat("/proc/self/exe", &v.exe)
	exe, _ := os.Readlink("/proc/self/exe")
	v.base = programBase(exe)
	kinds := []string{"user", "pid"}
	if v.uid == 0 {
		kinds = append(kinds, "mnt")
	}
	for _, kind := range kinds {
		v.places[kind], _ = os.Readlink("/proc/self/ns/" + kind)
	}
	return v
}

func programBase(exe string) string { return path.Base(strings.TrimSuffix(exe, " (deleted)")) }

// examine looks at one process, the cheap questions first: most processes are none of our business.
func (v *viewer) examine(pid int) (process, State, verdict) {
	p, err := openProcess(pid)
	if err != nil {
		return process{dir: -1}, State{}, noSandbox
	}
	var st unix.Stat_t
	if err := unix.Fstat(p.dir, &st); err != nil || st.Uid != v.uid {
		return p, State{}, noSandbox
	}
	exe, err := p.readlink("exe")
	if err != nil {
		return p, State{}, noSandbox
	}
	if base := programBase(exe); base != "jail" && base != v.base {
		if err := unix.Fstatat(p.dir, "exe", &st, 0); err != nil || st.Dev != v.exe.Dev || st.Ino != v.exe.Ino {
			return p, State{}, noSandbox
		}
	}
	f, ok := p.memfd(stateFile, sealed)
	if !ok {
		return p, State{}, noSandbox
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, stateLimit+1))
	if err != nil || len(text) > stateLimit {
		return p, State{}, noSandbox
	}
	s, ok := decode(string(text))
	if !ok {
		return p, State{}, noSandbox
	}
	if s.Supervisor != pid {
		return p, s, foreign // as seen from another pid namespace, or made up
	}
	for kind, place := range v.places {
		if at, err := p.readlink("ns/" + kind); err != nil || at != place || place == "" {
			return p, s, foreign
		}
	}
	return p, s, believed
}

// procIsThere tells a /proc that shows nothing from a machine on which nothing runs.
func procIsThere() error {
	if _, err := os.Readlink("/proc/self/ns/pid"); err != nil {
		return &FindError{Text: "/proc does not show this process: running sandboxes are found there", hint: "mount -t proc proc /proc"}
	}
	return nil
}
