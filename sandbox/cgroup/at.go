package cgroup

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Folders are the group's folders, one with cgroup v2 and one a hierarchy with v1, for others to read from with At.
func (g *Group) Folders() []string {
	if g == nil {
		return nil
	}
	var all []string
	if g.dir != "" {
		all = append(all, g.dir)
	}
	for _, d := range g.v1 {
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all
}

// At gives a group that another process has made, for its Stats. It must not be closed: it is the other's.
func At(folders []string) *Group {
	g := &Group{file: -1}
	var m *machine
	for _, dir := range folders {
		if unix.Access(filepath.Join(dir, "cgroup.events"), unix.F_OK) == nil {
			g.dir, g.leaf = dir, dir
			continue
		}
		if m == nil {
			var err error
			if m, err = look(""); err != nil {
				return g
			}
			g.v1 = map[string]string{}
		}
		for controller, h := range m.v1 {
			if strings.HasPrefix(dir, h.mount+"/") {
				g.v1[controller] = dir
			}
		}
	}
	return g
}
