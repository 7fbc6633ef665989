package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"jail/sandbox"
)

// hinted is an error whose remedy is known. The hint is printed on a line of its own.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// Hint gives the remedy.
func (h *hinted) Hint() string { return h.hint }

// printer writes jail's own lines. Everything it prints may carry text from a profile, a file name
// or a program and is escaped, so that none of it can move the cursor, change colours or reorder a
// line that a person decides on (CVE-2023-28101).
type printer struct {
	out    io.Writer
	colour bool
}

// stderrPrinter prints on standard error, in colour when that is a terminal that wants it.
func stderrPrinter() *printer {
	return &printer{out: os.Stderr, colour: wantsColour(os.Stderr)}
}

// wantsColour follows the convention of no-color.org: any value of NO_COLOR but the empty one.
func wantsColour(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

const (
	bold   = "1"
	red    = "1;31"
	yellow = "1;33"
	green  = "1;32"
	faint  = "2"
)

func (p *printer) paint(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// line prints one line of jail's, and a hint below it.
func (p *printer) line(style, label, text, hint string) {
	lines := p.paint(style, label) + " " + escape(text) + "\n"
	if hint != "" {
		lines += "  " + p.paint(bold, "hint:") + " " + escape(hint) + "\n"
	}
	// One write: lines of several goroutines do not mix.
	fmt.Fprint(p.out, lines)
}

// note prints what --verbose asks for.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.out, "%s\n", p.paint(faint, "jail: "+escape(fmt.Sprintf(format, args...))))
}

// hintOf finds the remedy anywhere in an error's chain.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	var refused *sandbox.Error
	if errors.As(err, &refused) {
		return refused.Hint
	}
	return ""
}

// escape makes text harmless on a terminal: what is not printable, and bytes that are not UTF-8, are
// written as Go writes them in a string. Line feeds too, for text that is one line.
func escape(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return escapeSlow(s)
		}
	}
	return s
}

func escapeSlow(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		i += size
	}
	return b.String()
}

// escapeLines escapes everything that is written through it but tabs and the ends of lines. Each
// write must hold whole characters.
type escapeLines struct{ out io.Writer }

func (e escapeLines) Write(text []byte) (int, error) {
	var b bytes.Buffer
	for part := range bytes.SplitSeq(text, []byte("\n")) {
		for i, cell := range strings.Split(string(part), "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(escape(cell))
		}
		b.WriteByte('\n')
	}
	b.Truncate(b.Len() - 1)
	if _, err := e.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(text), nil
}
