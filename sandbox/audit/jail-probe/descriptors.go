package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// inherited are the descriptors beyond the standard streams that this process was started with: what Go opened for
// itself is close-on-exec.
func inherited() []int {
	var fds []int
	for fd := 3; fd < 256; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

func descriptorChecks() []probe {
	return []probe{
		{check.Check{ID: "inherited", What: "use a descriptor that the caller left open", Why: "it leads to files that have no path inside", Source: "CVE-2024-21626"}, func(*check.Bait) verdict {
			if fds := inherited(); len(fds) > 0 {
				return open("%v are open", fds)
			}
			return held("only the standard streams are open")
		}},
		{check.Check{ID: "leaked-dir", What: "leave through a folder that the caller left open", Why: "all of the machine's files", Source: "CVE-2024-21626; CVE-2016-9962"}, func(b *check.Bait) verdict {
			for fd := 3; fd < 64; fd++ {
				for _, name := range []string{".netrc", "../.netrc", "home/.netrc"} {
					f, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
					if err != nil {
						continue
					}
					text := make([]byte, 200)
					n, _ := unix.Read(f, text)
					_ = unix.Close(f)
					if contains(text[:max(n, 0)], b.Secret) {
						return open("read a secret through descriptor %d", fd)
					}
				}
			}
			return held("there is none")
		}},
		{check.Check{ID: "leaked-dir-dotdot", What: "reach the machine's root by .. from a folder left open", Why: "all of the machine's files", Source: "CVE-2024-21626"}, func(b *check.Bait) verdict {
			for fd := 3; fd < 64; fd++ {
				root, err := unix.Openat(fd, "../../../../../../../..", unix.O_PATH|unix.O_CLOEXEC, 0)
				if err != nil {
					continue
				}
				var st unix.Stat_t
				err = unix.Fstat(root, &st)
				_ = unix.Close(root)
				if err == nil && (check.FileID{Dev: st.Dev, Ino: st.Ino}) == b.Root {
					return open("through descriptor %d", fd)
				}
			}
			return held("there is none")
		}},
		{check.Check{ID: "cwd", What: "be in a working directory outside of the root", Why: "relative paths lead outside", Source: "CVE-2024-21626"}, func(*check.Bait) verdict {
			dir, err := os.Readlink("/proc/self/cwd")
			if err != nil {
				return cannot("%s", errorWord(err))
			}
			var a, b unix.Stat_t
			if unix.Stat(".", &a) != nil || unix.Stat(dir, &b) != nil || a.Ino != b.Ino || a.Dev != b.Dev {
				return open("%s is not where it seems", dir)
			}
			return held("%s", dir)
		}},
		{check.Check{ID: "streams", What: "have a directory as a standard stream", Why: "it leads out of the root", Source: "CVE-2024-21626"}, func(*check.Bait) verdict {
			for fd := range 3 {
				var st unix.Stat_t
				if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
					return open("stream %d", fd)
				}
			}
			return held("none is")
		}},
		{check.Check{ID: "receive", What: "have a socket of the caller's among the open files", Why: "more descriptors can come through it", Source: "unix(7), SCM_RIGHTS"}, func(*check.Bait) verdict {
			for _, fd := range inherited() {
				var st unix.Stat_t
				if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
					return open("descriptor %s", strconv.Itoa(fd))
				}
			}
			return held("none is open")
		}},
	}
}
