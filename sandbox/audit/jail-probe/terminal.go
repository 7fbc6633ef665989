package main

import (
	"os"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// From linux/tiocl.h and asm-generic/ioctls.h; x/sys lacks them.
const tiocLinux = 0x541c

func terminalChecks() []probe {
	// The character is NUL on a terminal that nobody reads from.
	request := func(id, what, why, source string, by abi, arg func() [6]uintptr) probe {
		nr := uintptr(unix.SYS_IOCTL)
		switch by {
		case abiI386:
			nr = 54
		case abiX32:
			nr = 514 | x32Bit
		}
		grant := call{args: [6]uintptr{0, unix.TIOCSTI}}.grant("ioctl", by)
		return probe{check.Check{ID: id, What: what, Why: why, Source: source, Grant: grant}, func(b *check.Bait) verdict {
			if b.Terminal == (check.FileID{}) {
				return cannot("no terminal could be made outside")
			}
			if missing := by.missing(b.Outside); missing != "" {
				return cannot("%s", missing)
			}
			o := try(by, noPrelude, call{nr: nr, args: arg()})
			switch o.errno {
			case unix.EIO: // dev.tty.legacy_tiocsti=0
				return held("EIO: the kernel's own switch")
			case unix.ENOTTY, unix.EBADF, unix.EINVAL:
				if id != "tioclinux" {
					return held("%v", o)
				}
			}
			if v := byOutcome(o); v.answer != check.Open || sameFile(0, b.Terminal) {
				return v
			}
			return held("%v, on a terminal of the sandbox's own", o)
		}}
	}
	nul := func() [6]uintptr { return [6]uintptr{0, unix.TIOCSTI, address(new(byte))} }
	low := func() [6]uintptr { return [6]uintptr{0, unix.TIOCSTI, uintptr(lowMemory())} }
	const typing = "characters typed into the caller's terminal run as commands when the sandbox ends"
	return []probe{
		request("tiocsti", "type into the terminal", typing, "CVE-2017-5226", abiNative, nul),
		request("tiocsti-high", "type into the terminal by a request with high bits set", typing, "CVE-2019-10063", abiNative, func() [6]uintptr {
			a := nul()
			a[1] |= 1 << 32
			return a
		}),
		request("tiocsti-i386", "type into the terminal by an i386 call", typing, "CVE-2017-5226; seccomp(2), \"Caveats\"", abiI386, low),
		request("tiocsti-x32", "type into the terminal by an x32 call", typing, "CVE-2017-5226; seccomp(2), \"Caveats\"", abiX32, nul),
		request("tioclinux", "paste into the console", typing, "CVE-2023-28100", abiNative, func() [6]uintptr { return [6]uintptr{0, tiocLinux, address(&[]byte{255}[0])} }),
		{check.Check{ID: "same", What: "have the caller's own terminal open", Why: "its settings can be changed, and with a way to type, commands run outside", Source: "CVE-2017-5226", Grant: []string{"terminal"}}, func(b *check.Bait) verdict {
			if b.Terminal == (check.FileID{}) {
				return cannot("no terminal could be made outside")
			}
			for fd := range 3 {
				if sameFile(fd, b.Terminal) {
					return open("stream %d", fd)
				}
			}
			return held("the streams are another terminal")
		}},
		{check.Check{ID: "controlling", What: "open the caller's terminal as /dev/tty", Why: "its settings can be changed, and with a way to type, commands run outside", Source: "tty(4)", Grant: []string{"terminal"}}, func(b *check.Bait) verdict {
			fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if err != nil {
				return byError(err)
			}
			defer unix.Close(fd)
			// /dev/tty stands for a terminal, and does not tell which but by its number.
			var own unix.Stat_t
			if unix.Fstat(0, &own) == nil && sameFile(0, b.Terminal) {
				return open("it is the terminal of stream 0")
			}
			return held("a terminal of the sandbox's own")
		}},
		{check.Check{ID: "pts", What: "see the machine's terminals in /dev/pts", Why: "those of other sessions can be written to", Source: "pts(4)", Grant: []string{"read:/dev/pts"}}, func(b *check.Bait) verdict {
			var st unix.Stat_t
			if err := unix.Stat("/dev/pts", &st); err != nil {
				return byError(err)
			}
			if b.Terminal == (check.FileID{}) {
				return cannot("no terminal could be made outside")
			}
			if st.Dev == b.Terminal.Dev {
				return open("the machine's /dev/pts")
			}
			return held("a /dev/pts of the sandbox's own")
		}},
		{check.Check{ID: "session", What: "be in the caller's session", Why: "job control reaches the caller's processes", Source: "setsid(2)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			if sid, err := unix.Getsid(0); err == nil && sid == 0 {
				return open("a session from outside of the pid namespace")
			} else if err != nil {
				return byError(err)
			}
			if own, _ := os.Readlink("/proc/self/ns/pid"); own == b.Namespaces["pid"] && b.Terminal != (check.FileID{}) && sameFile(0, b.Terminal) {
				return open("the session of the caller's terminal")
			}
			return held("a session of the sandbox's own")
		}},
	}
}

func sameFile(fd int, id check.FileID) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && check.FileID{Dev: st.Dev, Ino: st.Ino} == id
}
