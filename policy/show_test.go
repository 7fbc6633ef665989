package policy

import (
	"bytes"
	"os"
	"strings"
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

// The ranges of ids cannot stand beside the network of the profile above.
func TestShowIDRanges(t *testing.T) {
	h := fakeHost(t, map[string]string{"p.yaml": "version: 1\nprocess: {uid: 0, gid: 0, id-ranges: auto}\n"})
	var out bytes.Buffer
	if err := resolveOn(t, h).Show(&out); err != nil {
		t.Fatal(err)
	}
	const want = `  id-ranges:
    uid:
      - {inside: 0, outside: 1000, count: 1}
      - {inside: 1, outside: 100000, count: 65536}
    gid:
      - {inside: 0, outside: 1000, count: 1}
      - {inside: 1, outside: 100000, count: 65536}
`
	if !bytes.Contains(out.Bytes(), []byte(want)) {
		t.Errorf("got\n%s\nwant in it\n%s", out.Bytes(), want)
	}
}

// A limit of a device that came from another file than its entry is told with its own place.
func TestShowInheritedRate(t *testing.T) {
	r := chain(t, "limits: {io: [{device: /dev/sda, read: 1M/s}]}\n", "limits: {io: [{device: /dev/sda, write: 2M/s}]}\n")
	var out bytes.Buffer
	if err := r.Show(&out); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(out.String()[strings.Index(out.String(), "- {device"):], "\n")
	if want := "- {device: /dev/sda, read: 1M, write: 2M}  # p.yaml:3:15, read of a.yaml:2:40"; strings.Join(strings.Fields(line), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

// TestShowAgain: the sections that the language has in this form can be taken over into a profile, and come to the same there.
func TestShowAgain(t *testing.T) {
	golden, err := os.ReadFile("testdata/show.golden")
	if err != nil {
		t.Fatal(err)
	}
	section := func(text, name string) string {
		var out strings.Builder
		in := false
		for line := range strings.Lines(text) {
			if line[0] != ' ' {
				in = strings.HasPrefix(line, name+":")
			}
			if in {
				value, _, _ := strings.Cut(line, "  # ")
				out.WriteString(strings.TrimRight(value, " \n") + "\n")
			}
		}
		return out.String()
	}
	for _, name := range []string{"namespaces", "environment", "limits", "rlimits", "capabilities", "syscalls", "network", "process", "enforcement"} {
		want := section(string(golden), name)
		h := fakeHost(t, map[string]string{"p.yaml": "version: 1\n" + want + "filesystem: [{path: ~/work, mode: ro}]\n"}) // the working directory
		if want == "" {
			t.Errorf("%s is not shown", name)
		}
		p, err := Load("p.yaml", h)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, want)
			continue
		}
		r, err := p.Resolve(h)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, want)
			continue
		}
		var out bytes.Buffer
		if err := r.Show(&out); err != nil {
			t.Fatal(err)
		}
		if got := section(out.String(), name); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}
