package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
)

type planCmd struct {
	sandboxFlags `embed:""`
	program      `embed:""`
}

// Help is the text below the command's first line.
func (planCmd) Help() string {
	return "Nothing is started. Each step is shown with the line of the profile that asked for it."
}

func (planCmd) examples() []example {
	return []example{
		{"jail plan -p browser -- firefox", "What would be done to start firefox."},
	}
}

func (p *planCmd) launch(a *app, flags []flag, words []string) error {
	compiled, host, err := p.compile(a, flags, words, nil)
	if err != nil {
		return err
	}
	a.warnings(compiled.Warnings)
	setTerminal(compiled.Spec, onTerminal())
	bundle := bundleOf(compiled)
	if err := a.lookForNamespaces(bundle); err != nil {
		return err
	}
	config, err := networkOf(bundle.Spec)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.out)
	if config != nil {
		if err := foresee(escapeLines{out}, bundle, config); err != nil {
			return err
		}
	}
	plan, err := a.plan(bundle, config, compiled.HostDirs...)
	if err != nil {
		return err
	}
	for _, dir := range compiled.HostDirs {
		if _, err := host.FS.Lstat(dir.Path); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(escapeLines{out}, "  -  jail    make the folder %s  # %s\n", dir.Path, dir.Origin)
		}
	}
	if _, err := plan.WriteTo(escapeLines{out}); err != nil {
		return err
	}
	return out.Flush()
}
