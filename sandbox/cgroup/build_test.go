package cgroup

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A folder that is made while others sweep stays as long as it is held, and no longer. Any folder will do.
func TestNobodySweepsWhatIsBeingMade(t *testing.T) {
	parent := t.TempDir()
	done := make(chan struct{})
	var sweepers, owners sync.WaitGroup
	for owner := range 4 {
		dir := filepath.Join(parent, prefix+strconv.Itoa(owner))
		for range 2 {
			sweepers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						sweepAbandoned(dir)
					}
				}
			})
		}
		owners.Go(func() {
			for range 50 {
				g := &Group{}
				fd, err := g.mkdir(dir)
				if err != nil {
					t.Error(err)
					return
				}
				var held, there unix.Stat_t
				if err := unix.Fstat(fd, &held); err != nil {
					t.Error(err)
				}
				if err := unix.Stat(dir, &there); err != nil || there.Ino != held.Ino {
					t.Errorf("%s is held and gone: %v", dir, err)
				}
				unix.Close(fd)
				for unix.Access(dir, unix.F_OK) == nil {
					runtime.Gosched()
				}
			}
		})
	}
	owners.Wait()
	close(done)
	sweepers.Wait()
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
