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
	if m.space == nil || port == 0 {
		return ""
	}
	inodes := map[string]bool{}
	var own unix.Stat_t
	err := m.space.Do(func() error {
		for _, t := range tables[proto] {
			text, err := os.ReadFile(procfs.Path("thread-self/net/" + t))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			socketsOn(string(text), port, inodes)
		}
		return unix.Fstat(int(m.space.File.Fd()), &own)
	})
	if err != nil || len(inodes) == 0 {
		return ""
	}
	until := time.Now().Add(whosePatience)
	processes, _ := os.ReadDir(procfs.Path(""))
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		if time.Now().After(until) {
			return ""
		}
		var st unix.Stat_t
		if unix.Stat(procfs.Path(p.Name()+"/ns/net"), &st) != nil || st.Ino != own.Ino || st.Dev != own.Dev {
			continue
		}
		if holds(procfs.Path(p.Name()+"/fd"), inodes) {
			comm, _ := os.ReadFile(procfs.Path(p.Name() + "/comm"))
			return strings.TrimSuffix(string(comm), "\n")
		}
	}
	return ""
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
