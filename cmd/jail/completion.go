package main

import (
	_ "embed"

	"fmt"
)

type completionCmd struct {
	Shell string `arg:"" name:"shell" placeholder:"SHELL" complete:"shell" help:"bash, zsh or fish."`
}

// Help is the text below the command's first line.
func (completionCmd) Help() string {
	return "The script asks jail itself for what can follow: commands, flags, profiles, keys of the language, running sandboxes. What stands behind the program is completed as for the program."
}

func (completionCmd) examples() []example {
	return []example{
		{`eval "$(jail completion bash)"`, "In ~/.bashrc; packages put it into share/bash-completion/completions/jail."},
		{`eval "$(jail completion zsh)"`, "In ~/.zshrc, behind compinit."},
		{"jail completion fish | source", "In ~/.config/fish/config.fish."},
	}
}

//go:embed completion/jail.bash
var bashCompletion string

//go:embed completion/jail.zsh
var zshCompletion string

//go:embed completion/jail.fish
var fishCompletion string

// Run prints the script for a shell.
func (c *completionCmd) Run(a *app) error {
	shell, err := shellOf(c.Shell)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.out, map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[shell])
	return err
}
