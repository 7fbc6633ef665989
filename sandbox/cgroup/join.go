package cgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Join gives what puts one more process into the control groups of a sandbox that runs: those that its first process
// is in and its supervisor is not. It is nil for a sandbox that has none of its own.
func Join(first, supervisor int) (func(pid int) error, error) {
	in, err := read(fmt.Sprintf("/proc/%d/cgroup", first))
	if err != nil {
		return nil, err
	}
	around, err := read(fmt.Sprintf("/proc/%d/cgroup", supervisor))
	if err != nil {
		return nil, err
	}
	m := &machine{uid: unix.Geteuid(), v1: map[string]hierarchy{}}
	mounts, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open mountinfo: %w", err)
	}
	defer unix.Close(mounts)
	inside := parseMembership(in)
	v2root, err := m.mounts(descriptor(mounts), inside, "")
	if err != nil {
		return nil, err
	}
	unified, v1, err := m.ownGroups(inside, parseMembership(around), v2root)
	if err != nil || unified == "" && len(v1) == 0 {
		return nil, err
	}
	return func(pid int) error {
		for _, dir := range v1 {
			if err := move(dir, pid); err != nil {
				return fmt.Errorf("put process %d into cgroup %s: %w", pid, dir, err)
			}
		}
		if unified == "" {
			return nil
		}
		err := move(unified, pid)
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			// Whoever stands outside of the delegated group has no right to move anything into it; the manager has.
			m.systemd = true
			m.findManager("")
			err = attach(m.manager, unified, pid)
		}
		if err != nil {
			return fmt.Errorf("put process %d into cgroup %s: %w", pid, unified, err)
		}
		return nil
	}, nil
}

// ownGroups gives the folders of the groups that only the inside is in.
func (m *machine) ownGroups(inside, around map[string]string, v2root string) (unified string, v1 []string, err error) {
	for name, path := range inside {
		switch {
		case around[name] == path:
		case name == "":
			rest, ok := below(path, v2root)
			if m.v2 == "" || !ok {
				return "", nil, fmt.Errorf("the sandbox's cgroup %s is not to be seen from here", path)
			}
			unified = filepath.Join(m.v2, rest)
		default:
			h, ok := m.v1[name]
			if !ok {
				return "", nil, fmt.Errorf("the sandbox's cgroup %s of the hierarchy %s is not to be seen from here", path, name)
			}
			if !slices.Contains(v1, h.own) {
				v1 = append(v1, h.own)
			}
		}
	}
	return unified, v1, nil
}

// attach has the systemd manager move a process into a folder below one of its units (org.freedesktop.systemd1(5),
// AttachProcessesToUnit).
func attach(addresses []string, dir string, pid int) error {
	unit, sub, ok := unitOf(dir)
	if !ok {
		return fmt.Errorf("%s lies below no unit", dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scopePatience)
	defer cancel()
	err := errors.New("no systemd manager is there to ask")
	for _, address := range addresses {
		var conn *dbus.Conn
		if conn, err = dialManager(ctx, address); err != nil {
			continue
		}
		defer conn.Close()
		if !strings.HasSuffix(address, "/systemd/private") {
			if err = conn.Hello(); err != nil {
				continue
			}
		}
		err = conn.Object(managerName, managerPath).CallWithContext(ctx, managerIface+".AttachProcessesToUnit", 0, unit, sub, []uint32{uint32(pid)}).Err
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("ask systemd to put process %s into %s: %w", strconv.Itoa(pid), unit, err)
}

// unitOf parts a group's folder into the lowest unit on the way and what lies below that.
func unitOf(dir string) (unit, sub string, ok bool) {
	for at := dir; at != "/" && at != "."; at = filepath.Dir(at) {
		if isUnit(at) {
			return filepath.Base(at), "/" + strings.TrimPrefix(strings.TrimPrefix(dir, at), "/"), true
		}
	}
	return "", "", false
}
