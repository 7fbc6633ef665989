package cgroup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	managerName  = "org.freedesktop.systemd1"
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
)

// scopePatience is how long a manager may take: it is usually some milliseconds, but a machine that is just
// starting can have a long queue of jobs.
const scopePatience = 10 * time.Second

// property is one of StartTransientUnit's, in its D-Bus type (sv).
type property struct {
	Name  string
	Value dbus.Variant
}

// auxiliary is StartTransientUnit's last argument (sa(sv)), of which scopes have none.
type auxiliary struct {
	Name       string
	Properties []property
}

// askForScope has the systemd manager make a scope for this process, and gives the scope's group. A scope has to
// hold a process from the start, and only what is in the scope may clone into its groups, because that needs the
// right to write cgroup.procs of the nearest common group; so it is jail itself that goes there, and with it the
// watcher, which is the last to leave. Then the scope is empty, and systemd removes it.
func askForScope(addresses []string, unit string, o Options, w *watcher) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scopePatience)
	defer cancel()
	var errs []error
	for _, address := range addresses {
		err := startScope(ctx, address, unit, o.Name, w)
		if err == nil {
			return scopeDir(o.Root, unit)
		}
		errs = append(errs, fmt.Errorf("systemd at %s: %w", strings.TrimPrefix(address, "unix:path="), err))
		// Only a manager that could not be reached is worth a second address. Another answer would be the same.
		var op *net.OpError
		if !errors.As(err, &op) && !errors.Is(err, errNoAuth) {
			break
		}
	}
	return "", errors.Join(errs...)
}

var errNoAuth = errors.New("the connection was not authenticated")

func startScope(ctx context.Context, address, unit, name string, w *watcher) error {
	conn, err := dbus.Dial(address, dbus.WithContext(ctx))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return fmt.Errorf("%w: %w", errNoAuth, err)
	}
	signals := make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	manager := conn.Object(managerName, managerPath)
	// The manager's private socket has no bus behind it: no greeting, and every signal comes unasked.
	if !strings.HasSuffix(address, "/systemd/private") {
		if err := conn.Hello(); err != nil {
			return err
		}
		if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(managerIface), dbus.WithMatchMember("JobRemoved"), dbus.WithMatchObjectPath(managerPath)); err != nil {
			return err
		}
		if err := manager.CallWithContext(ctx, managerIface+".Subscribe", 0).Err; err != nil {
			return err
		}
	}
	properties := []property{
		{"Description", dbus.MakeVariant("jail: " + name)},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(os.Getpid()), uint32(w.pid)})},
		{"Delegate", dbus.MakeVariant(true)},
		// A scope that failed would otherwise stay in the list of units (systemd.unit(5)).
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	var job dbus.ObjectPath
	w.asks()
	if err := manager.CallWithContext(ctx, managerIface+".StartTransientUnit", 0, unit, "fail", properties, []auxiliary{}).Store(&job); err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	return awaitJob(ctx, signals, job, unit)
}

// awaitJob waits for JobRemoved, which carries id, job, unit and result.
func awaitJob(ctx context.Context, signals <-chan *dbus.Signal, job dbus.ObjectPath, unit string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("start %s: no answer within %v: %w", unit, scopePatience, ctx.Err())
		case s, ok := <-signals:
			if !ok {
				return fmt.Errorf("start %s: the connection ended before the job", unit)
			}
			if s.Name != managerIface+".JobRemoved" || len(s.Body) != 4 || s.Body[1] != job {
				continue
			}
			if result, _ := s.Body[3].(string); result != "done" {
				return fmt.Errorf("start %s: the job ended as %q; see journalctl --user -u %s", unit, result, unit)
			}
			return nil
		}
	}
}

// scopeDir finds the group in which this process now is.
func scopeDir(root, unit string) (string, error) {
	m, err := look(root)
	if err != nil {
		return "", err
	}
	if len(m.groups) > 0 && filepath.Base(m.groups[0].dir) == unit {
		return m.groups[0].dir, nil
	}
	return "", fmt.Errorf("start %s: done, but jail is in %s", unit, m.ownDir())
}
