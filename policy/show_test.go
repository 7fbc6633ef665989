package policy

import (
	"bytes"
	"os"
	"testing"
)

// TestShow compares what `jail show` prints for a profile with a value under
// nearly every key.
func TestShow(t *testing.T) {
	text, err := os.ReadFile("testdata/show.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h := fakeHost(t, map[string]string{"p.yaml": string(text)})
	h.Env["WAYLAND_DISPLAY"] = "wayland-0"
	r := resolveOn(t, h, Override{"set", "process.nice=3"}, Override{"env", "LANG"})
	var out bytes.Buffer
	if err := r.Show(&out); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/show.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", out.Bytes(), want)
	}
}
