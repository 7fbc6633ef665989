package policy

import (
	"encoding/json"
	"reflect"
	"strings"
)

// Schema gives the JSON Schema (draft 2020-12) of a profile, for editors. It is
// made from the types that the decoder fills.
func Schema() []byte {
	s := schemaMaker{defs: map[string]any{}}
	root := s.object(reflect.TypeFor[Document]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "jail profile"
	root["required"] = []string{"version"}
	root["$defs"] = s.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("schema of the profile language: " + err.Error()) // maps of strings always encode
	}
	return append(text, '\n')
}

type schemaMaker struct {
	defs map[string]any
}

type schema = map[string]any

// object is the schema of a mapping with fixed keys.
func (s *schemaMaker) object(t reflect.Type) schema {
	props := schema{}
	var required []string
	for _, f := range docFields(t) {
		p := s.value(f.typ, f.field)
		p["description"] = f.doc
		props[f.key] = p
		if f.required {
			required = append(required, f.key)
		}
	}
	o := schema{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// ref puts the schema of a struct under $defs once and refers to it.
func (s *schemaMaker) ref(t reflect.Type) schema {
	name := t.Name()
	if _, ok := s.defs[name]; !ok {
		s.defs[name] = schema{} // ends the recursion of When.not
		s.defs[name] = s.object(t)
	}
	return schema{"$ref": "#/$defs/" + name}
}

// value is the schema of one key.
func (s *schemaMaker) value(t reflect.Type, f field) schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := reflect.New(t).Interface().(type) {
	case *Text:
		return textSchema(f)
	case *Flag:
		return schema{"type": "boolean"}
	case *Number:
		return schema{"type": "integer"}
	case lister:
		item := s.value(v.element(), f)
		list := schema{"type": "array", "items": item}
		if singleForList(&f) {
			return schema{"anyOf": []any{list, item}}
		}
		return list
	case mapper:
		item := f
		if f.key == "enforcement" {
			item.enum = "require,prefer,off"
		}
		return schema{"type": "object", "additionalProperties": s.value(v.element(), item)}
	case shorthand:
		return schema{"anyOf": []any{shortSchema(v, f), s.ref(t)}}
	}
	return s.ref(t)
}

// lister and mapper are List and Map of any type.
type (
	lister interface {
		element() reflect.Type
		isList()
	}
	mapper interface {
		element() reflect.Type
		isMap()
	}
)

func (*List[T]) element() reflect.Type { return reflect.TypeFor[T]() }
func (*List[T]) isList()               {}
func (*Map[T]) element() reflect.Type  { return reflect.TypeFor[T]() }
func (*Map[T]) isMap()                 {}

// textSchema is the schema of a single value that is no number or boolean by
// nature. Sizes and such may look like a number to YAML.
func textSchema(f field) schema {
	if f.enum != "" {
		var words []any
		for w := range strings.SplitSeq(f.enum, ",") {
			switch w {
			case "true", "false":
				words = append(words, w == "true")
			default:
				words = append(words, w)
			}
		}
		return schema{"enum": words}
	}
	switch f.as {
	case "size", "limit-size", "limit-count", "cpu", "ops", "rlimit", "cpuset", "rate", "bitrate":
		return schema{"type": []any{"string", "number"}}
	case "name":
		return schema{"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}
	case "mode":
		return schema{"type": "string", "pattern": "^[0-7]{1,5}$"}
	case "path":
		return schema{"type": "string", "minLength": 1}
	case "word", "action", "hostname", "duration":
		return schema{"type": []any{"string", "number"}}
	}
	return schema{"type": []any{"string", "number", "boolean"}}
}

// shortSchema is the schema of the single value that may stand for a mapping.
func shortSchema(v shorthand, f field) schema {
	switch v.(type) {
	case *TmpfsSpec, *DirSpec:
		return schema{"const": true}
	case *OverlaySpec:
		return schema{"const": "discard"}
	case *IDRangesSpec:
		return schema{"const": "auto"}
	case *NamespaceItem:
		f.enum = strings.Join(namespaceKinds[:], ",")
	case *ContentSpec:
		return schema{"type": "string"}
	}
	return textSchema(f)
}

// docField is a key with its documentation.
type docField struct {
	field
	typ reflect.Type
	doc string
}

// docFields gives the keys of a struct in the order of the type, those of an
// embedded Fragment in their place.
func docFields(t reflect.Type) []docField {
	var all []docField
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous {
			all = append(all, docFields(sf.Type)...)
			continue
		}
		if sf.Tag == "" {
			continue
		}
		f := docField{typ: sf.Type, doc: sf.Tag.Get("doc")}
		f.readTag(string(sf.Tag))
		all = append(all, f)
	}
	return all
}
