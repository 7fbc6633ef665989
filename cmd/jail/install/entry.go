package install

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// An entry is a desktop entry file, kept as its lines: what is not changed stays as it is, comments and translations
// too.
type entry struct {
	lines []string
}

func parseEntry(text []byte) entry {
	return entry{strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")}
}

// command is what one Exec key runs.
type command struct {
	environment []string // NAME=VALUE of a leading env(1)
	args        []string // the program and its arguments, field codes such as %u among them
}

// program is the base name of what the entry's main action runs, "" when it runs nothing.
func (e entry) program() string {
	exec, ok := e.value("Exec")
	if !ok {
		return ""
	}
	c, err := parseExec(exec)
	if err != nil {
		return ""
	}
	return c.args[0]
}

// value gives a key of the group [Desktop Entry].
func (e entry) value(key string) (string, bool) {
	main := false
	for _, line := range e.lines {
		if strings.HasPrefix(line, "[") {
			main = strings.TrimSpace(line) == "[Desktop Entry]"
			continue
		}
		name, value, ok := cutKey(line)
		if main && ok && name == key {
			return value, true
		}
	}
	return "", false
}

func cutKey(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, "=")
	if !ok || strings.HasPrefix(strings.TrimSpace(line), "#") {
		return "", "", false
	}
	return strings.TrimSpace(name), strings.TrimLeft(value, " \t"), true
}

// through gives the entry with every action started by prefix, the words of jail's own command line up to the program.
// An entry that the session bus would start (DBusActivatable) is started by its Exec key from then on: the bus starts
// the program itself, past jail.
func (e entry) through(prefix []string) ([]byte, error) {
	var b strings.Builder
	for _, line := range e.lines {
		switch name, value, ok := cutKey(line); {
		case ok && name == "Exec":
			c, err := parseExec(value)
			if err != nil {
				return nil, fmt.Errorf("key Exec=%s: %w", value, err)
			}
			line = "Exec=" + c.through(prefix)
		case ok && name == "DBusActivatable":
			line = "DBusActivatable=false"
		}
		b.WriteString(line + "\n")
	}
	return []byte(b.String()), nil
}

// through writes the command as the value of an Exec key. What env(1) would have set is handed in by jail, whose
// environment does not reach the program.
func (c command) through(prefix []string) string {
	words := append([]string{}, prefix...)
	for _, set := range c.environment {
		words = append(words, "--env", set)
	}
	words = append(append(words, "--"), c.args...)
	for i, word := range words {
		words[i] = quoteExec(word)
	}
	return escapeValue(strings.Join(words, " "))
}

var errExec = errors.New("not a command line as the Desktop Entry Specification has it")

// parseExec reads the value of an Exec key: first the escapes of every string value, then the quoting of the key.
func parseExec(value string) (command, error) {
	words, err := splitExec(unescapeValue(value))
	if err != nil {
		return command{}, err
	}
	var c command
	if len(words) > 1 && filepath.Base(words[0]) == "env" {
		words = words[1:]
		for len(words) > 0 && strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "-") {
			c.environment, words = append(c.environment, words[0]), words[1:]
		}
	}
	if len(words) == 0 || words[0] == "" || strings.HasPrefix(words[0], "-") {
		return command{}, errExec
	}
	c.args = words
	return c, nil
}

// splitExec splits at spaces; in double quotes a backslash takes ", `, $ and itself literally.
func splitExec(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, inWord := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\' && i+1 < len(s) && strings.IndexByte("\"`$\\", s[i+1]) >= 0:
			i++
			word.WriteByte(s[i])
		case c == '"':
			quoted, inWord = !quoted, true
		case c == ' ' && !quoted:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted {
		return nil, errExec
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// reserved are the characters for which an argument has to be quoted.
const reserved = " \t\n\"'\\><~|&;$*?#()`"

// quoteExec quotes one argument. Field codes have no reserved character and stay as they are.
func quoteExec(word string) string {
	if word != "" && !strings.ContainsAny(word, reserved) {
		return word
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(word) {
		if strings.IndexByte("\"`$\\", word[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(word[i])
	}
	b.WriteByte('"')
	return b.String()
}

var valueEscapes = [][2]string{{"\\", `\\`}, {"\n", `\n`}, {"\t", `\t`}, {"\r", `\r`}}

func escapeValue(s string) string {
	for _, e := range valueEscapes {
		s = strings.ReplaceAll(s, e[0], e[1])
	}
	return s
}

func unescapeValue(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 's':
			b.WriteByte(' ')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '\\':
			b.WriteByte('\\')
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
