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

// Begun tells whether the program's file has been executed. It is false also of a program whose file the caller may not
// read: nobody is shown what such a process is, proc(5).
func (b *Sandbox) Begun() bool {
	program, ok := programBelow(b.first)
	if !ok {
		return false
	}
	defer program.close()
	var jail, now unix.Stat_t
	if unix.Fstatat(b.supervisor.dir, "exe", &jail, 0) != nil || unix.Fstatat(program.dir, "exe", &now, 0) != nil {
		return false
	}
	return now.Dev != jail.Dev || now.Ino != jail.Ino
}

// A Namespace is one of a sandbox's own namespaces, open.
type Namespace struct {
	Kind string // as in /proc/PID/ns: user, mnt, pid, ipc, uts, net, cgroup, time
	File *os.File
}

// ErrShared is a namespace that a sandbox has not of its own.
var ErrShared = errors.New("the sandbox has no such namespace of its own")

// Namespace opens one of the sandbox's own namespaces. One that the sandbox shares with the caller is ErrShared. It
// waits for a sandbox that is still being set up.
func (b *Sandbox) Namespace(kind string) (*os.File, error) {
	var file *os.File
	err := b.whenReady(func(v *view) error {
		if kind == "user" {
			fd, err := unix.FcntlInt(v.chain[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
			file = os.NewFile(uintptr(fd), "user namespace")
			return err
		}
		var err error
		file, _, err = v.open(kind)
		return err
	})
	return file, err
}

// Namespaces opens all of the sandbox's own namespaces in the order in which they can be entered: a user namespace
// first, which gives the right to enter those that it owns, and the pid namespace last. It waits for a sandbox that is
// still being set up. Whoever calls it closes the files.
func (b *Sandbox) Namespaces() ([]Namespace, error) {
	var all []Namespace
	err := b.whenReady(func(v *view) error {
		owned := make([][]Namespace, len(v.chain))
		for _, kind := range []string{"net", "ipc", "uts", "cgroup", "time", "mnt", "pid"} {
			file, owner, err := v.open(kind)
			if errors.Is(err, ErrShared) {
				continue
			}
			if err != nil {
				for _, list := range owned {
					closeAll(list)
				}
				return err
			}
			owned[owner] = append(owned[owner], Namespace{kind, file})
		}
		for i := len(v.chain) - 1; i >= 0; i-- {
			all = append(append(all, Namespace{"user", v.chain[i]}), owned[i]...)
		}
		v.chain = nil // they are the caller's now
		return nil
	})
	return all, err
}

func closeAll(list []Namespace) {
	for _, n := range list {
		n.File.Close()
	}
}

// whenReady does something with the sandbox's namespaces once they can be read.
func (b *Sandbox) whenReady(do func(*view) error) error {
	deadline := time.Now().Add(readyTime)
	for {
		v, err := b.look()
		if err == nil {
			err = do(v)
			v.close()
		}
		if !errors.Is(err, unix.EACCES) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the namespaces of the sandbox %s cannot be read: it is still being set up, or its program's file is not readable: %w", b.Name, err)
		}
		if b.Wait(2 * time.Millisecond) {
			return &FindError{fmt.Sprintf("the sandbox %s has ended", b.Name), "jail ps lists those that run"}
		}
	}
}

// A view is what a sandbox's namespaces are looked at through.
type view struct {
	name    string
	program process
	chain   []*os.File // user namespaces: the sandbox's own, then the one above, and so on until below the caller's
}

func (v *view) close() {
	v.program.close()
	for _, f := range v.chain {
		f.Close()
	}
}

// look finds the program and the user namespaces. EACCES is a sandbox that may still be on its way.
func (b *Sandbox) look() (*view, error) {
	program, ok := programBelow(b.first)
	if !ok {
		return nil, unix.EACCES
	}
	v := &view{name: b.Name, program: program}
	if err := v.climb(); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// climb follows the user namespaces from the sandbox's own, the one that owns the pid namespace, which no process can
// leave. The way must end at the caller's: the kernel shows no namespace that does not lie below, ioctl_ns(2).
func (v *view) climb() error {
	pids, err := v.program.open("ns/pid", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer pids.Close()
	if same, err := isOwn(pids, "pid"); err != nil {
		return err
	} else if same {
		return fmt.Errorf("the sandbox %s has no pid namespace: what joins it would not end with it", v.name)
	}
	at, err := relative(pids, unix.NS_GET_USERNS)
	for err == nil {
		var own bool
		if own, err = isOwn(at, "user"); err != nil || own {
			at.Close()
			break
		}
		v.chain = append(v.chain, at)
		var uid uint32
		if uid, err = unix.IoctlGetUint32(int(at.Fd()), unix.NS_GET_OWNER_UID); err == nil && int(uid) != os.Geteuid() {
			err = fmt.Errorf("it belongs to uid %d", uid)
		}
		if err == nil {
			at, err = relative(at, unix.NS_GET_PARENT)
		}
	}
	if err != nil {
		return fmt.Errorf("the user namespace of the sandbox %s is not yours: %w", v.name, err)
	}
	if len(v.chain) == 0 {
		return fmt.Errorf("the sandbox %s has no user namespace of its own", v.name)
	}
	return nil
}

// open opens one of the program's namespaces and says which of the chain owns it. It refuses one that the program
// has made for itself.
func (v *view) open(kind string) (*os.File, int, error) {
	f, err := v.program.open("ns/"+kind, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil, 0, ErrShared // this kernel has none of that kind
	}
	if err != nil {
		return nil, 0, err
	}
	owner, err := v.owner(f, kind)
	if err != nil {
		f.Close()
	}
	return f, owner, err
}

func (v *view) owner(f *os.File, kind string) (int, error) {
	if same, err := isOwn(f, kind); err != nil {
		return 0, err
	} else if same {
		return 0, ErrShared
	}
	of, err := relative(f, unix.NS_GET_USERNS)
	if err == nil {
		defer of.Close()
		for i, u := range v.chain {
			if same, err := sameFile(u, of); err != nil || same {
				return i, err
			}
		}
	}
	if err == nil || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("the program of the sandbox %s has moved to another %s namespace than the sandbox's", v.name, kind)
	}
	return 0, err
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
