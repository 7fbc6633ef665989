package policy

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// decoder fills the types of the language from nodes. It is strict: a key it
// does not know, a value of the wrong type, a null, each is a Problem, and it
// goes on to find the others.
type decoder struct {
	file     string
	problems Problems
	path     []segment // the key being decoded, joined only for a Problem
}

type segment struct {
	name  string
	index int // of a list entry, where name is ""
}

func keyPath(path []segment) string {
	var b strings.Builder
	for _, s := range path {
		if s.name == "" {
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
	}
	return b.String()
}

func (d *decoder) origin(n *node) Origin {
	return Origin{File: d.file, Line: int(n.line), Column: int(n.col)}
}

func (d *decoder) fail(n *node, cause, fix string) {
	d.problems = append(d.problems, problemAt(d.origin(n), keyPath(d.path), cause, fix))
}

// filler is a type that reads itself from a node.
type filler interface {
	fill(d *decoder, n *node, f *field)
}

// shorthand is a struct that a single value can stand for: `tmpfs: true`.
// short gives false where the value means nothing for the type.
type shorthand interface {
	short(d *decoder, n *node, f *field)
}

// field is one key of a struct of the language, read from its tags.
type field struct {
	key      string
	as       string
	enum     string
	required bool
	index    []int
}

// fieldSet is the keys of one struct type, in the order of the type.
type fieldSet struct {
	fields []field
	origin int // index of the Origin field, -1 without
}

var fieldSets sync.Map // reflect.Type -> *fieldSet

func fieldsOf(t reflect.Type) *fieldSet {
	if fs, ok := fieldSets.Load(t); ok {
		return fs.(*fieldSet)
	}
	fs := &fieldSet{origin: -1}
	fs.collect(t, nil)
	fieldSets.Store(t, fs)
	return fs
}

func (fs *fieldSet) collect(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(append([]int(nil), prefix...), i)
		switch {
		case sf.Anonymous:
			fs.collect(sf.Type, index)
		case sf.Tag == "":
			if sf.Name == "Origin" {
				fs.origin = i
			}
		default:
			f := field{index: index}
			f.readTag(string(sf.Tag))
			fs.fields = append(fs.fields, f)
		}
	}
}

// readTag reads key, as, enum and required. reflect.StructTag.Get would walk the
// long doc text, which always stands last, for every name that is not there;
// this runs at each start of jail.
func (f *field) readTag(tag string) {
	for {
		name, rest, ok := strings.Cut(tag, ":\"")
		if !ok || name == "doc" {
			return
		}
		value, rest, ok := strings.Cut(rest, "\"")
		if !ok {
			return
		}
		switch name {
		case "key":
			f.key = value
		case "as":
			f.as = value
		case "enum":
			f.enum = value
		case "required":
			f.required = true
		}
		tag = strings.TrimPrefix(rest, " ")
	}
}

func (fs *fieldSet) find(key string) *field {
	for i := range fs.fields {
		if fs.fields[i].key == key {
			return &fs.fields[i]
		}
	}
	return nil
}

// document decodes a whole file.
func (d *decoder) document(n *node) *Document {
	doc := new(Document)
	if n.kind != mappingNode {
		d.fail(n, "a profile is a mapping, this is "+n.kind.String(), "start with 'version: 1'")
		return doc
	}
	d.mapping(n, reflect.ValueOf(doc).Elem())
	return doc
}

// value decodes n into v, which is addressable.
func (d *decoder) value(n *node, v reflect.Value, f *field) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	target := v.Addr().Interface()
	if n.isNull() {
		fix := "give it a value or take the key out"
		if n.value == "~" {
			fix = `a bare ~ is YAML's null; write "~" in quotes`
		}
		d.fail(n, "has no value", fix)
		return
	}
	if t, ok := target.(filler); ok {
		t.fill(d, n, f)
		return
	}
	if n.kind != mappingNode {
		if s, ok := target.(shorthand); ok && n.kind == scalarNode {
			setOrigin(v, d.origin(n))
			s.short(d, n, f)
			return
		}
		d.fail(n, "must be a mapping, this is "+n.kind.String(), "its keys are "+keyList(fieldsOf(v.Type())))
		return
	}
	d.mapping(n, v)
}

func setOrigin(v reflect.Value, o Origin) {
	if fs := fieldsOf(v.Type()); fs.origin >= 0 {
		*v.Field(fs.origin).Addr().Interface().(*Origin) = o
	}
}

func (d *decoder) mapping(n *node, v reflect.Value) {
	fs := fieldsOf(v.Type())
	setOrigin(v, d.origin(n))
	for i := 0; i+1 < len(n.children); i += 2 {
		key, val := &n.children[i], &n.children[i+1]
		d.path = append(d.path, segment{name: key.value})
		if f := fs.find(key.value); f != nil {
			d.value(val, v.FieldByIndex(f.index), f)
		} else {
			d.fail(key, "unknown key", d.suggestKey(key.value, fs))
		}
		d.path = d.path[:len(d.path)-1]
	}
	for i := range fs.fields {
		if f := &fs.fields[i]; f.required && !n.has(f.key) {
			d.fail(n, "the key '"+f.key+"' is missing", "its keys are "+keyList(fs))
		}
	}
}

func (n *node) has(key string) bool {
	for i := 0; i+1 < len(n.children); i += 2 {
		if n.children[i].value == key {
			return true
		}
	}
	return false
}

func keyList(fs *fieldSet) string {
	keys := make([]string, len(fs.fields))
	for i := range fs.fields {
		keys[i] = fs.fields[i].key
	}
	return strings.Join(keys, ", ")
}

// suggestKey says what a key that is unknown here was likely meant to be: a
// slip of the pen, or a key of another section.
func (d *decoder) suggestKey(key string, fs *fieldSet) string {
	keys := make([]string, len(fs.fields))
	for i := range fs.fields {
		keys[i] = fs.fields[i].key
	}
	if s := didYouMean(key, keys); s != "" {
		return s
	}
	root := fieldsOf(reflect.TypeFor[Document]())
	for i := range root.fields {
		f := &root.fields[i]
		if t := reflect.TypeFor[Document]().FieldByIndex(f.index).Type; t.Kind() == reflect.Struct && f.key != "without" {
			if sub := fieldsOf(t); sub.find(key) != nil {
				return "did you mean `" + f.key + "." + key + "`?"
			}
		}
	}
	if slices.Contains(deviceNames(), key) {
		return "it is a set of devices: write `devices: [" + key + "]`"
	}
	if len(d.path) > 1 && root.find(key) != nil {
		return "`" + key + "` stands at the top level of a profile"
	}
	return "the keys here are " + strings.Join(keys, ", ")
}

// scalar checks that n is a single value and gives it.
func (d *decoder) scalar(n *node) (string, bool) {
	if n.kind != scalarNode {
		fix := ""
		if n.kind == sequenceNode && len(n.children) > 0 && n.children[0].kind == scalarNode {
			if fix = "write `" + n.children[0].value + "` without the list"; len(n.children) > 1 {
				fix = "write one of them, as `" + n.children[0].value + "`"
			}
		}
		d.fail(n, "must be a single value, this is "+n.kind.String(), fix)
		return "", false
	}
	return n.value, true
}

// checkEnum tells whether s is one of the words the field takes.
func (d *decoder) checkEnum(n *node, s string, f *field) bool {
	if f == nil || f.enum == "" {
		return true
	}
	words := strings.Split(f.enum, ",")
	for _, w := range words {
		if w == s {
			return true
		}
	}
	fix := didYouMean(s, words)
	if fix == "" || len(words) <= 3 {
		fix = "one of " + strings.Join(words, ", ")
	}
	d.fail(n, strconv.Quote(s)+" is not a value this key takes", fix)
	return false
}
