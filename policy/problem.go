package policy

import (
	"errors"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a profile, with all a reader needs to mend it.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key,omitempty"` // dotted, with list places: filesystem[2].mode
	Cause  string `json:"cause"`
	Fix    string `json:"fix,omitempty"`
}

// Error gives "file:line:column: key: cause (fix)". Everything that came from a
// profile is escaped, so that no control character reaches a terminal
// (CVE-2023-28101).
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(printable(p.File))
	if p.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Line))
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Column))
	}
	if p.Key != "" {
		b.WriteString(": ")
		b.WriteString(printable(p.Key))
	}
	b.WriteString(": ")
	b.WriteString(printable(p.Cause))
	if p.Fix != "" {
		b.WriteString(" (")
		b.WriteString(printable(p.Fix))
		b.WriteByte(')')
	}
	return b.String()
}

// Problems is the error that Load and Resolve return: all problems found in one
// go, in the order of the files.
type Problems []Problem

// Error gives one line a problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// AsProblems gives the problems inside err; an error of another kind becomes a
// single problem without a place.
func AsProblems(err error) Problems {
	if err == nil {
		return nil
	}
	var ps Problems
	if errors.As(err, &ps) {
		return ps
	}
	var p Problem
	if errors.As(err, &p) {
		return Problems{p}
	}
	return Problems{{File: "jail", Cause: err.Error()}}
}

// err gives ps as an error, nil when there is none: a nil Problems inside a
// non-nil error interface would read as a failure.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func problemAt(o Origin, key, cause, fix string) Problem {
	return Problem{File: o.File, Line: o.Line, Column: o.Column, Key: key, Cause: cause, Fix: fix}
}

// printable escapes what could move a terminal's cursor or hide text: control
// characters, the bidirectional overrides, and bytes that are not UTF-8.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if !isPrintable(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isPrintable(r) {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

func isPrintable(r rune) bool {
	return strconv.IsPrint(r)
}
