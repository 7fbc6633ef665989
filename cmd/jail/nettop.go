package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"jail/netsetup"
)

type netTopCmd struct {
	Name  string `arg:"" name:"name" complete:"running" placeholder:"NAME" help:"The sandbox: its name, the process id of its supervisor, or its profile or program where that means one."`
	JSON  bool   `name:"json" help:"Print a JSON array; with --watch one a line."`
	Watch bool   `name:"watch" short:"w" help:"Print it anew every second, until the sandbox ends."`
}

// Help is the text below the command's first line.
func (netTopCmd) Help() string {
	return "Connections that have ended count too. What came in by a published port is shown as 'from' the address that it came from."
}

func (netTopCmd) examples() []example {
	return []example{
		{"jail net top firefox", "What the running firefox has exchanged with whom."},
		{"jail net top --watch --json firefox", "The same every second, for a program."},
	}
}

// Run prints the totals.
func (c *netTopCmd) Run(a *app) error {
	box, err := findWithNetwork(c.Name)
	if err != nil {
		return err
	}
	defer box.Close()
	pid, _ := strconv.Atoi(box.Network[factGateway])
	addr, err := netip.ParseAddr(box.Network[factAddress])
	if err != nil {
		return fmt.Errorf("the sandbox %s is not up yet", box.Name)
	}
	watch, err := netsetup.OpenWatch(pid, addr)
	if err != nil {
		return fmt.Errorf("the sandbox %s: %w", box.Name, err)
	}
	defer watch.Close()
	screen := c.Watch && !c.JSON && isTerminal(os.Stdout)
	for first := true; ; first = false {
		totals, err := watch.Totals()
		if err != nil {
			if !first {
				return nil // the sandbox has ended
			}
			return fmt.Errorf("the sandbox %s: its network has ended", box.Name)
		}
		slices.SortFunc(totals, func(x, y netsetup.Total) int {
			return cmp.Or(cmp.Compare(y.Out+y.In, x.Out+x.In), cmp.Compare(x.Name, y.Name), x.Addr.Compare(y.Addr), cmp.Compare(x.Port, y.Port), cmp.Compare(x.Proto, y.Proto))
		})
		if screen {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J")
		}
		if err := c.print(a.out, totals); err != nil || !c.Watch {
			return err
		}
		if box.Wait(time.Second) {
			return nil
		}
	}
}

func (c *netTopCmd) print(out io.Writer, totals []netsetup.Total) error {
	if c.JSON {
		text, err := json.Marshal(totals)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s\n", escapeJSON(text))
		return err
	}
	rows := [][]string{{"OUT", "IN", "OPEN", "ALL", "PROTO", "DESTINATION"}}
	for _, t := range totals {
		rows = append(rows, []string{size(t.Out), size(t.In), strconv.Itoa(t.Open), strconv.Itoa(t.Flows), t.Proto, escape(destinationText(t))})
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%9s %9s %5s %6s  %-5s  %s\n", r[0], r[1], r[2], r[3], r[4], r[5])
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func destinationText(t netsetup.Total) string {
	if !t.Addr.IsValid() {
		return "others"
	}
	port := strconv.Itoa(int(t.Port))
	at := net.JoinHostPort(t.Addr.String(), port)
	switch {
	case t.Published:
		return "from " + t.Addr.String() + " to port " + port
	case t.Name != "":
		return t.Name + ":" + port + " (" + t.Addr.String() + ")"
	}
	return at
}

// size writes bytes for people.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i]
}
