package gateway

import (
	"bufio"
	"errors"
	"io"
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

// whosePatience bounds the search for the program behind a refusal, and the wait for its turn. It is made once a
// destination, while the program may wait for its answer.
const whosePatience = 250 * time.Millisecond

// search finds out a program. late is set when it ended for want of time.
type search func(until time.Time) (name string, late bool)

// tables of sockets, proc(5), "/proc/net".
var tables = map[egress.Proto][]string{
	egress.TCP:  {"tcp", "tcp6"},
	egress.UDP:  {"udp", "udp6"},
	egress.ICMP: {"icmp", "icmp6"}, // of ping sockets; the port is the identifier
}

// found is the last program that a search has found, for the next one from the same socket. Searches of one member follow
// each other, and only they touch it.
type found struct {
	proto egress.Proto
	port  uint16
	name  string
	at    time.Time
}

// whose finds the program that has a socket on a port inside. Empty when it cannot be
// told: it is gone already, or the packet came from no socket of a process. How many processes, sockets and descriptors
// there are is the sandbox's to choose: the time is looked at for each.
func (m *member) whose(proto egress.Proto, port uint16) search {
	if m.netns == (spaceID{}) || port == 0 {
		return nil
	}
	return func(until time.Time) (name string, late bool) {
		// A program that scans often does so from one socket.
		if f := &m.found; f.proto == proto && f.port == port && time.Since(f.at) < whosePatience {
			return f.name, false
		}
		var inodes map[string]bool
		late = eachEntry(procfs.Path(""), until, func(pid string) (enough bool) {
			if _, err := strconv.Atoi(pid); err != nil {
				return false
			}
			if id, err := spaceOf(procfs.Path(pid + "/ns/net")); err != nil || id != m.netns {
				return false
			}
			if inodes == nil {
				// The same for every process of the namespace.
				if inodes = socketsOf(pid, proto, port, until); inodes == nil {
					return false
				}
			}
			if !holds(procfs.Path(pid+"/fd"), inodes, until) {
				return false
			}
			comm, _ := os.ReadFile(procfs.Path(pid + "/comm"))
			name = strings.TrimSuffix(string(comm), "\n")
			m.found = found{proto, port, name, time.Now()}
			return true
		})
		return name, late
	}
}

// eachEntry goes over the entries of a directory until one is enough, or there is no time left, which it tells.
func eachEntry(dir string, until time.Time, enough func(name string) bool) (late bool) {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(128)
		for _, n := range names {
			if !time.Now().Before(until) {
				return true
			}
			if enough(n) {
				return false
			}
		}
		if err != nil {
			return !time.Now().Before(until)
		}
	}
}

// spaceID tells one network namespace from another: namespaces(7).
type spaceID struct{ dev, ino uint64 }

func spaceOf(path string) (spaceID, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return spaceID{st.Dev, st.Ino}, err
}

// socketsOf finds the sockets on a port of the network namespace that a process is in; nil when it has ended, or the time.
func socketsOf(pid string, proto egress.Proto, port uint16, until time.Time) map[string]bool {
	inodes := map[string]bool{}
	for _, t := range tables[proto] {
		f, err := os.Open(procfs.Path(pid + "/net/" + t))
		if errors.Is(err, fs.ErrNotExist) && t[len(t)-1] == '6' {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil
		}
		err = socketsOn(f, port, until, inodes)
		f.Close()
		if err != nil {
			return nil
		}
	}
	return inodes
}

// socketsOn adds the inodes of a table's sockets that are bound to a port.
func socketsOn(table io.Reader, port uint16, until time.Time, inodes map[string]bool) error {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if !time.Now().Before(until) {
			return os.ErrDeadlineExceeded
		}
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(n) == port && f[9] != "0" {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	return lines.Err()
}

func holds(dir string, inodes map[string]bool, until time.Time) (found bool) {
	eachEntry(dir, until, func(name string) bool {
		target, err := os.Readlink(filepath.Join(dir, name))
		found = err == nil && inodes[target]
		return found
	})
	return found
}
