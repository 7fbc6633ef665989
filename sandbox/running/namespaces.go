package running

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readyTime is how long a sandbox that is being set up may take until it is given up on.
const readyTime = 5 * time.Second

// programOf finds the program's process: with a pid namespace it is process 2 inside.
func programOf(supervisor process, s *State) int {
	first, err := openProcess(s.First)
	if err != nil {
		return 0
	}
	defer first.close()
	if parent, err := first.parent(); err != nil || parent != supervisor.pid {
		return 0
	}
	program, ok := programBelow(first)
	if !ok {
		return 0
	}
	program.close()
	return program.pid
}

func programBelow(first process) (process, bool) {
	inside, depth, err := first.innermost()
	if err != nil {
		return process{}, false
	}
	return first.child(func(c process) bool {
		id, d, err := c.innermost()
		return err == nil && d == depth && (inside != 1 || id == 2)
	})
}

// Namespace opens one of the sandbox's own namespaces: user, mnt, pid, ipc, uts, net, cgroup or time. One that the
// sandbox shares with the caller is an error that is ErrShared. It waits for a sandbox that is still being set up.
func (b *Sandbox) Namespace(kind string) (*os.File, error) {
	deadline := time.Now().Add(readyTime)
	for {
		f, err := b.namespace(kind)
		if !errors.Is(err, unix.EACCES) || time.Now().After(deadline) || b.Wait(2*time.Millisecond) {
			if errors.Is(err, unix.EACCES) {
				err = fmt.Errorf("the namespaces of the sandbox %s cannot be read: it is still being set up, or its program's file is not readable: %w", b.Name, err)
			}
			return f, err
		}
	}
}

// ErrShared is a namespace that a sandbox has not of its own.
var ErrShared = errors.New("the sandbox has no such namespace of its own")

func (b *Sandbox) namespace(kind string) (*os.File, error) {
	program, ok := programBelow(b.first)
	if !ok {
		return nil, unix.EACCES // not there yet: as good as not readable yet
	}
	defer program.close()
	owner, err := b.owner(program)
	if err != nil {
		return nil, err
	}
	if kind == "user" {
		return owner, nil
	}
	defer owner.Close()
	f, err := program.open("ns/"+kind, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if err := b.belongs(f, kind, owner); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// owner gives the sandbox's user namespace: the one that owns the pid namespace, which no process can leave.
func (b *Sandbox) owner(program process) (*os.File, error) {
	pids, err := program.open("ns/pid", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer pids.Close()
	if same, err := isOwn(pids, "pid"); err != nil {
		return nil, err
	} else if same {
		return nil, fmt.Errorf("the sandbox %s has no pid namespace: what joins it would not end with it", b.Name)
	}
	owner, err := relative(pids, unix.NS_GET_USERNS)
	if err != nil {
		return nil, fmt.Errorf("find the user namespace of the sandbox %s: %w", b.Name, err)
	}
	if same, err := isOwn(owner, "user"); err != nil || same {
		owner.Close()
		if err == nil {
			err = fmt.Errorf("the sandbox %s has no user namespace of its own", b.Name)
		}
		return nil, err
	}
	uid, err := unix.IoctlGetInt(int(owner.Fd()), unix.NS_GET_OWNER_UID)
	if err == nil && uid != os.Geteuid() {
		err = fmt.Errorf("it belongs to uid %d", uid)
	}
	if err == nil {
		_, err = b.isBetween(owner, owner) // and it lies below the caller's
	}
	if err != nil {
		owner.Close()
		return nil, fmt.Errorf("the user namespace of the sandbox %s is not yours: %w", b.Name, err)
	}
	return owner, nil
}

// belongs refuses a namespace that the program has made for itself, and one that is the caller's own.
func (b *Sandbox) belongs(f *os.File, kind string, owner *os.File) error {
	if same, err := isOwn(f, kind); err != nil {
		return err
	} else if same {
		return ErrShared
	}
	of, err := relative(f, unix.NS_GET_USERNS)
	if err == nil {
		defer of.Close()
		var ok bool
		if ok, err = b.isBetween(owner, of); ok {
			return nil
		}
	}
	if errors.Is(err, unix.EPERM) || err == nil {
		return fmt.Errorf("the program of the sandbox %s has moved to another %s namespace than the sandbox's", b.Name, kind)
	}
	return err
}

// isBetween tells whether a user namespace is the lower one or between it and the caller's. The way up must end at the
// caller's, or the error is EPERM: ioctl_ns(2).
func (b *Sandbox) isBetween(lower, wanted *os.File) (bool, error) {
	found := false
	at := lower
	for depth := 0; ; depth++ {
		own, err := isOwn(at, "user")
		same, err2 := sameFile(at, wanted)
		found = found || same && !own
		if err == nil {
			err = err2
		}
		var up *os.File
		if err == nil && !own {
			up, err = relative(at, unix.NS_GET_PARENT)
		}
		if at != lower {
			at.Close()
		}
		if err != nil || own {
			return found, err
		}
		at = up
	}
}

// relative gives another namespace by one of the ioctls of ioctl_ns(2).
func relative(f *os.File, request uint) (*os.File, error) {
	fd, err := unix.IoctlRetInt(int(f.Fd()), request)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "namespace"), nil
}

func isOwn(f *os.File, kind string) (bool, error) {
	var own, st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/"+kind, &own); err != nil {
		return false, err
	}
	err := unix.Fstat(int(f.Fd()), &st)
	return err == nil && st.Dev == own.Dev && st.Ino == own.Ino, err
}

func sameFile(a, b *os.File) (bool, error) {
	var x, y unix.Stat_t
	if err := unix.Fstat(int(a.Fd()), &x); err != nil {
		return false, err
	}
	err := unix.Fstat(int(b.Fd()), &y)
	return err == nil && x.Dev == y.Dev && x.Ino == y.Ino, err
}
