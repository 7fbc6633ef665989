package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kill ends every process in the group with SIGKILL and waits until none is left.
func (g *Group) Kill() error {
	if g.dir != "" {
		// cgroup.kill has come with Linux 5.14; it leaves no gap for a fork.
		err := put(filepath.Join(g.dir, "cgroup.kill"), "1")
		if err == nil {
			return g.await()
		}
		if !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("kill cgroup %s: %w", g.dir, err)
		}
	}
	// Frozen processes cannot fork away from under the loop. A SIGKILL ends a frozen process of v2 at once; one of
	// v1 dies when it thaws.
	frozen := g.Freeze(true) == nil
	err := g.killEach()
	if frozen {
		err = errors.Join(err, g.Freeze(false))
	}
	if err != nil {
		return err
	}
	return g.await()
}

func (g *Group) killEach() error {
	for range 100 {
		pids, err := g.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d of cgroup %s: %w", pid, g, err)
			}
		}
		if len(g.v1) > 0 {
			return nil // they die when thawed
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// await waits until the group is empty. A process in an uninterruptible sleep can hold it up.
func (g *Group) await() error {
	for wait := 50 * time.Microsecond; wait < 4*time.Second; wait *= 2 {
		if !g.populated() {
			return nil
		}
		if len(g.v1) > 0 && wait > time.Millisecond {
			_ = g.killEach() // without a freezer some may have forked meanwhile
		}
		time.Sleep(wait)
	}
	pids, _ := g.Processes()
	return fmt.Errorf("cgroup %s still holds %d processes that do not end: %v", g, len(pids), pids)
}

// Freeze stops every process in the group where it stands, or lets them go on.
func (g *Group) Freeze(on bool) error {
	var file, want string
	switch {
	case g.dir != "":
		file, want = filepath.Join(g.dir, "cgroup.freeze"), "0"
		if on {
			want = "1"
		}
	case g.v1["freezer"] != "":
		file, want = filepath.Join(g.v1["freezer"], "freezer.state"), "THAWED"
		if on {
			want = "FROZEN"
		}
	default:
		return errors.New("freeze: this sandbox has no cgroup that can")
	}
	if err := put(file, want); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	for wait := 50 * time.Microsecond; wait < 2*time.Second; wait *= 2 {
		if g.isFrozen() == on {
			return nil
		}
		if g.dir == "" && on {
			_ = put(file, want) // FREEZING gets stuck on v1 when a process forks, and a new try helps
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("freeze: %s did not come to a stop in time", g)
}

func (g *Group) isFrozen() bool {
	if g.dir != "" {
		text, _ := get(filepath.Join(g.dir, "cgroup.events"))
		return keyed(text)["frozen"] == 1
	}
	text, _ := get(filepath.Join(g.v1["freezer"], "freezer.state"))
	return text == "FROZEN"
}

// populated says whether a process lives in the group or below it.
func (g *Group) populated() bool {
	if g.dir != "" {
		text, err := get(filepath.Join(g.dir, "cgroup.events"))
		if err == nil && keyed(text)["populated"] == 1 {
			return true
		}
	}
	if len(g.v1) == 0 {
		return false
	}
	pids, _ := g.Processes()
	return len(pids) > 0
}

// Processes lists the processes in the group and below it, sorted.
func (g *Group) Processes() ([]int, error) {
	var all []int
	dirs := []string{}
	if g.dir != "" {
		dirs = append(dirs, g.dir)
	}
	for _, d := range g.v1 {
		dirs = append(dirs, d)
	}
	for _, top := range dirs {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return ignoreGone(err)
			}
			text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for _, w := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(w); err == nil && pid > 0 {
					all = append(all, pid)
				}
			}
			return ignoreGone(err)
		})
		if err != nil {
			return nil, fmt.Errorf("list the processes of cgroup %s: %w", top, err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// ignoreGone passes over a group that is removed while it is being read: its files answer ENODEV then.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// keyed reads a file of "key value" lines.
func keyed(text string) map[string]uint64 {
	all := map[string]uint64{}
	for line := range strings.SplitSeq(text, "\n") {
		key, value, ok := strings.Cut(line, " ")
		if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); ok && err == nil {
			all[key] = n
		}
	}
	return all
}
