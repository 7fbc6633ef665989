package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// Secrets are the files that the keeper puts into the home, and why they matter.
var secretFiles = [][2]string{
	{".ssh/id_ed25519", "a key opens other machines"},
	{".gnupg/private-keys-v1.d/key.key", "a key signs in the user's name"},
	{".aws/credentials", "an account at a cloud, and its bill"},
	{".config/gcloud/credentials.db", "an account at a cloud, and its bill"},
	{".kube/config", "a cluster of machines"},
	{".docker/config.json", "the right to publish images in the user's name"},
	{".netrc", "passwords in plain text"},
	{".git-credentials", "the right to push in the user's name"},
	{".password-store/bank.gpg", "passwords"},
	{".mozilla/firefox/p.default/logins.json", "passwords and cookies of the browser"},
	{".config/chromium/Default/Cookies", "sessions of the browser"},
	{".local/share/keyrings/login.keyring", "passwords of the desktop"},
	{".bash_history", "commands, with the passwords that were typed into them"},
	{"Documents/tax.txt", "the user's own papers"},
}

// startFiles are files of the home that run later, outside.
var startFiles = [][2]string{
	{".bashrc", "runs at the user's next shell"},
	{".profile", "runs at the user's next login"},
	{".config/autostart/x.desktop", "runs at the user's next login"},
	{".config/systemd/user/x.service", "runs at the user's next login"},
	{".local/bin/x", "stands before the system's programs on the PATH"},
	{".ssh/authorized_keys", "lets others log in"},
	{".config/git/config", "runs programs at the next git command"},
}

func fileChecks() []probe {
	var all []probe
	for _, f := range secretFiles {
		all = append(all, probe{check.Check{ID: "read-" + f[0], What: "read ~/" + f[0], Why: f[1], Source: "hier(7)", Grant: []string{"read:~/" + f[0]}},
			func(b *check.Bait) verdict { return readsSecret(b, filepath.Join(b.Home, f[0])) }})
	}
	for _, f := range startFiles {
		all = append(all, probe{check.Check{ID: "write-" + f[0], What: "change ~/" + f[0], Why: f[1], Source: "CVE-2021-21261's class: a host's file that runs later", Grant: []string{"write:~/" + f[0]}},
			func(b *check.Bait) verdict { return opensForWriting(b, filepath.Join(b.Home, f[0])) }})
	}
	return append(all,
		probe{check.Check{ID: "list-home", What: "list the home", Why: "names of files tell much", Source: "getdents(2)", Grant: []string{"read:~"}}, func(b *check.Bait) verdict {
			_, err := os.Stat(filepath.Join(b.Home, ".bait"))
			return byError(err)
		}},
		probe{check.Check{ID: "home-by-link", What: "read a secret through a symbolic link", Why: "a link is another name of a hidden file", Source: "CVE-2024-42472", Grant: []string{"read:~/.ssh/id_ed25519"}}, func(b *check.Bait) verdict {
			return readsSecret(b, filepath.Join(b.Home, "link-to-key"))
		}},
		probe{check.Check{ID: "home-by-hardlink", What: "read a secret through a second hard link in /var/tmp", Why: "a hard link is another name of a hidden file", Source: "link(2)", Grant: []string{"read:varTemp"}}, func(b *check.Bait) verdict {
			return readsSecret(b, b.VarTemp)
		}},
		probe{check.Check{ID: "home-by-dots", What: "read a secret by way of .. from the working directory", Why: "a path may be written in many ways", Source: "path_resolution(7)", Grant: []string{"read:~/.ssh/id_ed25519"}}, func(b *check.Bait) verdict {
			return readsSecret(b, strings.Repeat("../", 40)+b.Home[1:]+"/.ssh/id_ed25519")
		}},
		probe{check.Check{ID: "temp", What: "read another program's file in /tmp", Why: "programs keep sockets, locks and drafts there", Source: "hier(7)", Grant: []string{"read:temp"}}, func(b *check.Bait) verdict {
			return readsSecret(b, b.Temp)
		}},
		probe{check.Check{ID: "temp-write", What: "change another program's file in /tmp", Why: "other programs believe what they find there", Source: "hier(7)", Grant: []string{"write:temp"}}, func(b *check.Bait) verdict {
			return opensForWriting(b, b.Temp)
		}},
		probe{check.Check{ID: "shm", What: "read another program's shared memory in /dev/shm", Why: "browsers and sound servers keep what they share there", Source: "shm_overview(7)", Grant: []string{"read:shm"}}, func(b *check.Bait) verdict {
			if b.ShmFile == "" {
				return cannot("there is no /dev/shm outside")
			}
			return readsSecret(b, b.ShmFile)
		}},
		probe{check.Check{ID: "runtime-dir", What: "look into the session's runtime folder", Why: "sockets of the session lie there", Source: "XDG base directory specification", Grant: []string{"read:runtime"}}, func(b *check.Bait) verdict {
			return readsSecret(b, filepath.Join(b.Runtime, "secret"))
		}},
		probe{check.Check{ID: "own-profiles", What: "write into jail's own profiles", Why: "a program could loosen its own next run", Source: "docs/threat-model.md"}, func(b *check.Bait) verdict {
			return creates(filepath.Join(b.Config, "jail", "profiles", "audit-probe.yaml"), b)
		}},
		writesTo("system", "/usr/bin", "replaced programs run outside"),
		writesTo("etc", "/etc", "settings of the machine"),
		writesTo("root", "/", "the root of the file system"),
		probe{check.Check{ID: "shadow", What: "read /etc/shadow", Why: "hashes of passwords", Source: "shadow(5)", Grant: []string{"read:/etc/shadow"}}, func(*check.Bait) verdict { return reads("/etc/shadow") }},
		probe{check.Check{ID: "passwd", What: "see who has an account on the machine", Why: "names of other users", Source: "passwd(5)", Grant: []string{"read:/etc/passwd"}}, func(*check.Bait) verdict {
			text, err := os.ReadFile("/etc/passwd")
			if err != nil {
				return byError(err)
			}
			if strings.Contains(string(text), "daemon:") {
				return open("%d lines", strings.Count(string(text), "\n"))
			}
			return held("names of the sandbox's own")
		}},
		probe{check.Check{ID: "machine-id", What: "read /etc/machine-id", Why: "tells this machine from all others", Source: "machine-id(5)", Grant: []string{"read:/etc/machine-id"}}, func(*check.Bait) verdict { return reads("/etc/machine-id") }},
		probe{check.Check{ID: "hostname", What: "read /etc/hostname", Why: "tells the machine's name", Source: "hostname(5)", Grant: []string{"read:/etc/hostname"}}, func(*check.Bait) verdict { return reads("/etc/hostname") }},
		probe{check.Check{ID: "var-log", What: "list /var/log", Why: "logs tell what others do", Source: "hier(7)", Grant: []string{"read:/var/log"}}, func(*check.Bait) verdict { return lists("/var/log") }},
		probe{check.Check{ID: "run", What: "list the machine's /run", Why: "sockets of system services", Source: "hier(7)", Grant: []string{"read:/run"}}, func(b *check.Bait) verdict {
			for _, name := range []string{"lock", "utmp", "systemd", "mount", "udev"} {
				if _, err := os.Lstat("/run/" + name); err == nil {
					return open("/run/%s is there", name)
				}
			}
			return held("empty or not there")
		}},
		probe{check.Check{ID: "boot", What: "read the kernel's files in /boot", Why: "addresses of the kernel, for exploits", Source: "hier(7)", Grant: []string{"read:/boot"}}, func(*check.Bait) verdict { return lists("/boot") }},
	)
}

func readsSecret(b *check.Bait, path string) verdict {
	text, err := os.ReadFile(path)
	if err != nil {
		return byError(err)
	}
	if !strings.Contains(string(text), b.Secret) {
		return held("another file of that name")
	}
	return open("read it")
}

// opensForWriting changes nothing. A file of the sandbox's own under that name is not the one meant.
func opensForWriting(b *check.Bait, path string) verdict {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return byError(err)
	}
	defer f.Close()
	text := make([]byte, 200)
	n, _ := f.Read(text)
	if !strings.Contains(string(text[:n]), b.Secret) {
		return held("another file of that name")
	}
	return open("opened for writing")
}

// writesTo makes a file in a folder of the machine's and removes it. As root outside it could be made, too.
func writesTo(id, dir, why string) probe {
	return probe{check.Check{ID: "write-" + id, What: "make a file in " + dir, Why: why, Source: "open(2)", Grant: []string{"write:" + dir}},
		func(b *check.Bait) verdict { return creates(filepath.Join(dir, ".jail-audit-probe"), b) }}
}

// creates makes a file that is not there and takes it away again. In a file system of the sandbox's own, which only
// exists in its memory, nothing of the host's is changed.
func creates(path string, b *check.Bait) verdict {
	var st unix.Stat_t
	err := unix.Stat(filepath.Dir(path), &st)
	if err != nil {
		return byError(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return byError(err)
	}
	f.Close()
	os.Remove(path)
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err == nil && fs.Type == unix.TMPFS_MAGIC && !b.Outside {
		return held("a folder of the sandbox's own, in memory")
	}
	return open("made and removed it")
}

func reads(path string) verdict {
	f, err := os.Open(path)
	if err != nil {
		return byError(err)
	}
	defer f.Close()
	if n, err := f.Read(make([]byte, 64)); err != nil || n == 0 {
		return held("opens, and has nothing to read")
	}
	return open("read it")
}

func lists(path string) verdict {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return held("ENOENT")
	case err != nil:
		return byError(err)
	case len(entries) == 0:
		return held("empty")
	}
	return open("%d entries", len(entries))
}
