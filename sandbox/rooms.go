package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Room is a folder in memory through which sandboxes meet: a helper's, which makes sockets in it, and the
// program's, which finds them there read-only. It has no name on the host. It was made in a mount namespace that
// is gone, and lives in the descriptors and the sandboxes it is handed to: nothing is left of it whatever dies.
type Room struct {
	Name string
	// Inside is for the program: read-only. A socket or a FIFO can be written to all the same (path_resolution(7)
	// asks for a writable mount only where files are changed).
	Inside *os.File
	// Outside is for a helper and for the supervisor itself, which reaches the folder through Path.
	Outside *os.File
}

// Path is the folder as the supervisor sees it: proc(5), /proc/self/fd.
func (r *Room) Path() string { return "/proc/self/fd/" + strconv.Itoa(int(r.Outside.Fd())) }

// Close lets go of the room. Sandboxes that have it keep it.
func (r *Room) Close() {
	_ = r.Inside.Close()
	_ = r.Outside.Close()
}

// roomParams keep a program from using a room as memory that no limit counts; it cannot write there, but a helper
// that it has taken over can.
var roomParams = []string{"mode=0755", "size=256k", "nr_inodes=64"}

// MakeRooms makes rooms of these names. A process with a user and a mount namespace of its own mounts them, hands
// them over and ends: an ordinary user can mount nothing elsewhere (mount_namespaces(7)).
func MakeRooms(names []string) ([]*Room, error) {
	a := &assembler{}
	defer a.unmap()
	fds := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(a.room(8*len(names))))), 2*len(names))
	writeIDMap{os.Getuid(), os.Getuid(), os.Getgid(), os.Getgid()}.lower(a)
	for i := range names {
		a.makeRoom(fds[2*i:])
	}
	// The descriptors that the process opens are this one's: CLONE_FILES, clone(2).
	if err := a.once(unix.CLONE_NEWUSER|unix.CLONE_NEWNS|unix.CLONE_FILES, "make a folder for helpers"); err != nil {
		return nil, err
	}
	rooms := make([]*Room, len(names))
	for i, name := range names {
		rooms[i] = &Room{name, os.NewFile(uintptr(fds[2*i]), "room "+name), os.NewFile(uintptr(fds[2*i+1]), "room "+name)}
	}
	return rooms, nil
}

// makeRoom mounts one folder where only descriptors lead to it, and stores two of them that are mounts of their
// own: a mount that is attached nowhere can be copied since Linux 6.15 only.
func (a *assembler) makeRoom(fds []int32) {
	const attr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	m := a.newFS("tmpfs", roomParams, attr)
	a.op(unix.SYS_MOVE_MOUNT, m, a.str(""), cwd, a.str("/"), val(fromFD))
	for i, more := range []uint64{unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOEXEC} {
		tree := a.fd(unix.SYS_OPEN_TREE, m, a.str(""), val(cloneTree))
		a.setAttr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: more})
		a.op(opStore, arg{v: uintptr(unsafe.Pointer(&fds[i]))}, tree)
		a.free = append(a.free, uint8(tree.v)) // the descriptor stays, the slot is free
	}
	a.close(m)
}

// rooms plans where the folders of helpers go.
func (c *compiler) rooms() error {
	s, ok := c.spec.Annotations[annotationRooms]
	if !ok {
		return nil
	}
	var rooms []struct{ Name, Path string }
	if err := json.Unmarshal([]byte(s), &rooms); err != nil {
		return c.fail("/annotations", annotationRooms, err)
	}
	if len(rooms) > maxRooms {
		return c.failf("/annotations", annotationRooms, "%d rooms, at most %d can be had", len(rooms), maxRooms)
	}
	for i, r := range rooms {
		pointer := fmt.Sprintf("/annotations/%s/%d", annotationRooms, i)
		if !path.IsAbs(r.Path) || r.Name == "" {
			return c.failf(pointer, "room "+r.Name, "%q is no absolute path", r.Path)
		}
		dest, err := c.destination(pointer, r.Path, false)
		if err != nil {
			return err
		}
		// Whether it may be written to is up to the mount that is handed in: read-only for a program, but for a FIFO.
		c.tree.cover(dest, &cover{kind: coverOpaque, writable: true})
		c.plan.add(inSetup, c.origin(pointer), attachRoom{name: r.Name, dest: dest, fd: roomBase + i})
		c.plan.rooms = append(c.plan.rooms, r.Name)
	}
	return nil
}

const (
	// roomBase is the first descriptor number at which the first process of a sandbox holds its rooms until they
	// are attached, just above the channel to the supervisor and below overlayBase.
	roomBase = eventsFD + 1
	maxRooms = overlayBase - roomBase
)

// attachRoom shows a room at a place inside.
type attachRoom struct {
	name, dest string
	fd         int
}

func (r attachRoom) String() string {
	return fmt.Sprintf("show the room %s, in which a helper outside offers its sockets, at %s", r.name, r.dest)
}

func (r attachRoom) lower(a *assembler) {
	a.covered(r.dest)
	at := a.open2(a.root, rel(r.dest), unix.O_PATH|unix.O_NOFOLLOW, 0, insideRoot)
	a.op(unix.SYS_MOVE_MOUNT, val(r.fd), a.str(""), at, a.str(""), val(ontoFD))
	a.close(at)
	a.op(unix.SYS_CLOSE, val(r.fd))
}

// lowerHanded puts the descriptors that a start was handed where the steps expect them: those standing in for the
// standard streams, and the rooms.
func (a *assembler) lowerHanded(in *lowerInput) {
	for fd, from := range in.streams {
		a.op(unix.SYS_DUP3, val(from), val(fd), val(0))
	}
	for i, from := range in.rooms {
		a.op(unix.SYS_DUP3, val(from), val(roomBase+i), val(unix.O_CLOEXEC))
	}
	a.keepBelow = roomBase + len(in.rooms)
}

// openHanded duplicates what a start was handed to high numbers, so that moving one to its place does not overwrite
// another.
func (p *Plan) openHanded(in *lowerInput, o *Options) error {
	const high = 64
	hold := func(f *os.File) (int, error) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, high)
		if err == nil {
			in.handed = append(in.handed, fd)
		}
		return fd, err
	}
	for _, name := range p.rooms {
		f := o.Rooms[name]
		if f == nil {
			return &Error{What: "room " + name, Cause: errors.New("nothing offers it"), Exit: 125}
		}
		fd, err := hold(f)
		if err != nil {
			return fmt.Errorf("hold the room %s: %w", name, err)
		}
		in.rooms = append(in.rooms, fd)
	}
	for _, f := range o.Streams {
		fd, err := hold(f)
		if err != nil {
			return fmt.Errorf("hold a standard stream: %w", err)
		}
		in.streams = append(in.streams, fd)
	}
	return nil
}

// Serve starts a plan for a helper of another sandbox and waits for its end, with nothing of the caller's terminal
// and signals in it. started is called once it runs; o.Streams are its standard streams.
func (p *Plan) Serve(o Options, started func(*Process)) (Status, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if len(o.Streams) != 3 {
		return Status{Code: 125}, errors.New("a helper needs three standard streams of its own")
	}
	proc, err := p.Start(o)
	if err != nil {
		return Status{Code: 125}, err
	}
	proc.Release()
	started(proc)
	status, err := proc.Wait()
	proc.events.close()
	return status, err
}
