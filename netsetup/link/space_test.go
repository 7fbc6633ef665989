package link

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

// A list that a change came into is asked for again; where changes go on, the error comes back.
func TestWhole(t *testing.T) {
	asked := 0
	got, err := Whole(func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || len(got) != 2 || asked != 3 {
		t.Errorf("after %d questions %v, %v", asked, got, err)
	}
	if _, err = Whole(func() ([]int, error) { return []int{1}, netlink.ErrDumpInterrupted }); !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Errorf("a list that never holds still: %v", err)
	}
	asked = 0
	other := errors.New("no such link")
	if _, err = Whole(func() ([]int, error) { asked++; return nil, other }); !errors.Is(err, other) || asked != 1 {
		t.Errorf("another error was asked about %d times: %v", asked, err)
	}
}
