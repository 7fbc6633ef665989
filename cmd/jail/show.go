package main

import "jail/policy"

// resolve takes a profile as far as it goes without a program.
func (a *app) resolve(ref string) (*policy.Resolved, error) {
	host, err := a.host()
	if err != nil {
		return nil, err
	}
	profile, err := policy.Load(ref, host)
	if err != nil {
		return nil, err
	}
	resolved, err := profile.Resolve(host)
	if err != nil {
		return nil, err
	}
	a.warnings(resolved.Warnings)
	return resolved, nil
}
