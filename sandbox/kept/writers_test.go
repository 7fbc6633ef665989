package kept

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// written gives accounts as the two texts say.
func written(t *testing.T, passwd, group string) accounts {
	t.Helper()
	dir := t.TempDir()
	a := accounts{filepath.Join(dir, "passwd"), filepath.Join(dir, "group")}
	must(t, os.WriteFile(a.passwd, []byte(passwd), 0o600))
	must(t, os.WriteFile(a.group, []byte(group), 0o600))
	return a
}

func TestWhoseGroupIsPrivate(t *testing.T) {
	const (
		ada   = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000:Ada,,,:/home/ada:/bin/sh\n"
		group = "root:x:0:\nada:x:1000:\n"
	)
	for name, c := range map[string]struct {
		passwd, group string
		uid, gid      uint32
		want          bool
	}{
		"a user's own":                 {ada, group, 1000, 1000, true},
		"with its user as a member":    {ada, "ada:x:1000:ada\n", 1000, 1000, true},
		"of another number":            {"ada:x:1000:1007::/:\n", "ada:x:1007:\n", 1000, 1007, true},
		"no newline at the end":        {ada, "ada:x:1000:", 1000, 1000, true},
		"a second name of the user":    {ada + "lovelace:x:1000:1000::/:\n", group, 1000, 1000, true},
		"the second name's group":      {ada + "lovelace:x:1000:1001::/:\n", "lovelace:x:1001:\n", 1000, 1001, false},
		"another member":               {ada, "ada:x:1000:www-data\n", 1000, 1000, false},
		"the user and another":         {ada, "ada:x:1000:ada,www-data\n", 1000, 1000, false},
		"another member, elsewhere":    {ada, group + "web:x:1000:www-data\n", 1000, 1000, false},
		"a member in a fifth field":    {ada, "ada:x:1000::www-data\n", 1000, 1000, false},
		"another user's primary group": {ada + "bob:x:1001:1000::/home/bob:/bin/sh\n", group, 1000, 1000, false},
		"the other user comes first":   {"bob:x:1001:1000::/home/bob:/bin/sh\n" + ada, group, 1000, 1000, false},
		"a group of another name":      {ada, "users:x:1000:\n", 1000, 1000, false},
		"not the primary group":        {ada, group + "staff:x:50:ada\n", 1000, 50, false},
		"root's":                       {ada, group, 0, 0, false},
		"an id that is not mapped":     {"nobody:x:65534:65534::/:\n", "nobody:x:65534:\n", 65534, 65534, false},
		"a group that is not mapped":   {"ada:x:1000:65534::/:\n", "ada:x:65534:\n", 1000, 65534, false},
		"a user of another source":     {"", group, 1000, 1000, false},
		"a group of another source":    {ada, "", 1000, 1000, false},
		"a group cut short":            {ada, "ada:x:1000\n", 1000, 1000, false},
		"no names":                     {":x:1000:1000::/:\n", ":x:1000:\n", 1000, 1000, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := written(t, c.passwd, c.group).private(c.uid, c.gid); got != c.want {
				t.Errorf("private: %v, want %v", got, c.want)
			}
		})
	}
	if (accounts{"/nowhere", "/nowhere"}).private(1000, 1000) {
		t.Error("private by files that are not there")
	}
}

// own gives accounts in which the group of this process is its user's own, with the members.
func own(t *testing.T, members string) accounts {
	t.Helper()
	return written(t, fmt.Sprintf("ada:x:%d:%d::/:\n", os.Geteuid(), os.Getegid()), fmt.Sprintf("ada:x:%d:%s\n", os.Getegid(), members))
}

// acl is what system.posix_acl_access has for a folder of the mode 0775 that a further user may write:
// linux/posix_acl_xattr.h.
func acl(user uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range [][3]uint32{{1, 7, ^uint32(0)}, {2, 7, user}, {4, 5, ^uint32(0)}, {16, 7, ^uint32(0)}, {32, 5, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(entry[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(entry[1]))
		b = binary.LittleEndian.AppendUint32(b, entry[2])
	}
	return b
}

func TestOthersWriteFolders(t *testing.T) {
	need.OrdinaryUser(t)
	alone := own(t, "")
	for name, c := range map[string]struct {
		mode     os.FileMode
		accounts accounts
		acl      []byte
		want     bool
	}{
		"of the user alone":      {0o700, alone, nil, false},
		"read by all":            {0o755, accounts{"/nowhere", "/nowhere"}, nil, false},
		"of the user's group":    {0o775, alone, nil, false},
		"of a group of two":      {0o775, own(t, "bob"), nil, true},
		"of an unknown group":    {0o775, accounts{"/nowhere", "/nowhere"}, nil, true},
		"open to all":            {0o777, alone, nil, true},
		"open to all but groups": {0o757, alone, nil, true},
		"of a user in an ACL":    {0o755, alone, acl(65533), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chown(dir, -1, os.Getegid()))
			must(t, os.Chmod(dir, c.mode))
			if c.acl != nil {
				if err := unix.Setxattr(dir, "system.posix_acl_access", c.acl, 0); errors.Is(err, unix.EOPNOTSUPP) {
					t.Skip("the file system has no ACLs")
				} else {
					must(t, err)
				}
			}
			// Either kind of descriptor is asked about.
			for _, flag := range []int{unix.O_RDONLY, unix.O_PATH} {
				fd, err := unix.Open(dir, flag|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				must(t, err)
				var st unix.Stat_t
				must(t, unix.Fstat(fd, &st))
				if got := c.accounts.othersWrite(fd, &st); got != c.want {
					t.Errorf("mode %#o, flags %#x: others write: %v, want %v", st.Mode&0o7777, flag, got, c.want)
				}
				Close(fd)
			}
		})
	}
}

// With a umask of 0002 the home of caches is open to the user's group: it is used where that is the user's own,
// and jail's folders in it are closed.
func TestHomeOfTheUsersGroup(t *testing.T) {
	need.OrdinaryUser(t)
	machine := machineAccounts
	t.Cleanup(func() { machineAccounts = machine })
	home := t.TempDir()
	must(t, os.Chown(home, -1, os.Getegid()))
	must(t, os.Chmod(home, 0o775))
	machineAccounts = own(t, "")
	fd, err := Open(home, "programs")
	must(t, err)
	Close(fd)
	machineAccounts = own(t, "bob")
	if _, err := Open(home, "programs"); err == nil || !strings.Contains(err.Error(), "others can write "+home+", mode 0775") {
		t.Errorf("with another member of the group: %v", err)
	}
	machineAccounts = own(t, "")
	must(t, os.Chmod(filepath.Join(home, "jail"), 0o770))
	if _, err := Open(home, "programs"); err == nil || !strings.Contains(err.Error(), "jail has the mode 0770") {
		t.Errorf("with a folder of jail's open to the group: %v", err)
	}
}

// What jail makes has the same mode under every umask.
func TestUmaskDoesNotMatter(t *testing.T) {
	for _, mask := range []int{0, 0o002, 0o022, 0o077} {
		t.Run(fmt.Sprintf("%#o", mask), func(t *testing.T) {
			top := t.TempDir()
			before := unix.Umask(mask)
			defer unix.Umask(before)
			fd, err := Open(filepath.Join(top, "home"), "programs")
			must(t, err)
			defer Close(fd)
			f, err := Program(fd, "p", int64(len(script)), strings.NewReader(string(script)))
			must(t, err)
			must(t, f.Close())
			for path, want := range map[string]os.FileMode{
				"home": os.ModeDir | 0o700, "home/jail": os.ModeDir | 0o700, "home/jail/programs": os.ModeDir | 0o700, "home/jail/programs/p": programMode,
			} {
				st, err := os.Stat(filepath.Join(top, path))
				must(t, err)
				if st.Mode() != want {
					t.Errorf("%s has the mode %v, want %v", path, st.Mode(), want)
				}
			}
		})
	}
}
