package policy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestReference keeps the tables of the profile reference those of the types.
// In the text, a line "<!-- table: NAME -->" starts one and an empty line ends it.
func TestReference(t *testing.T) {
	const file = "../docs/profile-reference.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tables := referenceTables()
	var out strings.Builder
	inTable, rows := false, false
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "<!-- table: "); ok {
			name, _, _ = strings.Cut(name, " -->")
			table, known := tables[name]
			if !known {
				t.Fatalf("%s has a table %q that nothing makes", file, name)
			}
			delete(tables, name)
			out.WriteString(line + "\n" + table)
			inTable, rows = true, false
			continue
		}
		if inTable {
			row := strings.HasPrefix(line, "|")
			rows = rows || row
			if row || line == "\n" && !rows {
				continue // the old table, and the empty line before it
			}
			if inTable = false; line != "\n" {
				out.WriteString("\n") // there was no table yet
			}
		}
		out.WriteString(line)
	}
	for name := range tables {
		t.Errorf("%s lacks the table %q", file, name)
	}
	if out.String() == string(text) {
		return
	}
	if !*update {
		t.Fatalf("the tables of %s are out of date; run 'go test ./policy -run TestReference -update'", file)
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReferenceExamples: every YAML example of the reference is a profile, or
// the inside of one.
func TestReferenceExamples(t *testing.T) {
	text, err := os.ReadFile("../docs/profile-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "```yaml\n")[1:]
	if len(examples) < 10 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, e := range examples {
		e, _, _ = strings.Cut(e, "```")
		if !strings.Contains(e, "version:") {
			e = "version: 1\n" + e
		}
		h := fakeHost(t, map[string]string{"p.yaml": e})
		h.Shipped = os.DirFS("../profiles")
		if _, err := Load("p.yaml", h); err != nil {
			t.Errorf("%v in\n%s", err, e)
		}
	}
}

// TestSchema: the schema is JSON and accepts what the decoder accepts, at least
// as far as keys go.
func TestSchema(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	var undocumented []string
	var visit func(path string, s map[string]any)
	visit = func(path string, s map[string]any) {
		props, _ := s["properties"].(map[string]any)
		for key, p := range props {
			p := p.(map[string]any)
			if d, _ := p["description"].(string); d == "" {
				undocumented = append(undocumented, path+"."+key)
			}
			visit(path+"."+key, p)
		}
	}
	visit("", s)
	defs := s["$defs"].(map[string]any)
	for name, d := range defs {
		visit(name, d.(map[string]any))
	}
	if len(undocumented) > 0 {
		t.Errorf("keys without documentation: %v", undocumented)
	}
	files, _ := os.ReadDir("../profiles")
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".yaml") {
			continue
		}
		text, err := os.ReadFile("../profiles/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		for _, p := range validate(s, defs, doc, f.Name()) {
			t.Error(p)
		}
	}
	for _, bad := range []string{"filesytem: []", "filesystem: [{mode: ro}]", "filesystem: [{path: /x, mode: rx}]", "process: {nice: high}", "capabilities: x", "when: [{if: {exists: /x}}]"} {
		var doc any
		if err := yaml.Unmarshal([]byte("version: 1\n"+bad), &doc); err != nil {
			t.Fatal(err)
		}
		if len(validate(s, defs, doc, "")) == 0 {
			t.Errorf("the schema accepts %s", bad)
		}
	}
}

// validate is as much of JSON Schema as Schema uses.
func validate(s, defs map[string]any, v any, path string) []string {
	if ref, ok := s["$ref"].(string); ok {
		return validate(defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), defs, v, path)
	}
	if any, ok := s["anyOf"].([]any); ok {
		var all []string
		for _, one := range any {
			p := validate(one.(map[string]interface{}), defs, v, path)
			if len(p) == 0 {
				return nil
			}
			all = append(all, p...)
		}
		return all
	}
	if c, ok := s["const"]; ok && c != v {
		return []string{path + ": not the constant"}
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return []string{path + ": not in the enumeration"}
	}
	types, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		types = []any{one}
	}
	if len(types) > 0 && !slices.ContainsFunc(types, func(t any) bool { return hasType(v, t.(string)) }) {
		return []string{path + ": of another type"}
	}
	var problems []string
	switch v := v.(type) {
	case map[string]any:
		props, _ := s["properties"].(map[string]any)
		for key, inner := range v {
			if p, ok := props[key].(map[string]any); ok {
				problems = append(problems, validate(p, defs, inner, path+"."+key)...)
			} else if p, ok := s["additionalProperties"].(map[string]any); ok {
				problems = append(problems, validate(p, defs, inner, path+"."+key)...)
			} else if s["additionalProperties"] == false {
				problems = append(problems, path+": unknown key "+key)
			}
		}
		required, _ := s["required"].([]any)
		for _, key := range required {
			if _, ok := v[key.(string)]; !ok {
				problems = append(problems, path+": lacks "+key.(string))
			}
		}
	case []any:
		for _, inner := range v {
			if items, ok := s["items"].(map[string]any); ok {
				problems = append(problems, validate(items, defs, inner, path+"[]")...)
			}
		}
	}
	return problems
}

func hasType(v any, t string) bool {
	switch v.(type) {
	case string:
		return t == "string"
	case bool:
		return t == "boolean"
	case int:
		return t == "integer" || t == "number"
	case float64:
		return t == "number"
	case map[string]any:
		return t == "object"
	case []any:
		return t == "array"
	}
	return false
}
