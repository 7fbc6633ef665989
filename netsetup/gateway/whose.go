package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup/egress"
	"jail/netsetup/procfs"
)

// whosePatience bounds the search for the program behind a refusal. It is made once a
// destination, while the program waits for its answer.
const whosePatience = 250 * time.Millisecond

// tables of sockets, proc(5), "/proc/net".
var tables = map[egress.Proto][]string{
	egress.TCP:  {"tcp", "tcp6"},
	egress.UDP:  {"udp", "udp6"},
	egress.ICMP: {"icmp", "icmp6"}, // of ping sockets; the port is the identifier
}

// whose finds the program that has a socket on a port inside. Empty when it cannot be
// told: it is gone already, or the packet came from no socket of a process.
func (m *member) whose(proto egress.Proto, port uint16) string {
	if m.netns == (spaceID{}) || port == 0 {
		return ""
	}
	until := time.Now().Add(whosePatience)
	processes, _ := os.ReadDir(procfs.Path(""))
	var inodes map[string]bool
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		if time.Now().After(until) {
			return ""
		}
		if id, err := spaceOf(procfs.Path(p.Name() + "/ns/net")); err != nil || id != m.netns {
			continue
		}
		if inodes == nil {
			// The same for every process of the namespace.
			if inodes = socketsOf(p.Name(), proto, port); inodes == nil {
				continue
			}
		}
		if holds(procfs.Path(p.Name()+"/fd"), inodes) {
			comm, _ := os.ReadFile(procfs.Path(p.Name() + "/comm"))
			return strings.TrimSuffix(string(comm), "\n")
		}
	}
	return ""
}

// spaceID tells one network namespace from another: namespaces(7).
type spaceID struct{ dev, ino uint64 }

func spaceOf(path string) (spaceID, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return spaceID{st.Dev, st.Ino}, err
}

// socketsOf finds the sockets on a port of the network namespace that a process is in; nil when it has ended.
func socketsOf(pid string, proto egress.Proto, port uint16) map[string]bool {
	inodes := map[string]bool{}
	for _, t := range tables[proto] {
		text, err := os.ReadFile(procfs.Path(pid + "/net/" + t))
		if errors.Is(err, fs.ErrNotExist) && t[len(t)-1] == '6' {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil
		}
		socketsOn(string(text), port, inodes)
	}
	return inodes
}

// socketsOn adds the inodes of a table's sockets that are bound to a port.
func socketsOn(table string, port uint16, inodes map[string]bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(n) == port && f[9] != "0" {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
}

func holds(dir string, inodes map[string]bool) bool {
	open, _ := os.ReadDir(dir)
	for _, e := range open {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && inodes[target] {
			return true
		}
	}
	return false
}
