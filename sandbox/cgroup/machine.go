package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A machine is what the choice of a way depends on, as plain values: routes and whyNot are pure functions of it.
type machine struct {
	uid        int
	systemd    bool     // systemd runs this machine: the groups that it has not handed over are its own
	manager    []string // D-Bus addresses of the systemd manager that jail may ask, best first
	managerDir string   // the group of that manager ("" when unknown)
	managerHas []string // the controllers it was given; nil when unknown
	v2         string   // where cgroup v2 is mounted, "" when nowhere
	nsdelegate bool     // the mount's option that keeps a namespace from writing its own root's limits
	kernelHas  []string // the controllers at v2's root
	v1         map[string]hierarchy
	groups     []place // jail's own v2 group first, then those above it, while they are worth looking at
}

// A hierarchy is a controller bound to cgroup v1.
type hierarchy struct {
	mount string // where it is mounted
	own   string // jail's own group in it, as a folder
}

// A place is a v2 group that might become the parent of the sandbox's.
type place struct {
	dir         string
	writable    bool // folder, cgroup.procs and cgroup.subtree_control
	delegated   bool // handed over to its user, as far as can be told from marks
	manager     bool // a systemd manager keeps its units here
	top         bool // the hierarchy's true root, which may have processes and sub-groups at once
	domain      bool // not threaded: it can hold processes with memory limits
	controllers []string
	enabled     []string // cgroup.subtree_control
	procs       []int    // 0 stands for a process of another pid namespace
}

// look gathers the facts. root comes before every path and is for tests.
func look(root string) (*machine, error) {
	m := &machine{uid: os.Geteuid(), v1: map[string]hierarchy{}}
	m.systemd = unix.Access(root+"/run/systemd/system", unix.F_OK) == nil // sd_booted(3)
	self, err := read(root + "/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	own := parseMembership(self)
	mounts, err := unix.Open(root+"/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open mountinfo: %w", err)
	}
	defer unix.Close(mounts)
	v2root, err := m.mounts(descriptor(mounts), own, root)
	if err != nil {
		return nil, err
	}
	m.findManager(root)
	if m.v2 == "" {
		return m, nil
	}
	m.kernelHas = words(filepath.Join(m.v2, "cgroup.controllers"))
	if path, ok := below(own[""], v2root); ok {
		m.climb(filepath.Join(m.v2, path))
	}
	return m, nil
}

// A descriptor is read without the poller.
type descriptor int

func (d descriptor) Read(b []byte) (int, error) {
	n, err := unix.Read(int(d), b)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// mounts reads mountinfo, and stops as soon as it has seen what it needs: with some hundred mounts the file is slow
// to make. Where /sys/fs/cgroup itself is cgroup v2 nothing else matters.
func (m *machine) mounts(r io.Reader, own map[string]string, root string) (v2root string, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // a line that is longer than the buffer
			line = bytes.Clone(line)
			for errors.Is(err, bufio.ErrBufferFull) {
				var more []byte
				more, err = lines.ReadSlice('\n')
				line = append(line, more...)
			}
		}
		if mt, ok := parseMount(line); ok {
			switch mt.kind {
			case "cgroup2":
				if m.v2 == "" || mt.point == "/sys/fs/cgroup" {
					m.v2, v2root = root+mt.point, mt.root
					m.nsdelegate = hasOption(mt.super, "nsdelegate")
				}
				if mt.point == "/sys/fs/cgroup" {
					return v2root, nil
				}
			case "cgroup":
				for name := range strings.SplitSeq(mt.super, ",") {
					path, ok := own[name]
					if !ok {
						continue
					}
					if path, ok := below(path, mt.root); ok {
						m.v1[name] = hierarchy{mount: root + mt.point, own: filepath.Join(root+mt.point, path)}
					}
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return v2root, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// climb collects the groups from jail's own upwards. Above one that was handed over nothing is jail's business, and
// a systemd manager's own groups never are.
func (m *machine) climb(dir string) {
	inUnit := false // in a folder below a unit's: only the owner of a delegated unit makes those
	for ; len(dir) >= len(m.v2); dir = filepath.Dir(dir) {
		p := lookAt(dir)
		if inUnit && isUnit(dir) && !p.manager {
			p.delegated = true
		}
		inUnit = !isUnit(dir) && !strings.HasSuffix(dir, ".slice")
		m.groups = append(m.groups, p)
		if p.delegated || p.manager {
			return
		}
	}
}

// isUnit tells the group of a systemd unit that can hold processes by its name.
func isUnit(dir string) bool {
	return strings.HasSuffix(dir, ".scope") || strings.HasSuffix(dir, ".service")
}

func lookAt(dir string) place {
	p := place{dir: dir}
	p.writable = unix.Access(dir, unix.W_OK|unix.X_OK) == nil &&
		unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil &&
		unix.Access(dir+"/cgroup.subtree_control", unix.W_OK) == nil
	if !p.writable {
		return p
	}
	// init.scope is where every systemd manager keeps itself (org.freedesktop.systemd1(5)).
	p.manager = unix.Access(dir+"/init.scope", unix.F_OK) == nil
	p.delegated = !p.manager && isMarked(dir)
	kind, err := get(dir + "/cgroup.type")
	p.top = errors.Is(err, unix.ENOENT)
	p.domain = p.top || strings.HasPrefix(kind, "domain") && kind != "domain invalid"
	p.controllers = words(dir + "/cgroup.controllers")
	p.enabled = words(dir + "/cgroup.subtree_control")
	for _, w := range words(dir + "/cgroup.procs") {
		pid, _ := strconv.Atoi(w)
		p.procs = append(p.procs, pid)
	}
	return p
}

// isMarked looks for the mark that systemd puts on the group of a unit with Delegate=; the trusted one, which only
// root can read, was there first.
func isMarked(dir string) bool {
	var value [4]byte
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && n == 1 && value[0] == '1' {
			return true
		}
	}
	return false
}

// findManager finds the systemd manager to ask for a scope: the machine's for root, else the user's own.
func (m *machine) findManager(root string) {
	if !m.systemd {
		return
	}
	if m.uid == 0 {
		// The private socket leads straight to the manager, without the detour through the bus.
		m.managerAt("unix:path="+root+"/run/systemd/private", root+"/run/dbus/system_bus_socket")
		m.managerDir, m.managerHas = "/", nil
		return
	}
	run := root + os.Getenv("XDG_RUNTIME_DIR")
	// After su or sudo it may still be somebody else's, or missing.
	var st unix.Stat_t
	if unix.Stat(run, &st) != nil || int(st.Uid) != m.uid || run == root {
		run = root + "/run/user/" + strconv.Itoa(m.uid)
	}
	m.managerAt("unix:path="+run+"/systemd/private", run+"/bus")
	id := strconv.Itoa(m.uid)
	m.managerDir = "/user.slice/user-" + id + ".slice/user@" + id + ".service"
	if m.v2 != "" {
		m.managerHas = words(m.v2 + m.managerDir + "/cgroup.controllers")
	}
}

func (m *machine) managerAt(private, bus string) {
	if unix.Access(strings.TrimPrefix(private, "unix:path="), unix.F_OK) == nil {
		m.manager = append(m.manager, private)
	}
	if unix.Access(bus, unix.F_OK) == nil {
		m.manager = append(m.manager, "unix:path="+bus)
	}
}

// words reads a file of words; a file that cannot be read has none.
func words(file string) []string {
	text, err := read(file)
	if err != nil {
		return nil
	}
	return strings.Fields(text)
}

// A mount is what matters of a line of mountinfo (proc_pid_mountinfo(5)), of one of cgroups.
type mount struct{ root, point, kind, super string }

func parseMount(line []byte) (mount, bool) {
	before, after, ok := bytes.Cut(line, []byte(" - "))
	if !ok || !bytes.HasPrefix(after, []byte("cgroup")) { // most are not, and cost memory to take apart
		return mount{}, false
	}
	left, right := strings.Fields(string(before)), strings.Fields(string(after))
	if len(left) < 6 || len(right) < 3 {
		return mount{}, false
	}
	return mount{root: unescape(left[3]), point: unescape(left[4]), kind: right[0], super: right[2]}, true
}

// unescape undoes the octal escapes that the kernel writes for space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseMembership reads /proc/self/cgroup: the path by controller, and by "" for cgroup v2.
func parseMembership(text string) map[string]string {
	own := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		_, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		names, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(names, ",") {
			own[name] = path
		}
	}
	return own
}

// below gives a group's path relative to the root of a mount, which in a container may itself be a group. A group
// outside of it, or outside of the cgroup namespace ("/.."), cannot be reached through the mount.
func below(path, root string) (string, bool) {
	if path == "" || strings.HasPrefix(path, "/..") {
		return "", false
	}
	if root == "/" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, root)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return rest, true
}

func hasOption(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}
