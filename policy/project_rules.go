package policy

import (
	"reflect"
	"slices"
	"strconv"
)

// takesAway lists the keys of a project file that can do nothing but take away,
// whatever their value: a limit counts only where it is the smaller one. Other
// keys are looked at one by one in tightening, and what stands in neither is
// refused, so that a new key of the language grants nothing by being forgotten.
var takesAway = []string{
	"version", "description", "when",
	"without.devices", "without.capabilities", "without.publish", "without.enforcement",
	"environment.unset", "syscalls.deny", "process.timeout", "rlimits",
	"limits.memory", "limits.memory-high", "limits.swap", "limits.cpu", "limits.pids",
}

// tightening are the keys that take away with some values only.
var tightening = map[string]func(*tightChecker, any){
	"filesystem": func(c *tightChecker, v any) {
		for i, item := range v.(*List[FilesystemItem]).Items {
			if !item.onlyTightens() {
				c.refuse(item.Origin, "filesystem["+strconv.Itoa(i)+"]", "only {path, hide: true} and {path, mode: ro} take away")
			}
		}
	},
	"without.desktop": func(c *tightChecker, v any) {
		items := v.(*List[Text]).Items
		has := func(name string) bool { return slices.ContainsFunc(items, func(t Text) bool { return t.V == name }) }
		for i, t := range items {
			// Without a Wayland display `x11: fallback` would grant the X11 one.
			if t.V == "wayland" && !has("x11") {
				c.refuse(t.Origin, "without.desktop["+strconv.Itoa(i)+"]", "without wayland alone lets `x11: fallback` grant more; take x11 away with it")
			}
		}
	},
	"network.mode": func(c *tightChecker, v any) { c.only(v.(*Text), "network.mode", "none") },
	"network.egress": func(c *tightChecker, v any) {
		for i, item := range v.(*List[EgressItem]).Items {
			if item.Allow.Set {
				c.refuse(item.Origin, "network.egress["+strconv.Itoa(i)+"]", "only deny takes away")
			}
		}
	},
	"process.die-with-parent":           func(c *tightChecker, v any) { c.yes(v.(*Flag), "process.die-with-parent") },
	"process.no-new-privileges":         func(c *tightChecker, v any) { c.yes(v.(*Flag), "process.no-new-privileges") },
	"process.no-dump":                   func(c *tightChecker, v any) { c.yes(v.(*Flag), "process.no-dump") },
	"process.memory-deny-write-execute": func(c *tightChecker, v any) { c.yes(v.(*Flag), "process.memory-deny-write-execute") },
	"process.core-scheduling":           func(c *tightChecker, v any) { c.yes(v.(*Flag), "process.core-scheduling") },
	"process.proc":                      func(c *tightChecker, v any) { c.only(v.(*Text), "process.proc", "pid") },
	"enforcement": func(c *tightChecker, v any) {
		for _, e := range v.(*Map[Text]).Entries {
			c.only(&e.Value, "enforcement."+e.Key, "require")
		}
	},
}

// onlyTightens gives a Problem for everything in a document that could give a
// program more than it has without it, or other things.
func onlyTightens(doc *Document) Problems {
	var c tightChecker
	c.section(reflect.ValueOf(doc).Elem(), "")
	for i := range doc.When.Items {
		c.prefix = "when[" + strconv.Itoa(i) + "].then."
		c.section(reflect.ValueOf(&doc.When.Items[i].Then).Elem(), "")
	}
	return c.problems
}

type tightChecker struct {
	problems Problems
	prefix   string
}

func (c *tightChecker) section(v reflect.Value, key string) {
	fs := fieldsOf(v.Type())
	for i := range fs.fields {
		f := v.FieldByIndex(fs.fields[i].index)
		name := key + fs.fields[i].key
		_, single := f.Addr().Interface().(setter)
		switch check := tightening[name]; {
		case f.Kind() == reflect.Struct && !single:
			c.section(f, name+".")
		case !isSet(f) || slices.Contains(takesAway, name):
		case check != nil:
			check(c, f.Addr().Interface())
		default:
			c.refuse(originOf(f), name, "this key can grant or change something")
		}
	}
}

func originOf(v reflect.Value) Origin {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	o, _ := v.FieldByName("Origin").Interface().(Origin)
	return o
}

func (c *tightChecker) refuse(o Origin, key, why string) {
	c.problems = append(c.problems, problemAt(o, c.prefix+key, "a project file that you have not approved may only take away: "+why, approveFix))
}

func (c *tightChecker) only(t *Text, key, word string) {
	if t.V != word {
		c.refuse(t.Origin, key, "only "+word+" does that")
	}
}

func (c *tightChecker) yes(f *Flag, key string) {
	if !f.V {
		c.refuse(f.Origin, key, "only true does that")
	}
}

// onlyTightens tells whether an entry hides, or makes read-only what is shown. It
// has no key beside the few that such an entry needs, also none that came to the
// language later.
func (i *FilesystemItem) onlyTightens() bool {
	v := reflect.ValueOf(i).Elem()
	fs := fieldsOf(v.Type())
	for n := range fs.fields {
		switch fs.fields[n].key {
		case "path", "hide", "mode", "when":
		default:
			if isSet(v.FieldByIndex(fs.fields[n].index)) {
				return false
			}
		}
	}
	return i.Hide.V && !i.Mode.Set || i.Mode.V == "ro" && !i.Hide.Set
}

// writtenKeys lists the keys of the top level that a project file has.
func writtenKeys(doc *Document) []string {
	v := reflect.ValueOf(doc).Elem()
	fs := fieldsOf(v.Type())
	var keys []string
	for i := range fs.fields {
		f, key := v.FieldByIndex(fs.fields[i].index), fs.fields[i].key
		if key != "version" && key != "description" && (isSet(f) || f.Kind() == reflect.Struct && originOf(f).File != "") {
			keys = append(keys, key)
		}
	}
	return keys
}
