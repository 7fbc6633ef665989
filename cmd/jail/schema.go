package main

import "jail/policy"

type schemaCmd struct{}

// Help is the text below the command's first line.
func (schemaCmd) Help() string {
	return "An editor with a YAML language server completes keys and marks mistakes with it."
}

func (schemaCmd) examples() []example {
	return []example{
		{"jail schema > ~/.config/jail/profile.schema.json", "Then start a profile with the line '# yaml-language-server: $schema=profile.schema.json'."},
	}
}

// Run prints the schema.
func (schemaCmd) Run(a *app) error {
	_, err := a.out.Write(policy.Schema())
	return err
}
