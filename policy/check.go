package policy

// Check reads and resolves a profile and gives everything wrong with it in one
// go: what Load finds in any of its files, and, when those can be read, what
// Resolve finds on this host. It starts nothing and changes nothing.
func Check(ref string, h *Host, overrides ...Override) Problems {
	p, err := Load(ref, h, overrides...)
	if err != nil {
		return AsProblems(err)
	}
	if _, err := p.Resolve(h); err != nil {
		return AsProblems(err)
	}
	return nil
}
