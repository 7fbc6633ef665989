package running

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A process is a folder of /proc, held open: it never shows another process that got the id later, but fails
// with ESRCH once the process is gone (proc(5)).
type process struct {
	pid int
	dir int
}

func openProcess(pid int) (process, error) {
	dir, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return process{pid, dir}, err
}

func (p process) close() { _ = unix.Close(p.dir) }

// open opens a file below the folder.
func (p process) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(p.dir, name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/%d/%s", p.pid, name)), nil
}

// read reads a small file of the folder.
func (p process) read(name string) (string, error) {
	fd, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text []byte
	part := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, part)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return string(text), err
		}
		text = append(text, part[:n]...)
	}
}

func (p process) readlink(name string) (string, error) {
	var b [256]byte
	n, err := unix.Readlinkat(p.dir, name, b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// parent is the id of the process's parent, from the fourth field of stat: the second may hold anything, in brackets.
func (p process) parent() (int, error) {
	text, err := p.read("stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/stat: not what proc(5) says", p.pid)
	}
	return strconv.Atoi(fields[1])
}

// innermost is the process's id in its own pid namespace.
func (p process) innermost() (id, depth int, err error) {
	text, err := p.read("status")
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(text, "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	ids := strings.Fields(line)
	if len(ids) == 0 {
		return 0, 0, fmt.Errorf("/proc/%d/status: no NSpid", p.pid)
	}
	id, err = strconv.Atoi(ids[len(ids)-1])
	return id, len(ids), err
}

// child finds the process's child that passes a test. The list of /proc/PID/task/TID/children needs no look at
// every process there is, but not every kernel has it.
func (p process) child(want func(process) bool) (process, bool) {
	pids := processIDs
	if text, err := p.read("task/" + strconv.Itoa(p.pid) + "/children"); err == nil {
		pids = func(yield func(int) bool) {
			for word := range strings.FieldsSeq(text) {
				if pid, err := strconv.Atoi(word); err == nil && !yield(pid) {
					return
				}
			}
		}
	}
	for pid := range pids {
		c, err := openProcess(pid)
		if err != nil {
			continue
		}
		if parent, err := c.parent(); err == nil && parent == p.pid && want(c) {
			return c, true
		}
		c.close()
	}
	return process{}, false
}

// processIDs goes through the processes of /proc.
func processIDs(yield func(int) bool) {
	dir, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	eachEntry(dir, yield)
}

// descriptors goes through the process's open descriptors.
func (p process) descriptors(yield func(int) bool) {
	dir, err := unix.Openat(p.dir, "fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	eachEntry(dir, yield)
}

// eachEntry goes through the names of a folder that are numbers.
func eachEntry(dir int, yield func(int) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for rest := buf[:n]; len(rest) > 0; {
			const header = 19 // struct linux_dirent64 up to d_name: getdents64(2)
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			name := rest[header:size]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			rest = rest[size:]
			if id, err := strconv.Atoi(string(name)); err == nil && !yield(id) {
				return
			}
		}
	}
}

// memfd opens the process's memfd of a name, sealed as it must be.
func (p process) memfd(name string, seals int) (*os.File, bool) {
	want := "/memfd:" + name + " (deleted)"
	for fd := range p.descriptors {
		link := "fd/" + strconv.Itoa(fd)
		if target, err := p.readlink(link); err != nil || target != want {
			continue
		}
		f, err := p.open(link, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			continue
		}
		// A file on disk can have such a name too, but no seals.
		if have, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err == nil && have&seals == seals {
			return f, true
		}
		f.Close()
	}
	return nil, false
}
