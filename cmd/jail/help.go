package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"
)

// example is a line of a help text that can be typed as it stands, and what it does.
type example struct {
	line string
	why  string
}

// exampler is a command with examples in its help.
type exampler interface{ examples() []example }

// helpWidth is that of a terminal of the usual width, and the most that is pleasant to read.
const helpWidth = 80

// page is a text for readers, in lines of at most so many columns.
type page struct {
	strings.Builder
	width int
}

// textWidth is how wide a text may be: helpWidth, or less on a terminal that has less.
func textWidth(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok {
		return helpWidth
	}
	columns := columnsOf(f)
	if columns < 40 {
		return helpWidth
	}
	return min(columns, helpWidth)
}

// columnsOf is the width of a terminal, 0 where nobody has said or it is none: ioctl_tty(2).
func columnsOf(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// usage answers a bare `jail`.
func (a *app) usage() error {
	fmt.Fprint(a.err.out, "usage: jail [--profile P] [FLAGS] PROGRAM [ARGS...]\n       jail COMMAND ...\nTry: jail --help\n")
	return exitStatus(exitRefused)
}

// help prints the help of a command, or of jail when command is empty.
func (a *app) help(command string) error {
	model := newParser(new(grammar)).Model
	for _, node := range model.Children {
		if node.Name == command {
			return a.printHelp(model, node)
		}
	}
	return a.printHelp(model, nil)
}

func (a *app) printHelp(model *kong.Application, node *kong.Node) error {
	b := page{width: textWidth(a.out)}
	if node == nil {
		writeOverview(&b, model)
	} else {
		writeCommand(&b, model, node)
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}

func writeOverview(b *page, model *kong.Application) {
	b.WriteString("Usage: jail [--profile P] [FLAGS] PROGRAM [ARGS...]\n       jail COMMAND ...\n\n")
	writeWrapped(b, model.Help, "")
	b.WriteString("\nCommands:\n")
	var rows [][2]string
	for _, node := range model.Children {
		if !node.Hidden {
			rows = append(rows, [2]string{node.Name, node.Help})
		}
	}
	writeRows(b, rows)
	for _, node := range model.Children {
		if node.Name == "run" {
			writeFlags(b, append(node.Flags, model.Flags...))
			writeExamples(b, node)
		}
	}
	b.WriteString("\n")
	writeWrapped(b, "The first word that is no flag is a command if it stands in the list above, and a program otherwise. "+
		"A program of the same name is run with 'jail -- NAME' or 'jail run NAME'; scripts should always write 'jail run'.", "")
	b.WriteString("\nExit codes: the program's own; 128+n when signal n ended it; 125 jail failed or\nrefused; 126 not executable; 127 not found.\n")
}

func writeCommand(b *page, model *kong.Application, node *kong.Node) {
	b.WriteString("Usage: " + node.FullPath())
	if len(node.Children) > 0 {
		b.WriteString(" COMMAND")
	}
	if len(node.Flags) > 0 {
		b.WriteString(" [FLAGS]")
	}
	for _, arg := range node.Positional {
		b.WriteString(" " + positionalName(arg))
	}
	b.WriteString("\n\n")
	writeWrapped(b, node.Help, "")
	if node.Detail != "" {
		for paragraph := range strings.SplitSeq(strings.TrimSpace(node.Detail), "\n\n") {
			b.WriteString("\n")
			writeWrapped(b, paragraph, "")
		}
	}
	if len(node.Children) > 0 {
		b.WriteString("\nCommands:\n")
		var rows [][2]string
		for _, child := range node.Children {
			rows = append(rows, [2]string{child.Name, child.Help})
		}
		writeRows(b, rows)
	}
	if len(node.Positional) > 0 {
		b.WriteString("\nArguments:\n")
		var rows [][2]string
		for _, arg := range node.Positional {
			rows = append(rows, [2]string{positionalName(arg), arg.Help})
		}
		writeRows(b, rows)
	}
	writeFlags(b, append(node.Flags, model.Flags...))
	writeExamples(b, node)
}

func positionalName(arg *kong.Value) string {
	name := arg.Tag.PlaceHolder
	if name == "" {
		name = strings.ToUpper(arg.Name)
	}
	if !arg.Required && !strings.Contains(name, "[") {
		name = "[" + name + "]"
	}
	return name
}

func writeFlags(b *page, flags []*kong.Flag) {
	b.WriteString("\nFlags:\n")
	var rows [][2]string
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		name := "    --" + f.Name
		if f.Short != 0 {
			name = "-" + string(f.Short) + ", --" + f.Name
		}
		switch {
		case f.Tag.Get("optional") != "":
			name += "[=" + f.FormatPlaceHolder() + "]"
		case !f.IsBool():
			name += " " + f.FormatPlaceHolder()
		}
		rows = append(rows, [2]string{name, f.Help})
	}
	writeRows(b, rows)
}

func writeExamples(b *page, node *kong.Node) {
	e, ok := node.Target.Addr().Interface().(exampler)
	if !ok {
		return
	}
	b.WriteString("\nExamples:\n")
	for _, x := range e.examples() {
		fmt.Fprintf(b, "  %s\n", x.line)
		writeWrapped(b, x.why, "      ")
	}
}

// writeRows writes two columns; a name too long for its column stands on a line of its own.
func writeRows(b *page, rows [][2]string) {
	const column = 28
	width := 0
	for _, row := range rows {
		if n := len(row[0]); n <= column-4 {
			width = max(width, n)
		}
	}
	indent := strings.Repeat(" ", width+4)
	for _, row := range rows {
		text := page{width: b.width}
		writeWrapped(&text, row[1], indent)
		if len(row[0]) > width {
			fmt.Fprintf(b, "  %s\n%s", row[0], text.String())
			continue
		}
		fmt.Fprintf(b, "  %-*s  %s", width, row[0], strings.TrimPrefix(text.String(), indent))
	}
}

// writeWrapped writes text as lines of at most the page's width.
func writeWrapped(b *page, text, indent string) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > b.width && line != indent {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	if line != indent {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}
