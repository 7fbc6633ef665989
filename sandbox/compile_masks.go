package sandbox

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// masks hides and write-protects paths: runtime-spec config-linux.md, "Masked Paths".
func (c *compiler) masks() error {
	for i, p := range c.spec.Linux.ReadonlyPaths {
		pl, there, err := c.coverable(fmt.Sprintf("/linux/readonlyPaths/%d", i), p)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		c.plan.add(inSetup, c.origin(fmt.Sprintf("/linux/readonlyPaths/%d", i)), coverReadonly{pl.path})
	}
	for i, p := range c.spec.Linux.MaskedPaths {
		pointer := fmt.Sprintf("/linux/maskedPaths/%d", i)
		pl, there, err := c.coverable(pointer, p)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if pl.path == "/" {
			return c.failf(pointer, "mask "+p, "the root cannot be masked")
		}
		if pl.mode.IsDir() {
			c.plan.add(inSetup, c.origin(pointer), maskDirectory{pl.path})
		} else {
			c.plan.add(inSetup, c.origin(pointer), maskFile{pl.path})
		}
		c.tree.cover(pl.path, &cover{kind: coverOpaque, file: !pl.mode.IsDir()})
	}
	return nil
}

// coverable finds a path that is to be masked or write-protected. One that does not exist needs no cover (OCI).
// Below a directory that cannot be searched now, but that the program might open again, the directory itself
// stands for it. What cannot be looked at for another reason is an error: the cover would be missing.
func (c *compiler) coverable(pointer, p string) (place, bool, error) {
	if strings.IndexByte(p, 0) >= 0 {
		return place{}, false, c.failf(pointer, "cover "+p, "the path holds a NUL byte")
	}
	pl, err := c.tree.find(p)
	switch {
	case err == nil:
		return pl, len(pl.missing) == 0, nil
	case errors.Is(err, unix.ENOTDIR):
		return pl, false, nil
	case errors.Is(err, unix.EACCES):
		for dir := path.Dir(path.Clean(p)); dir != "/"; dir = path.Dir(dir) {
			if up, err := c.tree.find(dir); err == nil && len(up.missing) == 0 {
				return up, true, nil
			}
		}
	}
	return pl, false, c.fail(pointer, "cover "+p, err)
}
