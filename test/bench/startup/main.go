// Command bench compares how long sandboxes take from start to exit of /bin/true.
//
// The contenders take turns, A B C A B C..., so that whatever else the machine does hits all of them alike, and
// ratios from one run can be trusted where times cannot. Each start is a vfork and an exec from this small process.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// report is what -json writes.
type report struct {
	Title    string        `json:"title"`
	When     time.Time     `json:"when"`
	Kernel   string        `json:"kernel"`
	Rounds   int           `json:"rounds"`
	Starts   []measurement `json:"starts"`
	MemoryMB float64       `json:"supervisor_resident_mb,omitempty"`
	Calls    *calls        `json:"calls,omitempty"`
	Targets  []target      `json:"targets"`
	Missing  []string      `json:"missing"` // contenders that are not installed
}

func main() {
	title := flag.String("title", "start-up", "what the table is called")
	rounds := flag.Int("rounds", 200, "how often each contender is started")
	only := flag.String("only", "", "measure only contenders whose name contains `TEXT`")
	many := flag.Bool("many-mounts", false, "judge by the targets for a host with many mounts")
	withCalls := flag.Bool("calls", false, "also measure what the filter adds to a system call")
	withMemory := flag.Bool("memory", false, "also measure the supervisor's resident memory")
	file := flag.String("json", "", "also write the figures to `FILE`")
	tree := flag.String("tree", ".", "the source tree, with bin/ built")
	flag.Parse()
	if err := run(*title, *rounds, *only, *many, *withCalls, *withMemory, *file, *tree); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(title string, rounds int, only string, many, withCalls, withMemory bool, file, tree string) error {
	tree, err := filepath.Abs(tree)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return fmt.Errorf("run it as an ordinary user: `make bench` does")
	}
	work, err := os.MkdirTemp("", "jail-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	list, missing, err := contenders(tree, work, only)
	if err != nil {
		return err
	}
	r := report{Title: title, When: time.Now().UTC(), Kernel: kernel(), Rounds: rounds, Missing: missing}
	if r.Starts, err = measure(list, rounds); err != nil {
		return err
	}
	if withMemory {
		if r.MemoryMB, err = supervisorMemory(tree); err != nil {
			return fmt.Errorf("supervisor's memory: %w", err)
		}
	}
	if withCalls {
		if r.Calls, err = measureCalls(tree); err != nil {
			return fmt.Errorf("cost of a system call: %w", err)
		}
	}
	r.Targets = targets(r, many)
	r.print(os.Stdout)
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
