package sandbox

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// overlayFolder holds the overlays among the bundle's files in memory.
const overlayFolder = "overlays"

// overlays mounts the caller's own files over those of the configuration. They lie in memory, also for a bundle in
// a folder: nothing of one start is left for the next.
func (c *compiler) overlays() error {
	for i, o := range c.bundle.Overlays {
		src := path.Join(overlayFolder, strconv.Itoa(i))
		dest, err := c.destination("/annotations", o.Path, true)
		if err != nil {
			return err
		}
		c.tree.cover(dest, &cover{kind: coverOpaque, file: true})
		c.plan.add(inSetup, "", bindMount{source: source{src, true}, dest: dest, attr: readonlyFile})
	}
	return nil
}

const readonlyFile = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// overlayTree is what overlays adds to the bundle's files.
func (c *compiler) overlayTree() []TreeEntry {
	if len(c.bundle.Overlays) == 0 {
		return nil
	}
	tree := []TreeEntry{{Path: overlayFolder, Mode: fs.ModeDir | 0o755}}
	for i, o := range c.bundle.Overlays {
		tree = append(tree, TreeEntry{Path: fmt.Sprintf("%s/%d", overlayFolder, i), Mode: 0o644, Content: o.Content})
	}
	return tree
}
