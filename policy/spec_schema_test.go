package policy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// ociSchema compiles the JSON Schema that the runtime-spec module brings along.
var ociSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	c.UseLoader(schemaFiles{dir})
	return c.Compile("file://" + dir + "/config-schema.json")
})

// schemaFiles reads the schema's parts. They name their dialect, draft 4, which
// the library knows by itself.
type schemaFiles struct{ dir string }

func (s schemaFiles) Load(url string) (any, error) {
	f, err := os.Open(filepath.Join(s.dir, filepath.Base(url)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return jsonschema.UnmarshalJSON(f)
}

// checkOCI fails the test when a spec is not what the OCI schema allows.
func checkOCI(t *testing.T, spec *specs.Spec) {
	t.Helper()
	schema, err := ociSchema()
	if err != nil {
		t.Fatalf("compile the OCI schema: %v", err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("the spec is not valid OCI: %v", err)
	}
}

// The schema must be able to refuse, or passing it proves nothing.
func TestOCISchemaRefuses(t *testing.T) {
	schema, err := ociSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		`{}`,
		`{"ociVersion":"1.0.2","process":{"args":["x"]}}`,
		`{"ociVersion":"1.0.2","linux":{"seccomp":{"defaultAction":"SCMP_ACT_MAYBE"}}}`,
		`{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"net"}]}}`,
		`{"ociVersion":"1.0.2","mounts":[{"source":"x"}]}`,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("the schema accepts %s", bad)
		}
	}
}
