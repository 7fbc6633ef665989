// Package link makes network namespaces and what is in them: the veth pair of a
// sandbox, the bridge and the TAP device (or packet socket) of its gateway.
//
// It acts on the namespaces that its caller may administer: those made by
// [NewSpace] belong to the user namespace the caller is in.
package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"jail/netsetup/procfs"
)

// Whole takes a list from the kernel once more where a change came in between, which leaves it with gaps (NLM_F_DUMP_INTR
// of linux/netlink.h). It gives the error [netlink.ErrDumpInterrupted] where that goes on.
func Whole[T any](list func() (T, error)) (all T, err error) {
	for range 50 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// Space is a network namespace, with a netlink socket in it.
type Space struct {
	File *os.File
	nl   *netlink.Handle
	do   chan func()
}

// NewSpace makes a network namespace with its loopback up. A thread of its own
// stays in it until Close, for what must be done from inside (opening a TAP
// device, writing sysctls).
func NewSpace() (*Space, error) {
	s := &Space{do: make(chan func())}
	made := make(chan error)
	go func() {
		// The thread is not unlocked: it must not be reused for other goroutines
		// and ends with this one (runtime.LockOSThread).
		runtime.LockOSThread()
		err := s.enter()
		made <- err
		if err != nil {
			return
		}
		for f := range s.do {
			f()
		}
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Space) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("new network namespace: %w%s", err, namespaceHint(err))
	}
	return s.open()
}

// open takes hold of the network namespace the calling thread is in.
func (s *Space) open() error {
	f, err := os.Open(procfs.Path("thread-self/ns/net"))
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		f.Close()
		return fmt.Errorf("netlink socket: %w", err)
	}
	s.File, s.nl = f, nl
	// LOOPBACK_IFINDEX (include/net/flow.h): it is the first link of every namespace.
	if err := nl.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return fmt.Errorf("bring up the loopback: %w", err)
	}
	return nil
}

func namespaceHint(err error) string {
	if errors.Is(err, unix.ENOSPC) {
		return "\nthe limit of network namespaces is reached; raise the sysctl user.max_net_namespaces"
	}
	return ""
}

// Do runs f on the thread that is in the namespace.
func (s *Space) Do(f func() error) error {
	done := make(chan error)
	s.do <- func() { done <- f() }
	return <-done
}

// Close lets go of the namespace. It lives on while a process, a device or a
// descriptor is in it.
func (s *Space) Close() {
	close(s.do)
	s.nl.Close()
	s.File.Close()
}

// Sysctl writes a setting below /proc/sys/net of the namespace.
func (s *Space) Sysctl(name, value string) error {
	return s.Do(func() error { return sysctl(name, value) })
}

// sysctl writes a setting of the namespace of the calling thread, which /proc/sys/net shows. Not by os.WriteFile: Go's
// poller would take three calls more to find out that such a file cannot be waited for.
func sysctl(name, value string) error {
	fd, err := unix.Open(procfs.Path("sys/net/"+name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("set net/%s to %s: %w", name, value, err)
	}
	return nil
}
