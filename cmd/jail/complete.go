package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"jail/policy"
	"jail/sandbox/running"
)

// completeCmd answers the scripts of `jail completion`. The first line of its answer is a word for the shell: words
// (the lines that follow are all there is), files (files too), commands (programs too), or program (the word that
// follows is a program, whose own completion takes over). A line is a word and, behind a tab, what it means.
type completeCmd struct {
	Words []string `arg:"" optional:"" name:"words" help:"The words of the line behind 'jail', up to the one being typed."`
}

// candidate is a word that may be typed.
type candidate struct{ word, why string }

// candidates are those of one place of the line.
type candidates struct {
	kind  string
	words []candidate
}

// Run prints what can stand in the place of the last word.
func (c *completeCmd) Run(a *app) error {
	if len(c.Words) == 0 {
		c.Words = []string{""}
	}
	found := a.candidates(c.Words[:len(c.Words)-1], c.Words[len(c.Words)-1])
	var b strings.Builder
	b.WriteString(found.kind + "\n")
	for _, w := range found.words {
		// A name may be anybody's file name: one that would break the lines is not offered.
		if w.word != escape(w.word) || found.kind != "program" && !strings.HasPrefix(w.word, c.Words[len(c.Words)-1]) {
			continue
		}
		b.WriteString(w.word)
		if w.why != "" {
			b.WriteString("\t" + escape(w.why))
		}
		b.WriteByte('\n')
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// candidates finds what may stand behind the words before.
func (a *app) candidates(before []string, current string) candidates {
	w := splitWords(before, isCommand, launchOptions())
	command, ok := commandField(w.command)
	if below := commandFields(command.Type); len(below) > 0 {
		at := slices.IndexFunc(below, func(f reflect.StructField) bool { return slices.Contains(w.rest, commandName(f)) })
		if at < 0 {
			return candidates{"words", commandWords(below)}
		}
		command = below[at]
	}
	switch {
	case len(w.program) > 0:
		return candidates{"program", []candidate{{word: w.program[0]}}}
	case w.bare != "":
		return a.valuesOf(flagField(command.Type, w.bare), "")
	case strings.HasPrefix(current, "--") && strings.Contains(current, "="):
		name, _, _ := strings.Cut(current[2:], "=")
		return a.valuesOf(flagField(command.Type, name), "--"+name+"=")
	case strings.HasPrefix(current, "-"):
		return candidates{"words", flagWords(command.Type)}
	case w.program != nil || ok && startsProgram(w.command):
		return candidates{kind: "commands"}
	case ok:
		if len(w.rest) > 0 {
			if last := flagField(command.Type, strings.TrimPrefix(w.rest[len(w.rest)-1], "--")); last.Name != "" && last.Type.Kind() != reflect.Bool && strings.HasPrefix(w.rest[len(w.rest)-1], "--") {
				return a.valuesOf(last, "")
			}
		}
		return a.valuesOf(positionalField(command.Type), "")
	}
	return candidates{"commands", commandWords(commandFields(reflect.TypeFor[grammar]()))}
}

func commandWords(fields []reflect.StructField) []candidate {
	var words []candidate
	for _, f := range fields {
		words = append(words, candidate{commandName(f), f.Tag.Get("help")})
	}
	return words
}

// commandFields are the commands of a grammar struct that help shows.
func commandFields(t reflect.Type) []reflect.StructField {
	var all []reflect.StructField
	for i := range numField(t) {
		_, is := t.Field(i).Tag.Lookup("cmd")
		_, hidden := t.Field(i).Tag.Lookup("hidden")
		if is && !hidden {
			all = append(all, t.Field(i))
		}
	}
	return all
}

func commandField(name string) (reflect.StructField, bool) {
	all := commandFields(reflect.TypeFor[grammar]())
	if i := slices.IndexFunc(all, func(f reflect.StructField) bool { return commandName(f) == name }); i >= 0 {
		return all[i], true
	}
	return reflect.StructField{}, false
}

// flagFields are the flags of a command, those of every command among them. Without a command they are those of run.
func flagFields(command reflect.Type) []reflect.StructField {
	if command == nil {
		command = reflect.TypeFor[runCmd]()
	}
	return append(visibleFlags(command), visibleFlags(reflect.TypeFor[globalFlags]())...)
}

// numField is the number of a struct's fields, 0 for no type at all.
func numField(t reflect.Type) int {
	if t == nil {
		return 0
	}
	return t.NumField()
}

func visibleFlags(t reflect.Type) []reflect.StructField {
	var all []reflect.StructField
	for i := range t.NumField() {
		f := t.Field(i)
		_, embedded := f.Tag.Lookup("embed")
		_, positional := f.Tag.Lookup("arg")
		_, hidden := f.Tag.Lookup("hidden")
		switch {
		case embedded:
			all = append(all, visibleFlags(f.Type)...)
		case !positional && !hidden && f.Tag.Get("name") != "":
			all = append(all, f)
		}
	}
	return all
}

func flagField(command reflect.Type, name string) reflect.StructField {
	for _, f := range flagFields(command) {
		if f.Tag.Get("name") == name || f.Tag.Get("short") == name {
			return f
		}
	}
	return reflect.StructField{}
}

func positionalField(t reflect.Type) reflect.StructField {
	for i := range t.NumField() {
		if _, is := t.Field(i).Tag.Lookup("arg"); is {
			return t.Field(i)
		}
	}
	return reflect.StructField{}
}

func flagWords(command reflect.Type) []candidate {
	words := []candidate{{"--help", "Print this help."}}
	for _, f := range flagFields(command) {
		word := "--" + f.Tag.Get("name")
		if f.Type.Kind() != reflect.Bool {
			word += "="
		}
		words = append(words, candidate{word, f.Tag.Get("help")})
	}
	return words
}

// valuesOf says what a flag or an argument takes, by its tag complete.
func (a *app) valuesOf(f reflect.StructField, prefix string) candidates {
	found := candidates{kind: "words"}
	add := func(word, why string) { found.words = append(found.words, candidate{prefix + word, why}) }
	switch f.Tag.Get("complete") {
	case "profile":
		found.kind = "files"
		a.eachProfile(add)
	case "program":
		a.eachProgram(add)
	case "file":
		found.kind = "files"
	case "shell":
		for _, shell := range []string{"bash", "zsh", "fish"} {
			add(shell, "")
		}
	case "installed":
		a.eachInstalled(add)
	case "running":
		boxes, _ := running.List() // nothing to offer where it cannot be read
		for _, box := range boxes {
			add(box.Name, box.Profile)
		}
	case "background":
		a.eachInBackground(add)
	case "key":
		for _, k := range policy.Keys() {
			if len(k.Values) == 0 {
				add(k.Name+"=", k.Doc)
			}
			for _, v := range k.Values {
				add(k.Name+"="+v, k.Doc)
			}
		}
	}
	return found
}

func (a *app) eachProfile(add func(word, why string)) {
	if host, err := a.host(); err == nil {
		for _, p := range policy.Profiles(host) {
			add(p.Name, p.Description)
		}
	}
}

func (a *app) eachProgram(add func(word, why string)) {
	if host, err := a.host(); err == nil {
		for _, p := range policy.Profiles(host) {
			for _, program := range p.Programs {
				add(program, p.Description)
			}
		}
	}
}

func (a *app) eachInBackground(add func(word, why string)) {
	host, err := a.host()
	if err != nil {
		return
	}
	boxes, _ := logStore(host).List() // nothing to offer when it cannot be read
	for i := range boxes {
		why := boxes[i].Profile
		if !boxes[i].Runs {
			why = endText(&boxes[i])
		}
		add(boxes[i].Name, why)
	}
}

func (a *app) eachInstalled(add func(word, why string)) {
	host, err := a.host()
	if err != nil {
		return
	}
	records, _ := placesOf(host).Installed() // nothing to offer when it cannot be read
	for _, r := range records {
		add(r.Name, r.Program)
	}
}
