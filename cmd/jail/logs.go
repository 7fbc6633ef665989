package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"jail/cmd/jail/background"
	"jail/sandbox/running"
)

type logsCmd struct {
	Names  []string `arg:"" optional:"" name:"name" complete:"background" placeholder:"NAME..." help:"Sandboxes that were started with 'jail run --detach'; more than one only with --remove."`
	Follow bool     `name:"follow" short:"f" help:"Wait for what comes, until the sandbox ends."`
	Remove bool     `name:"remove" help:"Remove the logs of sandboxes that have ended, instead of printing one."`
	All    bool     `name:"all" help:"With --remove: all of those that have ended."`
}

// Help is the text below the command's first line.
func (logsCmd) Help() string {
	return `What the program wrote to its standard output and error, and what jail said: warnings, what the network refused, what a limit did. The last 4 to 8 MiB are kept, of the last 100 sandboxes that have ended, below ~/.local/state/jail/background, where no sandboxed program can look.

On a terminal, control characters are printed as text. Otherwise the text is given as it is.`
}

func (logsCmd) examples() []example {
	return []example{
		{"jail logs web", "What the sandbox called web has said so far."},
		{"jail logs --follow web", "The same, and what comes."},
		{"jail logs --remove --all", "Forget all sandboxes that have ended."},
	}
}

// Run prints a log, or removes some.
func (c *logsCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	store := logStore(host)
	switch {
	case c.All && !c.Remove:
		return &hinted{errors.New("--all goes with --remove"), "jail logs --remove --all"}
	case c.All && len(c.Names) > 0:
		return errors.New("--all and names: say one of them")
	case c.Remove && c.Follow:
		return errors.New("--remove and --follow: say one of them")
	case c.Remove:
		return c.remove(a, store)
	case len(c.Names) == 0:
		return &hinted{errors.New("no sandbox named"), "jail logs NAME; jail ps --all lists the sandboxes"}
	case len(c.Names) > 1:
		return errors.New("one log at a time: the words of several sandboxes would mix")
	}
	box, err := keptSandbox(store, c.Names[0])
	if err != nil {
		return err
	}
	out := &logPrinter{out: a.out}
	if isTerminal(os.Stdout) {
		out.lines = escapeLines{a.out}
	}
	if c.Follow {
		err = box.Follow(out)
	} else {
		err = box.Copy(out)
	}
	if err == nil {
		err = out.flush()
	}
	if errors.Is(err, unix.EPIPE) {
		return nil // whoever reads has read enough
	}
	return err
}

func (c *logsCmd) remove(a *app, store background.Store) error {
	var boxes []*background.Sandbox
	if c.All {
		all, err := store.List()
		if err != nil {
			return err
		}
		for i := range all {
			if !all[i].Runs {
				boxes = append(boxes, &all[i])
			}
		}
	} else if len(c.Names) == 0 {
		return &hinted{errors.New("no sandbox named"), "jail logs --remove NAME..., or jail logs --remove --all"}
	}
	for _, name := range c.Names {
		box, err := keptSandbox(store, name)
		if err != nil {
			return err
		}
		boxes = append(boxes, box)
	}
	for _, box := range boxes {
		if err := box.Remove(); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "removed the log of %s\n", escape(box.Name))
	}
	return nil
}

// keptSandbox finds a sandbox in the background, and tells one that runs without a log from one that is not known.
func keptSandbox(store background.Store, name string) (*background.Sandbox, error) {
	box, err := store.Find(name)
	var unknown *background.UnknownError
	if errors.As(err, &unknown) {
		if other, failed := running.Find(name); failed == nil {
			defer other.Close()
			return nil, &hinted{fmt.Errorf("the sandbox %s does not run in the background: what it says goes to where it was started", other.Name),
				"jail run --detach keeps a log; jail net log " + other.Name + " has what its network refused"}
		}
	}
	return box, err
}

// logPrinter prints a log, on a terminal with its control characters escaped, line by line.
type logPrinter struct {
	out   io.Writer
	lines io.Writer // where lines are escaped, or nil
	rest  []byte    // of a line that has not ended
}

func (p *logPrinter) Write(text []byte) (int, error) {
	if p.lines == nil {
		return p.out.Write(text)
	}
	const longest = 64 << 10
	p.rest = append(p.rest, text...)
	whole := bytes.LastIndexByte(p.rest, '\n') + 1
	if whole == 0 && len(p.rest) > longest {
		whole = len(p.rest)
	}
	_, err := p.lines.Write(p.rest[:whole])
	p.rest = append(p.rest[:0], p.rest[whole:]...)
	return len(text), err
}

func (p *logPrinter) flush() error {
	if len(p.rest) == 0 {
		return nil
	}
	_, err := p.lines.Write(append(p.rest, '\n'))
	return err
}

type waitCmd struct {
	Name string `arg:"" name:"name" complete:"background" placeholder:"NAME" help:"A sandbox that was started with 'jail run --detach'."`
}

// Help is the text below the command's first line.
func (waitCmd) Help() string {
	return "Ends as 'jail run' without --detach would have: with the program's own code, or 128+n when signal n ended it. Of one that has ended already the code is there as long as its log."
}

func (waitCmd) examples() []example {
	return []example{{"jail wait nightly", "The exit code of what 'jail run -d --name nightly ...' began."}}
}

// Run waits for the end of a sandbox in the background.
func (c *waitCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	box, err := keptSandbox(logStore(host), c.Name)
	if err != nil {
		return err
	}
	end, err := box.Wait()
	switch {
	case err != nil:
		return err
	case end == nil:
		return fmt.Errorf("how the sandbox %s ended is not known: the process that kept its log was killed, and the sandbox with it", box.Name)
	case end.Code != 0:
		return exitStatus(end.Code)
	}
	return nil
}

// endText says in a word how a sandbox in the background ended.
func endText(box *background.Sandbox) string {
	switch {
	case box.End == nil:
		return "killed"
	case box.End.Signal != "":
		return fmt.Sprintf("%s, %s ago", box.End.Signal, ageText(time.Since(box.End.Ended)))
	}
	return fmt.Sprintf("ended %d, %s ago", box.End.Code, ageText(time.Since(box.End.Ended)))
}
