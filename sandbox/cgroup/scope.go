package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	managerName  = "org.freedesktop.systemd1"
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
)

// scopePatience is how long a manager may take: it is usually some milliseconds, but a machine that is just
// starting, or has many times more to do than processors, can have a long queue of jobs. systemd's own programs wait
// as long for an answer (sd_bus_set_method_call_timeout(3)).
const scopePatience = 25 * time.Second

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

// A scopeRequest is for a scope that holds the watcher and jail.
type scopeRequest struct {
	unit, name string
	root, v2   string // Options.Root, and where cgroup v2 is mounted
	watch      *watcher
}

// askForScope has the systemd manager make a scope, and gives the scope's group. Only what is in a delegated group
// may clone into its sub-groups, because that needs the right to write cgroup.procs of the nearest common group: so
// jail itself has to go there, into the sub-group "outside".
//
// A scope has to hold a process from the start, and this one begins with the watcher, not with jail. It must not
// begin empty, as it would when jail is killed in just that moment: a manager learns by a change of cgroup.events that
// a scope is over, and none would ever come. Nor must one of several processes be gone by then: the scope fails, is
// forgotten, and its folder stays because the others are in it. Both were seen, with systemd 247 and 257.
func askForScope(addresses []string, q scopeRequest) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scopePatience)
	defer cancel()
	var errs []error
	for _, address := range addresses {
		dir, err := startScope(ctx, address, q)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, fmt.Errorf("systemd at %s: %w", strings.TrimPrefix(address, "unix:path="), err))
		// Only a manager that could not be reached is worth a second address. Another answer would be the same.
		var op *net.OpError
		if !errors.As(err, &op) && !errors.Is(err, errNoAuth) {
			break
		}
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) }) {
		return "", errors.Join(append(errs, errNoManager)...)
	}
	return "", errors.Join(errs...)
}

// errNoManager says that of a manager nothing but its sockets is left, as when the folder they are in was busy at its end.
var errNoManager = errors.New("no systemd manager listens")

var errNoAuth = errors.New("the connection was not authenticated")

func startScope(ctx context.Context, address string, q scopeRequest) (string, error) {
	conn, err := dialManager(ctx, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	manager := conn.Object(managerName, managerPath)
	// The manager's private socket has no bus behind it: no greeting, and every signal comes unasked.
	if !strings.HasSuffix(address, "/systemd/private") {
		if err := conn.Hello(); err != nil {
			return "", err
		}
		if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(managerIface), dbus.WithMatchMember("JobRemoved"), dbus.WithMatchObjectPath(managerPath)); err != nil {
			return "", err
		}
		if err := manager.CallWithContext(ctx, managerIface+".Subscribe", 0).Err; err != nil {
			return "", err
		}
	}
	properties := []property{
		{"Description", dbus.MakeVariant("jail: " + q.name)},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(q.watch.pid)})},
		{"Delegate", dbus.MakeVariant(true)},
		// A scope that failed would otherwise stay in the list of units (systemd.unit(5)).
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	var job dbus.ObjectPath
	q.watch.asks()
	if err := manager.CallWithContext(ctx, managerIface+".StartTransientUnit", 0, q.unit, "fail", properties, []auxiliary{}).Store(&job); err != nil {
		return "", fmt.Errorf("start %s: %w", q.unit, err)
	}
	if err := awaitJob(ctx, signals, job, q.unit); err != nil {
		return "", err
	}
	dir, err := q.dir()
	if err != nil {
		return "", err
	}
	if err := unix.Mkdir(filepath.Join(dir, outside), 0o755); err != nil {
		return "", &fs.PathError{Op: "mkdir", Path: filepath.Join(dir, outside), Err: err}
	}
	// The manager has the way there that jail lacks: across from the session's group, with the help of pid 1.
	both := []uint32{uint32(os.Getpid()), uint32(q.watch.pid)}
	if err := manager.CallWithContext(ctx, managerIface+".AttachProcessesToUnit", 0, q.unit, "/"+outside, both).Err; err != nil {
		return "", fmt.Errorf("go to %s: %w", q.unit, err)
	}
	return dir, nil
}

// dialManager connects to a manager as this user.
func dialManager(ctx context.Context, address string) (*dbus.Conn, error) {
	conn, err := dbus.Dial(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", errNoAuth, err)
	}
	return conn, nil
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

// dir finds the scope's group, which is where the watcher now is.
func (q scopeRequest) dir() (string, error) {
	text, err := read(fmt.Sprintf("%s/proc/%d/cgroup", q.root, q.watch.pid))
	if err != nil {
		return "", err
	}
	path := parseMembership(text)[""]
	if filepath.Base(path) != q.unit {
		return "", fmt.Errorf("start %s: done, but its process is in %s", q.unit, path)
	}
	return filepath.Join(q.v2, path), nil
}
