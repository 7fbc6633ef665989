package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// put writes a cgroup file in one write, as the kernel wants it, and without creating or truncating anything.
func put(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		if _, err = unix.Write(fd, []byte(text)); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// get reads a cgroup file, without its last newline. os.ReadFile would ask the poller about every one of them, which
// takes longer than the reading.
func get(path string) (string, error) {
	text, err := read(path)
	return strings.TrimSuffix(text, "\n"), err
}

func read(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var first [1024]byte
	all := first[:0]
	for {
		n, err := unix.Read(fd, all[len(all):cap(all)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return "", &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return string(all), nil
		}
		all = all[:len(all)+max(n, 0)]
		if len(all) == cap(all) {
			all = append(all, 0)[:len(all)]
		}
	}
}

// write writes a limit, reads it back, and says what is wrong if the kernel did not take it.
func (w *work) write(dir string, s setting) *Refused {
	if s.file == "io.weight" {
		if r := w.weights(dir, &s); r != nil {
			return r
		}
	}
	path := filepath.Join(dir, s.file)
	if err := put(path, s.value); err != nil {
		if s.file == "memory.swap.max" && errors.Is(err, unix.ENOENT) && w.withoutSwap() {
			return nil // nothing can be swapped out, whatever the limit
		}
		return w.notWritten(dir, s, err)
	}
	reads, err := get(path)
	if err != nil {
		return s.refused(dir, "it could not be read back", "", err)
	}
	if !s.took(s.value, reads) {
		return s.refused(dir, "the kernel took "+quote(reads)+" instead", "give a value that the kernel keeps", nil)
	}
	if s.file == "cpuset.cpus" || s.file == "cpuset.mems" {
		return effective(dir, s)
	}
	return nil
}

// notWritten explains an errno of the kernel's.
func (w *work) notWritten(dir string, s setting, err error) *Refused {
	what, remedy := "the kernel refused the value", ""
	var errno unix.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.ENOENT:
		what, remedy = "this kernel has no such file", "check the name, or use a newer kernel"
		switch {
		case strings.HasPrefix(s.file, "memory.swap"):
			what, remedy = "this kernel does not count swap", "boot with swapaccount=1 on the kernel's command line"
		case s.file == "io.weight":
			remedy = "use a kernel with CONFIG_BLK_CGROUP_IOCOST=y, or the disk scheduler bfq"
		case strings.HasPrefix(s.file, "hugetlb."):
			what, remedy = "this machine has no huge pages of that size", "see the folders in /sys/kernel/mm/hugepages"
		}
	case unix.ENODEV, unix.ENXIO:
		what, remedy = "there is no such block device", "name a whole disk, such as /dev/sda: lsblk lists them"
		if !strings.HasPrefix(s.file, "io.") {
			what, remedy = "there is no such device", ""
		}
	case unix.EINVAL, unix.ERANGE:
		if strings.HasPrefix(s.file, "cpuset.") {
			what, remedy = "there is no such "+cpusetWord(s.file), "use some of "+effectiveOf(filepath.Dir(dir), s.file)
		}
		if strings.HasPrefix(s.file, "io.") {
			remedy = "limits go to whole disks, not to partitions: see lsblk"
		}
	case unix.EACCES, unix.EPERM, unix.EROFS:
		what, remedy = "it may not be written", "see jail explain for the ways to a cgroup"
	}
	return s.refused(dir, what, remedy, err)
}

// effective proves that a cpuset is really in force: the kernel accepts cpus and nodes that the group cannot use,
// and then quietly gives it others.
func effective(dir string, s setting) *Refused {
	have := effectiveOf(dir, s.file)
	if sameSet(s.value, have) {
		return nil
	}
	return s.refused(dir, "of these only "+quote(have)+" can be used", "use some of "+effectiveOf(filepath.Dir(dir), s.file), nil)
}

func effectiveOf(dir, file string) string {
	text, err := get(filepath.Join(dir, file+".effective"))
	if err != nil {
		return "those in /sys/devices/system"
	}
	return text
}

func cpusetWord(file string) string {
	if file == "cpuset.mems" {
		return "memory node"
	}
	return "cpu"
}

// withoutSwap says whether this kernel was built without swap: then there is no /proc/swaps.
func (w *work) withoutSwap() bool {
	_, err := os.Stat(w.options.Root + "/proc/swaps")
	return errors.Is(err, os.ErrNotExist)
}

// weights picks the file for an io weight and refuses it where nothing would heed it: the kernel keeps io.weight
// on any machine, but shares a disk by it only with io.cost switched on or with the scheduler bfq, which has a file
// and a scale (1 to 1000) of its own.
func (w *work) weights(dir string, s *setting) *Refused {
	if _, err := os.Stat(filepath.Join(dir, "io.bfq.weight")); err == nil && w.scheduler("bfq") {
		s.file = "io.bfq.weight"
		s.value = bfqWeight(s.value)
		return nil
	}
	if qos, err := get(filepath.Join(w.v2, "io.cost.qos")); err == nil && strings.Contains(qos, "enable=1") {
		return nil
	}
	return s.refused(dir, "no disk of this machine shares its time by weight", "as root: echo bfq > /sys/block/DISK/queue/scheduler, or echo 'MAJOR:MINOR enable=1' > "+w.v2+"/io.cost.qos", nil)
}

// bfqWeight takes a weight from io.weight's scale (1, 100, 10000) to bfq's (1, 100, 1000), with the defaults in the
// same place, as systemd does.
func bfqWeight(line string) string {
	at := strings.LastIndexByte(line, ' ') + 1
	n, err := strconv.ParseUint(line[at:], 10, 32)
	if err != nil || n <= 100 {
		return line
	}
	return line[:at] + strconv.FormatUint(100+(min(n, 10000)-100)*900/9900, 10)
}

// scheduler says whether some disk uses this scheduler.
func (w *work) scheduler(name string) bool {
	files, _ := filepath.Glob(w.options.Root + "/sys/block/*/queue/scheduler")
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), "["+name+"]") {
			return true
		}
	}
	return false
}

func quote(s string) string {
	if s == "" {
		return "nothing"
	}
	return strings.ReplaceAll(s, "\n", "; ")
}
