package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func deviceChecks() []probe {
	var all []probe
	for _, d := range [][2]string{
		{"/dev/mem", "the machine's memory"}, {"/dev/kmem", "the kernel's memory"}, {"/dev/port", "the ports of the machine's devices"},
		{"/dev/kmsg", "messages of the kernel"}, {"/dev/kvm", "a large interface of the kernel"}, {"/dev/fuse", "file systems of the caller's making"},
		{"/dev/net/tun", "packets of the caller's making"}, {"/dev/vhost-net", "a large interface of the kernel"}, {"/dev/vhost-vsock", "sockets to virtual machines"}, {"/dev/vsock", "sockets past every network namespace"},
		{"/dev/uinput", "keys typed and pointers moved on the user's screen"}, {"/dev/loop-control", "disks of the caller's making"}, {"/dev/loop0", "a disk"},
		{"/dev/mapper/control", "disks of the caller's making"}, {"/dev/userfaultfd", "stops the kernel in the middle of a copy"}, {"/dev/rfkill", "radios of the machine"},
		{"/dev/tty0", "the machine's console"}, {"/dev/tty1", "the machine's console"}, {"/dev/console", "the machine's console"},
		{"/dev/vcs", "what is on the machine's console"}, {"/dev/hpet", "a clock for side channels"}, {"/dev/nvram", "settings of the machine"},
		{"/dev/cpu_dma_latency", "the machine's power"}, {"/dev/snapshot", "the machine's memory"}, {"/dev/ppp", "networks of the caller's making"},
	} {
		all = append(all, probe{check.Check{ID: d[0][5:], What: "open " + d[0], Why: d[1], Source: "null(4) and its neighbours; Documentation/admin-guide/devices.txt", Grant: []string{"device:" + d[0]}}, func(b *check.Bait) verdict {
			return opensDevice(d[0], b)
		}})
	}
	for _, g := range [][3]string{
		{"disks", "/dev/sd* /dev/vd* /dev/nvme* /dev/dm-* /dev/mmcblk*", "files of everybody, past every permission"},
		{"input", "/dev/input/event* /dev/hidraw*", "every key that is typed"},
		{"cameras", "/dev/video* /dev/media*", "the camera"},
		{"sound", "/dev/snd/pcm*", "the microphone"},
		{"gpu", "/dev/dri/* /dev/nvidia*", "the screen, and large drivers"},
		{"usb", "/dev/bus/usb/*/*", "every device that is plugged in"},
		{"serial", "/dev/ttyS* /dev/ttyUSB* /dev/ttyACM*", "devices that are plugged in"},
	} {
		all = append(all, probe{check.Check{ID: g[0], What: "open a device of the kind " + g[1], Why: g[2], Source: "Documentation/admin-guide/devices.txt", Grant: []string{"devices"}}, func(b *check.Bait) verdict {
			last := cannotOrHeld(b, "none there")
			for pattern := range strings.FieldsSeq(g[1]) {
				names, _ := filepath.Glob(pattern)
				for _, n := range names {
					if v := opensDevice(n, b); v.answer == check.Open {
						return open("%s", n)
					} else if v.answer == check.Held {
						last = v
					}
				}
			}
			return last
		}})
	}
	return append(all, probe{check.Check{ID: "mknod", What: "make a device file", Why: "a device file leads past every other file system", Source: "mknod(2)", Grant: []string{"cap:MKNOD"}}, func(b *check.Bait) verdict {
		dir, err := os.MkdirTemp("", "jail-audit-")
		if err != nil {
			return cannot("no temporary folder: %s", errorWord(err))
		}
		defer os.RemoveAll(dir)
		const null = 1<<8 | 3 // a harmless one
		return byError(unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o600, null))
	}})
}

// opensDevice opens and closes again; no device of the list does anything at that.
func opensDevice(path string, b *check.Bait) verdict {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return cannotOrHeld(b, "ENOENT")
	case err != nil:
		return byError(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return held("no device")
	}
	if unix.Major(st.Rdev) == 136 { // a pseudo-terminal in its place: Documentation/admin-guide/devices.txt
		return held("the sandbox's own terminal")
	}
	return open("opened it")
}

// cannotOrHeld is for what the machine itself does not have: outside nothing can be tried, inside nothing is there.
func cannotOrHeld(b *check.Bait, detail string) verdict {
	if b.Outside {
		return cannot("this machine has none")
	}
	return held("%s", detail)
}
