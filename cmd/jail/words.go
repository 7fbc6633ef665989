package main

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// words is a command line taken apart. What belongs to the program is cut off here, before any
// flag library sees the line, and is never looked at again: a value that looks like an option of
// jail stays the program's (CVE-2020-17367, where firejail parsed past the end of its options).
type words struct {
	command string   // a command of jail's, or empty: the line runs a program
	flags   []flag   // flags of a command that starts a program, in the order given
	rest    []string // the words of a command that starts none, for the flag library
	program []string // the program and its arguments, untouched
	odd     []string // not nil: flags that this file does not understand, up to the word in question
	bare    string   // the flag at the end of odd, when it lacks its value
}

// flag is one flag of the command line. Their order is kept because it decides between two that
// speak of the same path.
type flag struct {
	name  string
	value string
}

// option is what splitting a line needs to know of a flag.
type option struct {
	name     string
	short    string
	bool     bool
	optional string // the value that the flag has when none is joined to it; "" for other flags
}

// splitWords takes a command line apart. The first word that is no flag is the command if jail has
// one of that name, and otherwise the program; behind `--` it is always the program.
func splitWords(args []string, isCommand func(string) bool, options []option) words {
	var w words
	var before []string // the flags so far, as words
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			w.program = args[i+1:]
			return w
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			if w.command != "" || !isCommand(arg) {
				w.program = args[i:]
				return w
			}
			w.command = arg
			if !startsProgram(arg) {
				w.rest = slices.Concat(args[:i], args[i+1:])
				return w
			}
		default:
			taken, used := takeFlag(args[i:], options)
			if used == 0 {
				w.odd = append(before, args[i:min(i+2, len(args))]...)
				if len(taken) > 0 {
					w.bare = taken[len(taken)-1].name
				}
				return w
			}
			w.flags = append(w.flags, taken...)
			before = append(before, args[i:i+used]...)
			i += used - 1
		}
	}
	return w
}

// takeFlag reads the flag at the head of args and says how many words it took: 0 when the word is
// not one that it can read for certain, or, with that flag as the last one taken, lacks its value.
func takeFlag(args []string, options []option) ([]flag, int) {
	word := args[0]
	if name, long := strings.CutPrefix(word, "--"); long {
		name, value, joined := strings.Cut(name, "=")
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		switch {
		case i < 0:
			return nil, 0
		case options[i].bool && joined:
			if _, err := strconv.ParseBool(value); err != nil {
				return nil, 0
			}
			return []flag{{name, value}}, 1
		case options[i].bool:
			return []flag{{name, "true"}}, 1
		case joined:
			return []flag{{name, value}}, 1
		case options[i].optional != "":
			return []flag{{name, options[i].optional}}, 1
		}
		return takeValue(args, name)
	}
	var taken []flag
	for letters := word[1:]; letters != ""; letters = letters[1:] {
		i := slices.IndexFunc(options, func(o option) bool { return o.short != "" && o.short == letters[:1] })
		switch {
		case i < 0:
			return nil, 0
		case options[i].bool:
			taken = append(taken, flag{options[i].name, "true"})
		case len(letters) > 1:
			return append(taken, flag{options[i].name, letters[1:]}), 1
		default:
			last, used := takeValue(args, options[i].name)
			return append(taken, last...), used
		}
	}
	return taken, 1
}

// takeValue reads a value that is a word of its own. One that starts with a dash is more likely a
// forgotten value than meant so; it can be written --flag=-value.
func takeValue(args []string, name string) ([]flag, int) {
	if len(args) < 2 || (strings.HasPrefix(args[1], "-") && args[1] != "-") {
		return []flag{{name: name}}, 0
	}
	return []flag{{name, args[1]}}, 2
}

// optionsOf lists the flags that a grammar struct declares, by the same tags the flag library reads.
func optionsOf(t reflect.Type) []option {
	var out []option
	for i := range t.NumField() {
		field := t.Field(i)
		if _, embedded := field.Tag.Lookup("embed"); embedded {
			out = append(out, optionsOf(field.Type)...)
			continue
		}
		if name, isFlag := field.Tag.Lookup("name"); isFlag {
			out = append(out, option{name, field.Tag.Get("short"), field.Type.Kind() == reflect.Bool, field.Tag.Get("optional")})
		}
	}
	return out
}

// setFlags puts flags into the fields of a grammar struct.
func setFlags(target reflect.Value, flags []flag) {
	t := target.Type()
	for i := range t.NumField() {
		field, tag := target.Field(i), t.Field(i).Tag
		if _, embedded := tag.Lookup("embed"); embedded {
			setFlags(field, flags)
			continue
		}
		name, isFlag := tag.Lookup("name")
		if !isFlag {
			continue
		}
		for _, f := range flags {
			if f.name != name {
				continue
			}
			switch field.Kind() {
			case reflect.Bool:
				on, _ := strconv.ParseBool(f.value) // takeFlag has parsed it once
				field.SetBool(on)
			case reflect.String:
				field.SetString(f.value)
			case reflect.Slice:
				field.Set(reflect.Append(field, reflect.ValueOf(f.value)))
			default:
				panic("flag of an unknown kind: " + name)
			}
		}
	}
}
