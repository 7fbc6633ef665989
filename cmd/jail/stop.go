package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox"
	"jail/sandbox/running"
)

type stopCmd struct {
	Names []string      `arg:"" optional:"" name:"name" complete:"running" placeholder:"NAME..." help:"Sandboxes, as jail ps lists them."`
	All   bool          `name:"all" help:"End all of your running sandboxes."`
	Time  time.Duration `name:"time" default:"5s" placeholder:"DURATION" help:"How long the programs may take to end after SIGTERM, 5s by default; 0s ends them at once."`
}

// Help is the text below the command's first line.
func (stopCmd) Help() string {
	return "Each program gets SIGTERM. A sandbox that is there still when the time is up is ended with all that runs in it. The command returns when all are gone."
}

func (stopCmd) examples() []example {
	return []example{
		{"jail stop firefox", "End the sandbox that runs firefox."},
		{"jail stop --all --time 0s", "End everything now."},
	}
}

// Run ends sandboxes.
func (c *stopCmd) Run(a *app) error {
	switch {
	case c.Time < 0:
		return fmt.Errorf("--time: %v is negative", c.Time)
	case c.All && len(c.Names) > 0:
		return errors.New("--all and names: say one of them")
	case !c.All && len(c.Names) == 0:
		return &hinted{errors.New("no sandbox named"), "jail stop NAME..., or jail stop --all; jail ps lists the sandboxes"}
	}
	boxes, errs := c.find()
	var wg sync.WaitGroup
	results := make([]error, len(boxes))
	for i, box := range boxes {
		wg.Go(func() {
			defer box.Close()
			results[i] = stop(box, c.Time)
		})
	}
	wg.Wait()
	failed := false
	for _, err := range append(errs, results...) {
		if err != nil {
			a.err.line(red, "jail:", err.Error(), hintOf(err))
			failed = true
		}
	}
	if failed {
		return exitStatus(exitRefused)
	}
	return nil
}

// find holds all that is to be stopped before anything is: one name that is wrong does not keep the others running.
func (c *stopCmd) find() (boxes []*running.Sandbox, errs []error) {
	names := c.Names
	if c.All {
		states, err := running.List()
		if err != nil {
			return nil, []error{err}
		}
		for _, s := range states {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		box, err := running.Find(name)
		var gone *running.FindError
		switch {
		case err == nil:
			boxes = append(boxes, box)
		case c.All && errors.As(err, &gone): // it has ended by itself
		default:
			errs = append(errs, err)
		}
	}
	return boxes, errs
}

// stop ends one sandbox and waits for its end.
func stop(box *running.Sandbox, patience time.Duration) error {
	if patience > 0 {
		for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGCONT} { // a stopped program takes no SIGTERM
			if err := box.Signal(s); err != nil {
				return err
			}
		}
		if box.Wait(patience) {
			return nil
		}
	}
	if err := box.Kill(); err != nil {
		return err
	}
	if !box.Wait(sandbox.Grace) {
		return &hinted{fmt.Errorf("the sandbox %s is ended but its jail (process %d) is still there", box.Name, box.Supervisor),
			fmt.Sprintf("it may be stopped or have unread output: kill -CONT %d, or kill -KILL %d", box.Supervisor, box.Supervisor)}
	}
	return nil
}
