package netsetup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A named network is its gateway process; there is no file and no address in the
// file system. Every gateway holds descriptors at fixed numbers:
//
//	KnockFD    the end of a socket pair whose other end it reads
//	SharedFD   a memfd called jail-network with the name; of a named network only
//
// Whoever wants to come in finds the process through /proc, takes a copy of KnockFD
// (pidfd_getfd(2)) and sends its control socket over it. The kernel gives that copy
// only to who may trace the process: the same user outside of every sandbox. So
// the gateway need not ask who knocks, and a program in a sandbox, even one with
// the host's network, has nothing to knock at.

// Descriptors of a gateway process besides its control socket.
const (
	DoorFD   = 4
	KnockFD  = 5
	SharedFD = 6
)

// SharedArg tells a gateway process that it has them.
const SharedArg = "shared"

// sharedFile is the name of the memfd.
const sharedFile = "jail-network"

// Requests of ioctl_ns(2).
const (
	nsGetUserNS   = 0xb701
	nsGetParent   = 0xb702
	nsGetOwnerUID = 0xb704
)

// shared is what the memfd holds.
type shared struct {
	Name string `json:"name"`
}

// lockPatience bounds the wait for another start in the same network; each holds
// the lock for some milliseconds.
const lockPatience = 10 * time.Second

// enterOrSpawn joins the network of this name, or begins it. The lock makes sure
// that two starts do not begin it twice.
func (n *Network) enterOrSpawn(c *Config, o Options, setup *Setup) error {
	unlock, err := lockNetworks(o.Lock, c.Name)
	if err != nil {
		return err
	}
	defer unlock()
	for range 100 {
		pid, knock, err := findShared(c.Name)
		if err != nil {
			return err
		}
		if knock == nil {
			return n.spawn(o, setup)
		}
		err = n.enter(pid, knock, setup)
		knock.Close()
		if !errors.Is(err, errLeaving) {
			return err
		}
		time.Sleep(5 * time.Millisecond) // its last member just left
	}
	return fmt.Errorf("network %s: its gateway lets nobody in and does not end", c.Name)
}

// errLeaving means that a gateway is ending.
var errLeaving = errors.New("the gateway is ending")

// enter sends a control socket through the door.
func (n *Network) enter(pid int, knock *os.File, setup *Setup) error {
	mem, err := setup.memfd()
	if err != nil {
		return err
	}
	defer mem.Close()
	theirs, err := n.controlPair(mem)
	if err != nil {
		return err
	}
	conn, err := net.FileConn(knock)
	if err != nil {
		theirs.Close()
		n.control.Close()
		return fmt.Errorf("network %s: %w", setup.Config.Name, err)
	}
	err = Send(conn.(*net.UnixConn), Request{Op: "enter"}, theirs)
	conn.Close()
	theirs.Close()
	if err == nil {
		var r Reply
		_, err = Receive(n.control, &r)
		if err == nil && r.Welcome {
			n.pid, n.entered = pid, true
			return nil
		}
	}
	n.control.Close()
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return errLeaving
	}
	return fmt.Errorf("network %s: %w", setup.Config.Name, err)
}

// lockNetworks takes the lock on a folder that is jail's own.
func lockNetworks(dir, name string) (func(), error) {
	if dir == "" {
		return nil, fmt.Errorf("network %s: there is no folder for its lock", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("network %s: the folder for its lock: %w", name, err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("network %s: the folder for its lock: %w", name, err)
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(2 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("network %s: lock %s: %w\nanother start may be under way; 'fuser %s' shows who holds the folder", name, dir, err, dir)
		}
	}
}

// findShared looks for the gateway of a named network of the caller's, and gives a
// copy of its KnockFD; nil when there is none.
func findShared(name string) (int, *os.File, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return 0, nil, fmt.Errorf("look for the network %s: %w", name, err)
	}
	defer proc.Close()
	entries, err := proc.Readdirnames(-1)
	if err != nil {
		return 0, nil, fmt.Errorf("look for the network %s: %w", name, err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e)
		if err != nil {
			continue
		}
		// One call for most processes: those of others refuse it, and those of
		// one's own have something else at this number.
		to, err := os.Readlink("/proc/" + e + "/fd/" + strconv.Itoa(SharedFD))
		if err != nil || to != "/memfd:"+sharedFile+" (deleted)" {
			continue
		}
		if knock := askShared(pid, name); knock != nil {
			return pid, knock, nil
		}
	}
	return 0, nil, nil
}

// askShared verifies that a process is the gateway of a network, and the caller's: a
// program in a sandbox can call itself so too, and who took its word would run in
// a network of its making (CVE-2022-31214). What is looked at is held by a pidfd
// from before the first question to after the last.
func askShared(pid int, name string) *os.File {
	return askGateway(pid, func(dir string) bool { return nameOf(dir) == name })
}

func askGateway(pid int, right func(dir string) bool) *os.File {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(pidfd)
	dir := "/proc/" + strconv.Itoa(pid)
	if !ownGateway(dir) || !right(dir) {
		return nil
	}
	fd, err := unix.PidfdGetfd(pidfd, KnockFD, 0)
	if err != nil {
		return nil
	}
	knock := os.NewFile(uintptr(fd), "knock")
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET || unix.PidfdSendSignal(pidfd, 0, nil, 0) != nil {
		knock.Close()
		return nil
	}
	return knock
}

// ownGateway reports whether a process is in the caller's own mount and pid
// namespaces, where nothing sandboxed is, and in a user namespace that the caller
// made below its own.
func ownGateway(dir string) bool {
	for _, kind := range []string{"mnt", "pid"} {
		if !sameFile(dir+"/ns/"+kind, "/proc/self/ns/"+kind) {
			return false
		}
	}
	f, err := os.Open(dir + "/ns/user")
	if err != nil {
		return false
	}
	defer f.Close()
	return ownedBelow(f) == nil
}

// ownedBelow checks that a user namespace is a direct child of the caller's and
// belongs to the caller (ioctl_ns(2)).
func ownedBelow(user *os.File) error {
	uid, err := unix.IoctlGetUint32(int(user.Fd()), nsGetOwnerUID)
	if err != nil {
		return fmt.Errorf("owner of a user namespace: %w", err)
	}
	if uid != uint32(os.Geteuid()) {
		return fmt.Errorf("it belongs to the user with the id %d", uid)
	}
	fd, err := unix.IoctlRetInt(int(user.Fd()), nsGetParent)
	if err != nil {
		return fmt.Errorf("parent of a user namespace: %w", err)
	}
	parent := os.NewFile(uintptr(fd), "parent")
	defer parent.Close()
	if !sameFile("/proc/self/fd/"+strconv.Itoa(fd), "/proc/self/ns/user") {
		return errors.New("it is not a user namespace that was made from this one")
	}
	return nil
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// nameOf reads the name of a gateway's network.
func nameOf(dir string) string {
	f, err := os.Open(dir + "/fd/" + strconv.Itoa(SharedFD))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	var s shared
	if err != nil || json.Unmarshal(b, &s) != nil {
		return ""
	}
	return s.Name
}

// doorFiles are the descriptors that a gateway starts with, after the control socket;
// name is that of a named network.
func doorFiles(name string) ([]*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("the network's door: %w", err)
	}
	files := []*os.File{os.NewFile(uintptr(pair[0]), "door"), os.NewFile(uintptr(pair[1]), "knock")}
	if name == "" {
		return files, nil
	}
	b, err := json.Marshal(shared{name})
	if err == nil {
		var mem *os.File
		if mem, err = memfd(sharedFile, b); err == nil {
			return append(files, mem), nil
		}
	}
	closeAll(files)
	return nil, fmt.Errorf("network %s: %w", name, err)
}
