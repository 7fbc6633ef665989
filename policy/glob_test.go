package policy

import (
	"fmt"
	"slices"
	"testing"
)

// countedFS counts how often each directory is listed.
type countedFS struct {
	HostFS
	listed map[string]int
}

func (c countedFS) ReadDir(dir string) ([]string, error) {
	c.listed[dir]++
	return c.HostFS.ReadDir(dir)
}

// TestPatternsShareOneWalk: a tree is gone through once, however many patterns there are for it.
func TestPatternsShareOneWalk(t *testing.T) {
	files := map[string]string{"p.yaml": `version: 1
extends: [base]
filesystem:
  - {path: "${CWD}", mode: rw}
  - {path: "${CWD}/**/.env", hide: true}
  - {path: "${CWD}/**/*.key", hide: true}
  - {path: "${CWD}/**/keys/*", hide: true}
  - {path: "${CWD}/*/.netrc", hide: true}
  - {path: "${CWD}/**/deep/**/id_*", hide: true}
`}
	for i := range 20 {
		files[fmt.Sprintf("src/d%d/.env", i)] = "x"
		files[fmt.Sprintf("src/d%d/a.key", i)] = "x"
		files[fmt.Sprintf("src/d%d/keys/one", i)] = "x"
		files[fmt.Sprintf("src/d%d/deep/er/id_rsa", i)] = "x"
		files[fmt.Sprintf("src/d%d/plain", i)] = "x"
	}
	files[".env"], files["src/.netrc"], files["src/d0/.netrc"] = "x", "x", "x"
	h := fakeHost(t, files)
	counted := countedFS{h.FS, map[string]int{}}
	h.FS = counted
	p, err := Load("/home/user/work/p.yaml", h)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve(h)
	if err != nil {
		t.Fatal(err)
	}
	var hidden []string
	for _, e := range r.Hidden {
		hidden = append(hidden, e.Path)
	}
	// The fake machine has two such files of its own.
	want := []string{"/home/user/work/.env", "/home/user/work/app/.env", "/home/user/work/lib/.env", "/home/user/work/src/.netrc"}
	for i := range 20 {
		for _, name := range []string{".env", "a.key", "deep/er/id_rsa", "keys/one"} {
			want = append(want, fmt.Sprintf("/home/user/work/src/d%d/%s", i, name))
		}
	}
	slices.Sort(hidden)
	slices.Sort(want)
	if !slices.Equal(hidden, want) {
		t.Errorf("hidden are %d: %q, want %d", len(hidden), hidden, len(want))
	}
	for dir, n := range counted.listed {
		if under(dir, "/home/user/work/src") && n > 1 {
			t.Errorf("%s is listed %d times", dir, n)
		}
	}
	if counted.listed["/home/user/work/src/d7/deep/er"] != 1 {
		t.Errorf("the count does not count: %d", len(counted.listed))
	}
}
