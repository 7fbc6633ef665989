package sandbox

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// rowsOf lowers steps and gives their rows.
func rowsOf(steps ...step) []call {
	a := &assembler{root: arg{v: numSlots - 1, slot: true}}
	for _, s := range steps {
		s.lower(a)
	}
	return a.rows
}

// TestCallsOfOneMore counts the system calls of one more of what a profile has many of: each is made in every start.
func TestCallsOfOneMore(t *testing.T) {
	for _, c := range []struct {
		what string
		make func(n int) step
		most int
	}{
		{"hidden file", func(n int) step { return maskFile{fmt.Sprintf("/proc/file%d", n)} }, 5},
		{"hidden directory", func(n int) step { return maskDirectory{fmt.Sprintf("/proc/dir%d", n)} }, 5},
		{"link in a directory", func(n int) step { return makeLink{"/dev", fmt.Sprintf("link%d", n), "target"} }, 1},
		{"file to mount on in a directory", func(n int) step { return mountPoint{"/dev", []string{fmt.Sprintf("file%d", n)}, true} }, 2},
		{"bind mount", func(n int) step {
			return bindMount{source: source{path: fmt.Sprintf("/srv/%d", n)}, dest: fmt.Sprintf("/srv/%d", n), attr: unix.MOUNT_ATTR_RDONLY}
		}, 8},
	} {
		one, two := len(rowsOf(c.make(1))), len(rowsOf(c.make(1), c.make(2)))
		if two-one > c.most {
			t.Errorf("one more %s takes %d calls, want at most %d", c.what, two-one, c.most)
		}
	}
}

// TestDirectoryIsOpenedAnewOnceCovered: what is made in a directory after something was mounted over it, or over one
// above it, belongs on the mount.
func TestDirectoryIsOpenedAnewOnceCovered(t *testing.T) {
	for dest, covers := range map[string]bool{"/a/b": true, "/a": true, "/a/b/c": false, "/a/bc": false, "/x": false} {
		for _, over := range []step{
			bindMount{source: source{path: "/srv"}, dest: dest}, coverReadonly{dest}, maskDirectory{dest}, pinDirectory{dest},
			newMount{fstype: "tmpfs", dest: dest}, attachRoom{name: "room", dest: dest},
		} {
			rows := rowsOf(makeLink{"/a/b", "one", "x"}, over, makeLink{"/a/b", "two", "x"})
			// Only a row that opens the directory comes before the link when it has to be opened again.
			again := rows[len(rows)-2].nr == unix.SYS_OPENAT2
			if again != covers {
				t.Errorf("%v: opened again: %t, want %t", over, again, covers)
			}
		}
	}
}
