package policy

import (
	"reflect"
	"slices"
	"strings"
)

// A Key is a key of the profile language that takes a value of its own, by its full name such as network.mode.
type Key struct {
	Name   string
	Doc    string
	Values []string // all it takes, where those are few words
}

// Keys lists the keys that --set takes, in the order of the language. Lists and mappings with free keys are one key
// each.
func Keys() []Key {
	all := keysBelow("", reflect.TypeFor[Document]())
	return slices.DeleteFunc(all, func(k Key) bool { return slices.Contains(fileKeys[:], k.Name) })
}

func keysBelow(prefix string, t reflect.Type) []Key {
	var all []Key
	for _, f := range docFields(t) {
		typ := f.typ
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		key := Key{Name: prefix + f.key, Doc: f.doc}
		switch reflect.New(typ).Interface().(type) {
		case *Flag:
			key.Values = []string{"true", "false"}
		case *Text:
			if f.enum != "" {
				key.Values = strings.Split(f.enum, ",")
			}
		case *Number, lister, mapper, shorthand:
		default:
			all = append(all, keysBelow(key.Name+".", typ)...)
			continue
		}
		all = append(all, key)
	}
	return all
}
