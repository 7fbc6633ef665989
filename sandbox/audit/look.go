package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"jail/sandbox/audit/check"
)

// A Launcher gives the command that runs some words in a sandbox.
type Launcher func(words []string) []string

// patience is how long one run of the probe may take.
const patience = 3 * time.Minute

// Look runs the probe: in what the launcher makes, or for nil without any sandbox, which is the control run.
func (p *Planted) Look(ctx context.Context, launch Launcher) ([]check.Finding, error) {
	bait := p.Bait
	bait.Outside = launch == nil
	text, err := json.Marshal(bait)
	if err != nil {
		return nil, err
	}
	words := []string{p.probe, "run", string(text)}
	if launch != nil {
		words = launch(words)
	}
	// A file of the outside, open for writing only, as standard error often is.
	stderr, err := os.OpenFile(bait.Stderr, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("plant bait: %w", err)
	}
	defer stderr.Close()
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.ExtraFiles = p.Bait.Home+"/project", p.Env, stderr, p.leaked
	cmd.WaitDelay = 5 * time.Second
	if p.terminal != nil {
		cmd.Stdin, cmd.SysProcAttr = p.terminal.slave, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	out, err := cmd.Output()
	if err != nil {
		said, _ := os.ReadFile(p.dir + "/stderr")
		return nil, fmt.Errorf("%s: %w\n%s", words[0], err, lastLines(string(said)))
	}
	var all []check.Finding
	for line := range bytes.Lines(out) {
		// What was typed into a terminal may stand before, and a sandbox may have words of its own.
		at := bytes.IndexByte(line, '{')
		var f check.Finding
		if at < 0 || json.Unmarshal(line[at:], &f) != nil {
			continue
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: the probe found nothing to say", words[0])
	}
	return all, nil
}

// lastLines is the end of what a command said, without what the loader says of the bait.
func lastLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "ld.so: object") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
