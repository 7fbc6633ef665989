package cgroup

import (
	"strings"
)

// A Refused is a limit that cannot be applied here.
type Refused struct {
	Controller string // memory, io, ...; empty when the whole group could not be made
	File       string // the kernel's file, memory.max
	Value      string // what should have been written
	Pointer    string // JSON pointer into the OCI spec to what asked for it
	Place      string // the cgroup or hierarchy in question
	Reason     string // why not
	Remedy     string // what to do, exactly
	Err        error  // what the system said
}

// Error says all of it in one line, and the remedy in a second.
func (r *Refused) Error() string {
	var b strings.Builder
	switch {
	case r.File != "" && r.Value != "":
		b.WriteString("limit " + r.File + "=" + r.Value + " cannot be applied")
	case r.File != "":
		b.WriteString("limit " + r.File + " cannot be applied")
	case r.Controller != "":
		b.WriteString("limits on " + r.Controller + " cannot be applied")
	default:
		b.WriteString("no control group can be made for the limits")
	}
	if r.Place != "" {
		b.WriteString(" in " + r.Place)
	}
	b.WriteString(": " + r.Reason)
	if r.Err != nil {
		b.WriteString(": " + r.Err.Error())
	}
	if r.Remedy != "" {
		b.WriteString("\nhint: " + r.Remedy)
	}
	return b.String()
}

// Unwrap gives what the system said.
func (r *Refused) Unwrap() error { return r.Err }

// Refusals are all the limits that cannot be applied, told in one go.
type Refusals []*Refused

// Error lists them; a remedy that several share is told once.
func (rs Refusals) Error() string {
	var b strings.Builder
	for i, r := range rs {
		text := r.Error()
		if i+1 < len(rs) && rs[i+1].Remedy == r.Remedy {
			text, _, _ = strings.Cut(text, "\nhint: ")
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(text)
	}
	return b.String()
}

// Unwrap gives the single ones.
func (rs Refusals) Unwrap() []error {
	all := make([]error, len(rs))
	for i, r := range rs {
		all[i] = r
	}
	return all
}

// of makes one refusal for a setting, with the setting's place in the spec.
func (s setting) refused(place, reason, remedy string, err error) *Refused {
	return &Refused{
		Controller: s.controller, File: s.file, Value: s.value, Pointer: s.pointer,
		Place: place, Reason: reason, Remedy: remedy, Err: err,
	}
}
