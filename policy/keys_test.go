package policy

import (
	"slices"
	"testing"
)

// Every key that is offered can be set, and each of its values is one.
func TestKeysCanBeSet(t *testing.T) {
	keys := Keys()
	if len(keys) < 40 {
		t.Errorf("only %d keys", len(keys))
	}
	for _, want := range []string{"network.mode", "process.cwd", "filesystem", "environment.keep", "limits.memory"} {
		if !slices.ContainsFunc(keys, func(k Key) bool { return k.Name == want }) {
			t.Errorf("no key %s", want)
		}
	}
	for _, k := range keys {
		if k.Doc == "" {
			t.Errorf("%s: nothing is said of it", k.Name)
		}
		for _, v := range k.Values {
			root := &node{kind: mappingNode}
			l := &loader{}
			if cause, _ := l.set(root, k.Name+"="+v); cause != "" {
				t.Errorf("%s=%s: %s", k.Name, v, cause)
				continue
			}
			d := decoder{file: FileCommandLine}
			d.document(root)
			if len(d.problems) > 0 {
				t.Errorf("%s=%s: %v", k.Name, v, d.problems)
			}
		}
	}
}
