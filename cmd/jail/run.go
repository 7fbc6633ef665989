package main

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"

	"jail/policy"
	"jail/sandbox"
	"jail/sandbox/cgroup"
)

type runCmd struct {
	sandboxFlags `embed:""`
	Report       reportFormat `name:"report" optional:"text" placeholder:"FORMAT" help:"Say at the end what the run took: time, memory, processes, input and output. FORMAT is text or json."`
	ReportFile   string       `name:"report-file" placeholder:"FILE" help:"Write the report to FILE instead of standard error."`
	Detach       bool         `name:"detach" short:"d" help:"Run in the background: print the sandbox's name when the program runs, and end. Its output is kept for 'jail logs'."`
	StatusFD     string       `name:"status-fd" placeholder:"FD" help:"Write to descriptor FD what becomes of the sandbox, for another program: a JSON object a line."`
	Bundle       string       `name:"bundle" placeholder:"DIR" help:"Run the OCI bundle in DIR, wherever it was made, instead of a profile and a program."`
	program      `embed:""`
}

// Help is the text below the command's first line.
func (runCmd) Help() string {
	return `Without --profile the profile named like the program is taken, and if there is none the one named default, which lets a program read the system and nothing else.

Flags that change the profile count as one more file that extends it: of two for the same path or key the later one wins, and what --hide hides stays hidden, wherever it stands.

With --detach the program gets no input and no terminal, and lives on when the shell that began it is gone; 'jail ps' lists it, 'jail logs' prints what it says, 'jail wait' has its exit code, 'jail stop' ends it. When you log out for good, systemd ends it where the session is set to leave nothing behind (KillUserProcesses), and one with limits in any case: loginctl enable-linger keeps both.

The exit code is the program's own, 128+n when signal n ended it, 125 when jail failed or refused, 126 when the program cannot be executed and 127 when it was not found.`
}

func (runCmd) examples() []example {
	return []example{
		{"jail firefox", "Run firefox with the profile of that name."},
		{"jail --profile browser.yaml firefox --private-window", "With a profile file; --private-window is firefox's."},
		{"jail -p build --bind . -- make -j4", "With a shipped profile and the working directory read-write."},
		{"jail --hide '~/work/**/.env' -p shell bash", "Hide files that the profile would show."},
		{"jail --set network.mode=none curl localhost", "Change any key of the profile for this run."},
		{"jail --report=json --report-file took.json -p build make", "Keep what a build took, for a program to read."},
		{"jail run -d --name web -p http-server python3 -m http.server", "In the background; jail logs web prints what it says."},
		{"jail -- show", "Run a program called show, which is also a command of jail's."},
	}
}

func (r *runCmd) launch(a *app, flags []flag, words []string) error {
	if r.Detach {
		if r.StatusFD != "" {
			return errors.New("--status-fd and --detach: say one of them; jail wait tells how a sandbox in the background ended")
		}
		return a.detach(flags, words)
	}
	if r.Bundle != "" {
		return r.launchBundle(a, flags, words)
	}
	compiled, host, err := r.compile(a, flags, words, func(p *policy.Profile) {
		if p.AsksForLimits() || r.reports() {
			a.survey = cgroup.Look()
		}
	})
	if err != nil {
		return err
	}
	a.warnings(compiled.Warnings)
	if err := makeHostDirs(compiled.HostDirs, host.StateHome); err != nil {
		return err
	}
	told, err := r.told(a)
	if err != nil {
		return err
	}
	setTerminal(compiled.Spec, onTerminal())
	err = a.start(bundleOf(compiled), host, told)
	var failed *sandbox.Error
	if errors.As(err, &failed) && failed.Exit == 127 {
		if meant := policy.SimilarProgram(host, words[0]); meant != "" {
			failed.Hint = meant
		} else if _, err := exec.LookPath(words[0]); errors.Is(err, exec.ErrNotFound) {
			failed.Hint = "there is no program of that name on the PATH outside either; jail --help lists the commands"
		}
	}
	return err
}

// launchBundle runs what another tool, or `jail compile`, wrote.
func (r *runCmd) launchBundle(a *app, flags []flag, words []string) error {
	if len(words) > 0 {
		return fmt.Errorf("%s: a bundle names its own program", words[0])
	}
	for _, f := range flags {
		if !slices.Contains([]string{"bundle", "verbose", "name", "report", "report-file", "detach", "status-fd"}, f.name) {
			return fmt.Errorf("--%s: a bundle has no profile that could be changed; edit its config.json", f.name)
		}
	}
	host, err := a.host()
	if err != nil {
		return err
	}
	bundle, err := readBundle(r.Bundle)
	if err != nil {
		return err
	}
	bundle.Own = ownPaths(bundle.Dir, host)
	if err := r.name(bundle.Spec); err != nil {
		return err
	}
	if bundle.Spec.Process != nil {
		// Whatever the bundle says of terminals: the caller's own is not handed in (CVE-2017-5226), unless an
		// annotation says so in words.
		setTerminal(bundle.Spec, onTerminal())
	}
	told, err := r.told(a)
	if err != nil {
		return err
	}
	return a.start(bundle, host, told)
}

// told is who is told of the run beside the caller.
type told struct {
	report *report
	status *status
}

// told opens what is to be written to, before anything is started.
func (r *runCmd) told(a *app) (told, error) {
	report, err := r.wanted()
	if err != nil {
		return told{}, err
	}
	status, err := a.statusAt(r.StatusFD)
	return told{report, status}, err
}
