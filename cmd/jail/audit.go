package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox"
	"jail/sandbox/audit"
	"jail/sandbox/audit/check"
)

type auditCmd struct {
	Profile string `arg:"" optional:"" name:"profile" complete:"profile" placeholder:"P" help:"Profile file (with .yaml) or name. Without it the one named default."`
	With    string `name:"with" placeholder:"COMMAND" help:"Audit another tool: COMMAND, of words between spaces, starts its sandbox; {} in it stands for the probe, which otherwise comes last, and {dir} for the folder that the probe must find under the same path."`
	All     bool   `name:"all" help:"List every check, with its answers and its source."`
	JSON    bool   `name:"json" help:"Print a JSON object with every check."`
}

// Help is the text below the command's first line.
func (auditCmd) Help() string {
	return `Plants bait outside: a home with keys in it, files in /tmp, a process, sockets, System V objects, a key, variables, open files. Then a small program tries to reach all of it and much of the kernel, first without a sandbox and then inside. Both runs are harmless; the bait is taken away at the end, and your own home is not looked at. With --with it lies in a folder of your home, which is what other tools hide.

What goes through outside and not inside has held. What goes through inside has failed, unless the profile means it to, which is said with the words of the profile. What does not go through outside either proves nothing and is counted by itself.

Exits with 1 when something does not hold that the profile promises. Another tool has promised nothing: --with only counts.`
}

func (auditCmd) examples() []example {
	return []example{
		{"jail audit", "Does the default profile hold on this machine?"},
		{"jail audit --all firefox | less", "Every check of one profile, and where it comes from."},
		{"jail audit agent | grep granted", "What a profile gives away."},
		{"jail audit --with 'bwrap --unshare-all --ro-bind / / --dev /dev {}'", "The same attempts in another tool's sandbox."},
	}
}

// auditReport is what --json prints.
type auditReport struct {
	Profile string `json:"profile,omitempty"`
	Command string `json:"command,omitempty"`
	Jail    string `json:"jail"`
	Kernel  string `json:"kernel"`
	User    int    `json:"uid"`
	*audit.Report
}

// Run audits a sandbox.
func (c *auditCmd) Run(a *app) error {
	if c.With != "" && c.Profile != "" {
		return &hinted{errors.New("--with audits another tool, which has no profile"), "leave out one of both"}
	}
	ref, err := profilePath(cmp.Or(c.Profile, defaultProfile))
	if err != nil {
		return err
	}
	host, err := a.host()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	place, probes := audit.Place, audit.Place
	if c.With != "" && unix.Access(host.Home, unix.W_OK) == nil {
		// What other tools hide is the home that the account has, and some have a /var/tmp of their own.
		place, probes = host.Home, os.TempDir()
	}
	planted, err := audit.Plant(place, probes, host.ConfigHome, host.CacheHome)
	if err != nil {
		return err
	}
	defer planted.Close()
	promises := func(check.Check) string { return "" }
	launch := withCommand(c.With, planted.ProbeDir)
	if c.With == "" {
		if promises, err = a.promises(ref, planted); err != nil {
			return err
		}
		launch = func(words []string) []string {
			return slices.Concat([]string{self, "run", "-p", ref, "--no-project", "--ro", colons(planted.ProbeDir), "--"}, words)
		}
	}
	outside, err := planted.Look(ctx, nil)
	if err != nil {
		return fmt.Errorf("the control run: %w", err)
	}
	inside, err := planted.Look(ctx, launch)
	if err != nil {
		return fmt.Errorf("the run inside: %w", err)
	}
	var name unix.Utsname
	_ = unix.Uname(&name)
	r := &auditReport{Command: c.With, Jail: version, Kernel: unix.ByteSliceToString(name.Release[:]), User: os.Getuid(),
		Report: audit.Judge(outside, inside, promises)}
	if c.With == "" {
		r.Profile = cmp.Or(c.Profile, defaultProfile)
	}
	if c.JSON {
		err = a.printJSON(r)
	} else {
		a.printAudit(r, c.All)
	}
	if err == nil && c.With == "" && r.Counts[audit.Failed] > 0 {
		err = exitStatus(exitFound)
	}
	return err
}

// profilePath keeps the meaning of a profile's path when the sandbox is started in another folder.
func profilePath(ref string) (string, error) {
	if !strings.HasSuffix(ref, ".yaml") {
		return ref, nil
	}
	return filepath.Abs(ref)
}

// colons writes a path so that --ro takes it as one.
func colons(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

// withCommand puts the probe into another tool's command line.
func withCommand(command, dir string) audit.Launcher {
	return func(words []string) []string {
		var all []string
		put := false
		for word := range strings.FieldsSeq(command) {
			if word == "{}" {
				all, put = append(all, words...), true
				continue
			}
			all = append(all, strings.ReplaceAll(word, "{dir}", dir))
		}
		if !put {
			all = append(all, words...)
		}
		return all
	}
}

// promises compiles the profile as the run will, in the bait's home.
func (a *app) promises(ref string, planted *audit.Planted) (func(check.Check) string, error) {
	for _, kv := range planted.Env {
		name, value, _ := strings.Cut(kv, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	host, err := a.host()
	if err != nil {
		return nil, err
	}
	host.Cwd = planted.Bait.Home + "/project"
	compiled, err := throughEveryStage(ref, host)
	if err != nil {
		return nil, err
	}
	landlock, _ := sandbox.ProbeLandlock() // 0 where there is none
	bundle := bundleOf(compiled)
	if err := a.lookForNamespaces(bundle); err != nil {
		return nil, err
	}
	return audit.Promises(compiled.Spec, &planted.Bait, landlock, bundle.NoNamespaces != nil), nil
}
