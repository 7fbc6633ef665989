// Command jail-probe tries to do what a sandbox should not let a program do, and says how far it got.
//
//	jail-probe run BAIT     make every check; BAIT is check.Bait in JSON; prints one check.Finding a line
//	jail-probe keep DIR     hold bait in a process outside until standard input ends; prints check.Keeper
//	jail-probe ids          print the ids that this process runs with
//
// It is run twice, outside of the sandbox and inside, so it must be harmless where nothing holds it: calls are made with
// arguments that the kernel rejects after it has looked at the caller's rights, in a process of their own that ends at
// once, and what is opened for writing is never written.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"jail/sandbox/audit/check"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "run":
		os.Exit(supervise(os.Args[2]))
	case len(os.Args) == 4 && os.Args[1] == "work":
		os.Exit(work(os.Args[2], os.Args[3]))
	case len(os.Args) == 3 && os.Args[1] == "keep":
		os.Exit(keep(os.Args[2]))
	case len(os.Args) == 2 && os.Args[1] == "ids":
		fmt.Println(os.Geteuid(), os.Getegid())
	default:
		fmt.Fprintln(os.Stderr, "jail-probe: this program is run by jail audit")
		os.Exit(125)
	}
}

// patience is how long one check may take.
const patience = 15 * time.Second

// supervise has a worker make the checks. A filter may kill it in the middle of one, which is an answer too; another
// worker goes on with the next.
func supervise(bait string) int {
	encode := json.NewEncoder(os.Stdout)
	checks := allChecks()
	var handedOn []*os.File
	for _, fd := range inherited() {
		handedOn = append(handedOn, os.NewFile(uintptr(fd), "inherited"))
	}
	for next := 0; next < len(checks); {
		cmd := exec.Command(os.Args[0], "work", strconv.Itoa(next), bait)
		cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
		cmd.ExtraFiles = handedOn
		lines, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "jail-probe: cannot start itself: %v\n", err)
			return 1
		}
		timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		scan := bufio.NewScanner(lines)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			timer.Reset(patience)
			var f check.Finding
			if json.Unmarshal(scan.Bytes(), &f) == nil && next < len(checks) && f.ID == checks[next].ID {
				_ = encode.Encode(f)
				next++
			}
		}
		timer.Stop()
		_ = cmd.Wait()
		if next < len(checks) {
			f := check.Finding{Check: checks[next].Check, Answer: check.Held, Detail: "the attempt ended its process: " + cmd.ProcessState.String()}
			_ = encode.Encode(f)
			next++
		}
	}
	return 0
}

// work makes the checks from a number on.
func work(from, bait string) int {
	var b check.Bait
	if err := json.NewDecoder(bytes.NewReader([]byte(bait))).Decode(&b); err != nil {
		fmt.Fprintf(os.Stderr, "jail-probe: the bait: %v\n", err)
		return 1
	}
	first, err := strconv.Atoi(from)
	if err != nil {
		return 1
	}
	encode := json.NewEncoder(os.Stdout)
	for _, c := range allChecks()[first:] {
		v := c.try(&b)
		_ = encode.Encode(check.Finding{Check: c.Check, Answer: v.answer, Detail: v.detail})
	}
	return 0
}
