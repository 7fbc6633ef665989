package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"jail/netsetup"
	"jail/sandbox/running"
)

// netCmd is about the networks of running sandboxes.
type netCmd struct {
	Log netLogCmd `cmd:"" help:"What the network refused, and what to write to allow it."`
	Top netTopCmd `cmd:"" help:"What the sandbox has sent and received, by destination."`
}

// Help is the text below the command's first line.
func (netCmd) Help() string {
	return "For sandboxes whose profile has 'network: {mode: veth}'."
}

func (netCmd) examples() []example {
	return []example{
		{"jail net log firefox", "What the running firefox was refused."},
		{"jail net top --watch firefox", "What it exchanges with whom, every second anew."},
	}
}

type netLogCmd struct {
	Name   string `arg:"" name:"name" complete:"running" placeholder:"NAME" help:"The sandbox: its name, the process id of its supervisor, or its profile or program where that means one."`
	JSON   bool   `name:"json" help:"Print a JSON object a line."`
	Follow bool   `name:"follow" short:"f" help:"Wait for what comes, until the sandbox ends."`
}

// Help is the text below the command's first line.
func (netLogCmd) Help() string {
	return "Each destination is in it once: the time, the program where it could be found, name or address and port, the rule that decided, and the rule that would allow it."
}

func (netLogCmd) examples() []example {
	return []example{
		{"jail net log firefox", "What the running firefox was refused."},
		{"jail net log --follow --json 4711", "The same for the sandbox of process 4711, as it happens, for a program."},
	}
}

// Run prints the log.
func (c *netLogCmd) Run(a *app) error {
	box, err := findWithNetwork(c.Name)
	if err != nil {
		return err
	}
	defer box.Close()
	var log *os.File
	var rest []byte
	for {
		ended := c.Follow && box.Wait(200*time.Millisecond)
		if log == nil {
			if log, err = box.OpenFile(logLabel); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if log != nil {
			text, err := io.ReadAll(log)
			if err != nil {
				return fmt.Errorf("read the network's log: %w", err)
			}
			if rest, err = c.print(a, append(rest, text...)); err != nil {
				return err
			}
		}
		if ended || !c.Follow {
			return nil
		}
	}
}

// print prints the whole lines of a text and gives back what is left.
func (c *netLogCmd) print(a *app, text []byte) ([]byte, error) {
	for {
		line, rest, whole := strings.Cut(string(text), "\n")
		if !whole {
			return text, nil
		}
		text = []byte(rest)
		if c.JSON {
			if _, err := fmt.Fprintf(a.out, "%s\n", escapeJSON([]byte(line))); err != nil {
				return nil, err
			}
			continue
		}
		var e netsetup.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("read the network's log: %w", err)
		}
		what, hint := refusal(e)
		if hint != "" {
			hint = "\n         " + hint
		}
		if _, err := fmt.Fprintf(escapeLines{a.out}, "%s %s%s\n", e.Time.Local().Format(time.TimeOnly), strings.TrimPrefix(what, "network: "), hint); err != nil {
			return nil, err
		}
	}
}

// findWithNetwork finds a running sandbox that has a network of its own.
func findWithNetwork(name string) (*running.Sandbox, error) {
	box, err := running.Find(name)
	if err != nil {
		return nil, err
	}
	if mode := box.Network["mode"]; mode != "veth" {
		box.Close()
		return nil, &hinted{fmt.Errorf("the sandbox %s has network mode %s, which neither refuses nor counts anything", box.Name, mode), "set network.mode: veth in its profile"}
	}
	return box, nil
}
